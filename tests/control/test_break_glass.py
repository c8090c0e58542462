"""Break-glass: what can be asked for, who confirms, when it is over, and what a start knows of it."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comptroller.control import admins, api, break_glass, policy, registry, tokens
from comptroller.control.door import Outside
from comptroller.control.problem import ControlProblem
from comptroller.core.budget.draw import NO_LIFT, Lift
from comptroller.core.budget.hold import NOTHING
from comptroller.core.budget.meter import Meter
from comptroller.core.identity.admin import BOOTSTRAP, Actor
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.policy.break_glass import ASK_KEPT_NS
from comptroller.core.refusal import Refusal
from comptroller.core.work.bounds import Bounds
from comptroller.core.work.stop import EVERYTHING, StopKey
from comptroller.flow.caller import Caller
from comptroller.flow.decide import Decision, decide
from comptroller.flow.identify import identify
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.models import Reachable, reachable_model
from comptroller.flow.weigh import Weighed, weigh
from comptroller.wire.openai_chat.dialect import OpenAIChat
from tests.control.asgi import Admin, ask
from tests.control.house import SANDBOX, House, document, opened
from tests.harness.configuration import identity

ADA, EVE = Actor("ada", "admin", named=True), Actor("eve", "approver", named=True)
KEYS: tuple[StopKey, ...] = (("team", "red"), EVERYTHING)
USD = 10**9


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path) as house:
        await add_both(house)
        yield house


async def add_both(house: House) -> None:
    for each in (ADA, EVE):
        await admins.add(house.office, each.name, each.role, None, None, None, "test")


async def asked(house: House, lasts_s: int = 600) -> str:
    return (await break_glass.ask(house.office, "team", "red", lasts_s, USD, "INC-9", ADA)).id


def applying(house: House) -> list[str]:
    return [each.id for each in house.gate.broken.applying(KEYS, house.gate.clock.now_ns())]


def later(house: House, monkeypatch: pytest.MonkeyPatch, by_ns: int) -> None:
    now_ns = house.gate.clock.now_ns() + by_ns
    monkeypatch.setattr(house.gate.clock, "now_ns", lambda: now_ns)


async def test_it_is_in_force_from_its_confirmation_and_ends_by_itself(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant_id = await asked(house)
    assert applying(house) == []
    row = await break_glass.confirm(house.office, grant_id, EVE)
    assert (row.state, row.confirmed_by, row.spent_usd) == ("in_force", "eve", "0.00")
    assert applying(house) == [grant_id]
    assert list(house.gate.broken.applying((("team", "blue"),), house.gate.clock.now_ns())) == []
    later(house, monkeypatch, 600 * NANOS_PER_SECOND)
    assert applying(house) == []
    [row] = await break_glass.list_grants(house.office)
    assert (row.state, row.spent_usd, row.held_usd, row.ended_at) == ("over", "0.00", None, None)
    assert (await break_glass.end(house.office, grant_id, ADA)).ended_by is None, "it had ended"


async def test_it_shows_nobody_the_amounts_of_a_session_above(tmp_path: Path) -> None:
    """What is drawn on is one window more, and whose amounts are whose stays as it was."""
    members = {"agent/ant": identity("red"), "agent/bee": identity("red", may_act=["agent/ant"])}
    async with opened(tmp_path, identities=members) as house:
        gate, office = house.gate, house.office
        top = await tokens.open_session(office, tokens.OpenRequest(identity="agent/ant"), "admin")
        below = tokens.OpenRequest(identity="agent/bee", parent=top.session)
        bee = await tokens.open_session(office, below, "agent/ant")
        caller, dialect = identify(gate, [bee.credential]), OpenAIChat()
        assert isinstance(caller, Caller)
        asked = dialect.read_request(b'{"model": "sandbox-large", "messages": [{"role": "user", "content": "hi"}]}')
        assert not isinstance(asked, Refusal), asked
        decision = decide(gate, dialect, caller, "sandbox-large")
        assert isinstance(decision, Decision), decision
        grant = Meter("brk_1", Bounds(usd_nanos=USD), NOTHING)
        for lift in (NO_LIFT, Lift((grant,))):
            weighed = weigh(gate, caller, decision, asked.asked, lift)
            assert isinstance(weighed, Weighed), weighed
            shown = {window.key.instance for window in weighed.draw.windows if weighed.draw.shows(window)}
            assert (bee.session in shown, top.session in shown) == (True, False)


async def test_its_natural_end_is_on_record_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    over, going_on = await asked(house, 60), await asked(house)
    for each in (over, going_on):
        await break_glass.confirm(house.office, each, EVE)
    later(house, monkeypatch, 60 * NANOS_PER_SECOND)
    ledger, house.office.ledger = house.office.ledger, Unwritable(house.office.ledger)
    with pytest.raises(ControlProblem, match="could not be written"):
        await break_glass.end_past(house.office)
    house.office.ledger = ledger
    for _ in range(2):
        await break_glass.end_past(house.office)
    await house.store.fold()
    ends = [each for each in await house.store.changes(10) if each.verb == "end"]
    assert [(each.actor, each.noun, each.key) for each in ends] == [("gateway", "break_glass", over)]
    assert '"spent_usd":"0.00"' in ends[0].after
    assert applying(house) == [going_on]
    assert house.gate.tree.meter(over) is None
    row = next(each for each in await break_glass.list_grants(house.office) if each.id == over)
    assert (row.state, row.spent_usd, row.ended_at, row.ended_by) == ("over", "0.00", row.ends_at, "gateway")


async def test_one_that_ended_while_no_gateway_ran_is_on_record_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as house:
        await add_both(house)
        grant_id = await asked(house, 60)
        await break_glass.confirm(house.office, grant_id, EVE)
    for ended_by in ("gateway", "gateway"):
        async with opened(tmp_path) as house:
            later(house, monkeypatch, 60 * NANOS_PER_SECOND)
            await break_glass.go_on(house.office)
            assert applying(house) == []
            await break_glass.end_past(house.office)
            assert (await break_glass.list_grants(house.office))[0].ended_by == ended_by
            await house.store.fold()
            assert [each.verb for each in await house.store.changes(10)].count("end") == 1


async def test_who_is_disabled_meanwhile_is_no_second_person(house: House) -> None:
    olga = (await admins.add(house.office, "olga", "operator", None, None, None, "test")).admin
    grant = await break_glass.ask(
        house.office, "team", "red", 600, USD, "INC-9", Actor(olga.name, olga.role, named=True)
    )
    await admins.disable(house.office, "olga", "she has left", "ada")
    with pytest.raises(ControlProblem, match="olga has asked for this, and may not act any more"):
        await break_glass.confirm(house.office, grant.id, EVE)
    grant_id = await asked(house)
    await house.office.changing.acquire()
    confirming = asyncio.ensure_future(break_glass.confirm(house.office, grant_id, EVE))
    await asyncio.sleep(0)
    eve = house.office.admins.get("eve")
    assert eve is not None
    house.office.admins = house.office.admins.with_admin(msgspec.structs.replace(eve, disabled_at_ns=1))
    house.office.changing.release()
    with pytest.raises(ControlProblem, match="eve confirms this, and may not act any more"):
        await confirming
    assert applying(house) == []


async def test_however_many_are_asked_for_one_in_force_is_found(house: House) -> None:
    grant_id = await asked(house)
    await break_glass.confirm(house.office, grant_id, EVE)
    house.office.ledger = Short(house.office.ledger)
    await break_glass.go_on(house.office)
    assert applying(house) == [grant_id]
    assert (await break_glass.end(house.office, grant_id, EVE)).state == "over"


async def test_what_nobody_confirms_is_over_after_an_hour(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    grant_id = await asked(house)
    later(house, monkeypatch, ASK_KEPT_NS)
    with pytest.raises(ControlProblem, match="is over"):
        await break_glass.confirm(house.office, grant_id, EVE)
    assert applying(house) == []


async def test_who_asked_cannot_confirm_and_bootstrap_is_nobody(house: House) -> None:
    grant_id = await asked(house)
    with pytest.raises(ControlProblem) as raised:
        await break_glass.confirm(house.office, grant_id, ADA)
    assert (raised.value.status, raised.value.code) == (403, "second_admin_needed")
    nobody = Actor(BOOTSTRAP, "admin", named=False)
    with pytest.raises(ControlProblem, match="nobody in particular"):
        await break_glass.confirm(house.office, grant_id, nobody)
    with pytest.raises(ControlProblem, match="nobody in particular"):
        await break_glass.ask(house.office, "team", "red", 60, USD, "INC-9", nobody)
    assert applying(house) == []


async def test_what_was_asked_for_can_be_taken_back(house: House) -> None:
    grant_id = await asked(house)
    assert (await break_glass.end(house.office, grant_id, EVE)).ended_by == "eve"
    with pytest.raises(ControlProblem, match="is over"):
        await break_glass.confirm(house.office, grant_id, EVE)
    with pytest.raises(ControlProblem, match="There is no grant"):
        await break_glass.end(house.office, "brg_nope", EVE)


async def test_a_start_goes_on_with_what_is_in_force_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await add_both(house)
        going_on, ended, pending = [await asked(house) for _ in range(3)]
        for each in (going_on, ended):
            await break_glass.confirm(house.office, each, EVE)
        await break_glass.end(house.office, ended, EVE)
    async with opened(tmp_path) as house:
        await break_glass.go_on(house.office)
        assert applying(house) == [going_on]
        states = {each.id: each.state for each in await break_glass.list_grants(house.office)}
        assert states == {going_on: "in_force", ended: "over", pending: "asked"}


async def test_what_cannot_be_written_is_not_given_and_is_ended_all_the_same(house: House) -> None:
    first, second = await asked(house), await asked(house)
    await break_glass.confirm(house.office, first, EVE)
    house.office.ledger = Unwritable(house.office.ledger)
    with pytest.raises(ControlProblem, match="could not be written"):
        await break_glass.confirm(house.office, second, EVE)
    assert applying(house) == [first]
    with pytest.raises(ControlProblem, match=r"is over in this process, but .* could not be written") as raised:
        await break_glass.end(house.office, first, EVE)
    assert "After a restart it goes on until" in raised.value.hint
    assert applying(house) == []


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"lasts_s": 86_401}, 422, "invalid"),
        ({"lasts_s": 59}, 422, "invalid"),
        ({"limit_usd": "0"}, 422, "invalid"),
        ({"limit_usd": "-1"}, 422, "invalid"),
        ({"limit_usd": "1000001"}, 422, "invalid"),
        ({"limit_usd": "999999999999999999999"}, 422, "invalid"),
        ({"limit_usd": "much"}, 422, "invalid"),
        ({"reason": " "}, 422, "invalid"),
        ({"value": "rde"}, 404, "not_found"),
        ({"scope": "everything"}, 422, "invalid"),
        ({"scope": "model"}, 400, "request_invalid"),
    ],
)
async def test_what_cannot_be_asked_for(house: House, change: dict[str, Any], status: int, code: str) -> None:
    made = await admins.add(house.office, "olga", "operator", None, None, None, "test")
    sent = {"scope": "team", "value": "red", "lasts_s": 60, "limit_usd": "1", "reason": "INC-9"} | change
    app = api.build(house.office, Outside(Admin()))
    said = await ask(app, "POST", "/api/v1/break-glass", sent, credential=made.credential)
    assert (said.status, said.code) == (status, code)
    assert await house.store.break_glass_list(10) == []


class Unwritable:
    """Books that can be read alone."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def write_break_glass(self, *_: Any) -> None:
        raise LedgerUnavailableError("disk full")


