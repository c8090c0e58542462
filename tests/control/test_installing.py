"""A registry is in force in one step, whatever becomes of what is read for it afterwards."""

from pathlib import Path
from typing import Any

from comptroller.flow.journal import LedgerUnavailableError
from tests.control.house import House, opened
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
