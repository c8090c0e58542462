"""A registry is in force in one step, whatever becomes of what is read for it afterwards."""

from pathlib import Path
from typing import Any

from comptroller.control import tokens
from comptroller.control.tokens import OpenRequest
from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.usage import Usage
from comptroller.flow.journal import LedgerUnavailableError
from tests.control.house import House, Interrupted, opened
from tests.harness.configuration import budget, identity

ALL = budget("all", "100.00 USD")
CAP = {"name": "run", "scope": {"organization": "acme"}, "session_tokens": 1_000}
RATE = {"name": "few", "scope": {"organization": "acme"}, "limit": "2 calls at once"}


class Unreadable:
    """Books that can be written, and do not tell what sessions have sent."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def sent_tokens(self, *_: Any) -> Any:
        raise LedgerUnavailableError("disk full")


async def settle(house: House, session: str, tokens: int) -> None:
    """A call with so many tokens of input, as the gate counts them and on record."""
    taken = house.gate.inputs.take(session, Asked("m", False, 3 * tokens))
    call = await house.hold(1, session=session)
    call.settle(1, usage=Usage(tokens, 1))
    house.gate.inputs.end(session, taken, tokens)


def rates(house: House) -> list[str]:
    return [rate.name for rate in house.gate.pace.limits.rates]


async def test_all_of_a_registry_is_in_force_though_nobody_knows_what_sessions_have_sent(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[ALL]) as house:
        stopped, other = await house.hold(1), await house.hold(1, identity="agent/bee")
        house.office.ledger = Unreadable(house.store)  # type: ignore[assignment]
        left = {"agent/bee": identity("blue")}
        done = await house.apply(budgets=[ALL], identities=left, contexts=[CAP], rates=[RATE])
        assert done.applied
        assert (house.gate.registry.version, rates(house)) == (2, ["few"])
        assert [stopped.live.line.reason, other.live.line.reason] == ["stopped", None]
        (said,) = [fields for event, fields in house.warnings if event == "inputs_uncounted"]
        assert "disk full" in said["message"]


async def test_context_caps_that_come_back_count_every_call_once(tmp_path: Path) -> None:
    """Also those that are under way when they come back, or end while the books are read."""
    async with opened(tmp_path, budgets=[ALL], contexts=[CAP]) as house:
        inputs, store = house.gate.inputs, house.store
        session = (await tokens.open_session(house.office, OpenRequest(identity="agent/ant"), "admin")).session
        await settle(house, session, 100)
        under_way = inputs.take(session, Asked("m", False, 3_000))
        await house.apply(budgets=[ALL])
        uncounted = await house.hold(1, session=session)
        uncounted.settle(1, usage=Usage(20, 1))
        seen: list[str] = []

        async def settles(moment: str) -> None:
            if moment.endswith((" fold", " sent_tokens")):
                seen.append(moment)
                await settle(house, session, 3)
                await store.fold()

        house.office.ledger = Interrupted(store, settles)  # type: ignore[assignment]
        await house.apply(budgets=[ALL], contexts=[CAP])
        house.office.ledger = store
        assert "before sent_tokens" in seen
        assert inputs.of(session).total == 100 + 20 + under_way + 3 * len(seen)
        inputs.end(session, under_way, 1_200)
        await settle(house, session, 5)
        assert inputs.of(session).total == 100 + 20 + 1_200 + 3 * len(seen) + 5