class Short:
    """Books that list no grants, however many there are."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def break_glass_list(self, limit: int) -> list[Any]:
        return []


FROZEN = {"freeze.cedar": '@id("nobody") forbid (principal, action, resource);'}


async def test_explanations_and_lists_of_models_know_what_is_in_force(house: House) -> None:
    await registry.apply(house.office, document(), "test", policies=FROZEN)
    keyed = dataclasses.replace(SANDBOX, credentials={"openai": (b"authorization", b"Bearer x")})
    house.gate.providers = {"sandbox": keyed}
    ant = (await tokens.mint(house.office, "agent/ant", None, "test")).credential
    bee = (await tokens.mint(house.office, "agent/bee", None, "test")).credential
    question = policy.Question("agent/ant", "sandbox-large")
    assert isinstance(reachable(house, ant), Refusal)
    assert policy.explain(house.office, question).break_glass == []
    grant_id = await asked(house)
    await break_glass.confirm(house.office, grant_id, EVE)
    assert isinstance(reachable(house, ant), Reachable)
    assert isinstance(reachable(house, bee), Refusal), "it is of another team"
    found = policy.explain(house.office, question)
    assert (found.allowed, found.break_glass) == (False, [grant_id])
    assert found.sentences[-1].startswith(f"It goes on all the same by {grant_id}, which breaks the glass for team red")
    assert policy.explain(house.office, policy.Question("agent/bee", "sandbox-large")).break_glass == []
    await break_glass.end(house.office, grant_id, EVE)
    assert isinstance(reachable(house, ant), Refusal)
    assert policy.explain(house.office, question).break_glass == []


def reachable(house: House, credential: str) -> Reachable | Refusal:
    return reachable_model(house.gate, "openai", [credential], "sandbox-large")
