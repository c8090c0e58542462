"""Sessions below sessions, in an office with real parts: who may open what, what ends with what, and every no."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comptroller.control import correct, session_changes, sessions, stops, tokens, tree
from comptroller.control.caller_api import CallerApi
from comptroller.control.problem import ControlProblem
from comptroller.control.tokens import Minted, OpenRequest
from comptroller.core.budget.hold import Amounts
from comptroller.core.budget.scope import Facts
from comptroller.core.budget.tree import Hold
from comptroller.core.work.bounds import Bounds
from comptroller.flow.caller import Caller
from comptroller.flow.decide import standing
from comptroller.flow.identify import identify
from tests.control.house import House, opened
from tests.harness.configuration import budget, identity

IDENTITIES = {
    "agent/ant": identity("red"),
    "agent/bee": identity("blue", may_act=["agent/ant"]),
    "agent/cat": identity("blue"),
}
BOUNDS = {"agent": {"usd": "1.00", "model_calls": 100, "depth": 2, "fan_out": 2}}
BUDGETS = [budget("each", "0.60 USD", per="identity", visible="caller"), budget("ticket", "0.50 USD", per="task")]
USD = 10**9


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path, identities=IDENTITIES, bounds=BOUNDS, budgets=BUDGETS) as house:
        yield house


async def start(house: House, parent: Minted | None = None, **given: Any) -> Minted:
    """A session; below another one where that is given."""
    if parent is None:
        return await tokens.open_session(house.office, OpenRequest(identity="agent/ant", **given), "admin")
    return await tokens.open_session(house.office, OpenRequest(parent=parent.session, **given), "agent/ant")


def caller_of(house: House, minted: Minted) -> Caller:
    caller = identify(house.gate, [minted.credential])
    assert isinstance(caller, Caller), caller
    return caller


def refusal(house: House, minted: Minted) -> str | None:
    no = standing(house.gate, caller_of(house, minted))
    return None if no is None else no.code


def spend(house: House, minted: Minted, usd_nanos: int) -> str | None:
    """A call of this session; None, or the name of the window that binds."""
    facts: Facts = caller_of(house, minted).facts("sandbox", "sandbox-large", None)
    gate = house.gate
    name = gate.clock.new_id("call")
    hold = gate.tree.hold(name, gate.tree.drawn_by(facts, gate.clock.now_ns()), Amounts(usd_nanos, 1, 1))
    if not isinstance(hold, Hold):
        return hold.budget.name
    gate.tree.settle(name, Amounts(usd_nanos, 1, 1))
    return None


async def test_a_chain_of_three_draws_on_each_and_stands_on_the_call(house: House) -> None:
    top = await start(house, tenant="shop-7", task_type="ticket", task="7")
    bee = await start(house, top, identity="agent/bee")
    leaf = await start(house, bee, child="reader")
    caller = caller_of(house, leaf)
    assert caller.names == ("agent/bee/~reader", "agent/bee", "agent/ant")
    assert caller.identity.id == "agent/bee"
    assert [node["session"] for node in caller.chain] == [leaf.session, bee.session, top.session]
    assert {node["tenant"] for node in caller.chain} == {"shop-7"}
    assert spend(house, leaf, USD * 3 // 10) is None
    drawn = house.gate.tree.drawn_by(caller.facts("sandbox", "sandbox-large", None), house.gate.clock.now_ns())
    assert [(w.budget.name, w.key.instance, w.posted) for w in drawn.pooled] == [
        ("each", "agent/bee", USD * 3 // 10),  # two nodes of the chain are it, and it is drawn once
        ("each", "agent/ant", USD * 3 // 10),
        ("ticket", "ticket:7", USD * 3 // 10),
    ]
    again = await start(house, task_type="ticket", task="7")  # a retry of the same ticket
    assert spend(house, again, USD * 3 // 10) == "ticket"


async def test_children_together_spend_no_more_than_their_parent(house: House) -> None:
    top = await start(house, bounds=Bounds(usd_nanos=USD // 2))
    one, two = await start(house, top), await start(house, top)
    assert house.gate.sessions[one.session].bounds.usd_nanos == USD // 2  # a ceiling, no share
    assert spend(house, one, USD * 3 // 10) is None
    assert spend(house, two, USD * 3 // 10) == "session:usd"
    assert spend(house, top, USD * 3 // 10) == "session:usd"
    shown = await tree.show_tree(house.office, top.session)
    assert (shown.spent.usd, shown.own.usd, [each.spent.usd for each in shown.children]) == (
        "0.30",
        "0.00",
        ["0.30", "0.00"],
    )


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"identity": "agent/cat"}, "delegation_forbidden"),  # it says of nobody that it may act for it
        ({"identity": "agent/ant"}, "delegation_forbidden"),  # a cycle
        ({"bounds": Bounds(usd_nanos=2 * USD)}, "delegation_widened"),
        ({"bounds": Bounds(depth=2)}, "delegation_widened"),
        ({"models": ("*",)}, "delegation_widened"),
        ({"tenant": "another"}, "delegation_widened"),
        ({"identity": "agent/nobody"}, "not_found"),
        ({"task": "7"}, "invalid"),
        ({"child": "A b"}, "invalid"),
        ({"subject": "two\nlines"}, "invalid"),
        ({"models": ("[a]",)}, "invalid"),
    ],
)
async def test_what_a_child_may_not_be(house: House, given: dict[str, Any], code: str) -> None:
    top = await start(house, tenant="shop-7", models=("sandbox-*",))
    with pytest.raises(ControlProblem) as no:
        await start(house, top, **given)
    assert no.value.code == code
    assert no.value.message
    assert [row.id for row in await sessions.list_sessions(house.office)] == [top.session]


async def test_where_nothing_may_be_opened(house: House) -> None:
    top = await start(house)
    child = await start(house, top)
    leaf = await start(house, child)
    await start(house, top)

    async def code(parent: Minted) -> str:
        with pytest.raises(ControlProblem) as no:
            await start(house, parent)
        return no.value.code

    assert await code(leaf) == "delegation_too_deep"
    assert await code(top) == "session_limit"  # two are open
    stop = await stops.suspend(house.office, "session", top.session, "an incident", "admin")
    assert await code(child) == "session_suspended"
    assert refusal(house, leaf) == "session_suspended"
    await stops.resume(house.office, "session", top.session, "it was nothing", "admin")
    assert stop.stop.reason == "an incident"
    await sessions.close_session(house.office, child.session, "failed", "no answer", "agent/ant")
    assert await code(child) == "session_ended"
    assert await code(leaf) == "session_ended"
    await start(house, top)  # there is room again
    session = house.gate.sessions[top.session]
    house.gate.change_session(msgspec.structs.replace(session, expires_at_ns=house.gate.clock.expiry_ns()))
    assert await code(top) == "session_ended"


async def test_ending_a_session_ends_all_below_it(house: House) -> None:
    top = await start(house)
    child = await start(house, top)
    leaf = await start(house, child)
    beside = await start(house, top)
    call = await house.hold(10, session=leaf.session)
    done = await sessions.close_session(house.office, child.session, "succeeded", "found it", "agent/ant")
    assert (done.ended_below, done.session.outcome) == (1, "succeeded")
    assert [refusal(house, each) for each in (child, leaf, top, beside)] == [
        "session_ended",
        "session_ended",
        None,
        None,
    ]
    written = await house.store.session(leaf.session)
    assert written is not None
    assert written.outcome == "abandoned"
    assert f"{child.session} above it ended" in (written.ended_reason or "")
    call.settle(0)


async def test_narrowing_holds_at_once_for_all_below(house: House) -> None:
    top = await start(house, models=("sandbox-*",))
    child = await start(house, top)
    caller = caller_of(house, child)
    assert caller.may_use("sandbox-large")
    await session_changes.narrow(
        house.office, top.session, Bounds(usd_nanos=USD // 10), ("sandbox-small",), None, "it only reads", "admin"
    )
    caller = caller_of(house, child)
    assert not caller.may_use("sandbox-large")
    assert spend(house, child, USD // 5) == "session:usd"
    with pytest.raises(ControlProblem, match=r"usd 1.00 is more than the 0.10 of ses_"):
        await session_changes.narrow(house.office, top.session, Bounds(usd_nanos=USD), None, None, "more", "admin")


async def test_renewing_reaches_as_far_as_the_session_above(house: House) -> None:
    top = await start(house, bounds=Bounds(usd_nanos=USD // 2))
    child = await start(house, top, bounds=Bounds(usd_nanos=USD // 10))
    assert spend(house, child, USD // 5) == "session:usd"
    row = await session_changes.renew(house.office, child.session, Bounds(usd_nanos=USD // 2), "more to read", "admin")
    assert row.bounds.usd == "0.50"
    assert spend(house, child, USD // 5) is None
    with pytest.raises(ControlProblem, match=r"usd 1.00 is more than the 0.50 of ses_\w+ above it"):
        await session_changes.renew(house.office, child.session, Bounds(usd_nanos=USD), "more", "admin")
    await session_changes.renew(house.office, top.session, Bounds(usd_nanos=3 * USD), "an operator may", "admin")
    with pytest.raises(ControlProblem, match="kind or profile"):
        await session_changes.renew(
            house.office, top.session, Bounds(usd_nanos=4 * USD), "a caller may not", "agent/ant", within_kind=True
        )
    await sessions.end_session(house.office, top.session, "enough", "admin")
    with pytest.raises(ControlProblem, match="is over"):
        await session_changes.renew(house.office, child.session, Bounds(usd_nanos=1), "more", "admin")


async def test_a_tree_is_whole_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path, identities=IDENTITIES, bounds=BOUNDS, budgets=BUDGETS) as house:
        top = await start(house)
        child = await start(house, top, child="reader", models=("sandbox-*",))
        done = await start(house, top)
        (await house.hold(10, session=child.session)).settle(7)
        await sessions.close_session(house.office, done.session, "failed", "no answer", "agent/ant")
        before = await tree.show_tree(house.office, top.session)
        await session_changes.narrow(house.office, child.session, Bounds(tokens=50), None, None, "less", "admin")
    async with opened(tmp_path) as house:
        assert await tree.show_tree(house.office, top.session) == before
        session = house.gate.sessions[child.session]
        assert (session.bounds.tokens, session.models, session.parent) == (50, ("sandbox-*",), top.session)
        assert caller_of(house, child).lineage == (child.session, top.session)


# The caller API.


class Sent:
    """A request as the door hands it on."""

    headers: Sequence[tuple[bytes, bytes]] = ()
    query = b""
    address = None
    session_hint = None
    received_ns = 0

    def __init__(self, credential: str, body: object, *, gone: bool = False) -> None:
        self.credentials = [credential]
        self._body = json.dumps(body).encode()
        self._gone = gone

    async def body(self) -> bytes:
        return self._body

    def watch(self, on_gone: Callable[[], None]) -> None:
        if self._gone:
            on_gone()

    def unwatch(self) -> None: ...


async def ask(
    house: House, method: str, path: str, minted: Minted | str, body: object = None, *, gone: bool = False
) -> tuple[int, Any]:
    """`gone`: whoever asks hangs up before it is answered."""
    sent = Sent(minted if isinstance(minted, str) else minted.credential, body, gone=gone)
    answer = await CallerApi(house.office)(method, f"/comptroller/v1/sessions{path}", sent)  # type: ignore[arg-type]
    return answer.status, json.loads(answer.body)


async def test_a_caller_opens_closes_and_changes_what_is_below_it(house: House) -> None:
    top = await start(house)
    status, said = await ask(house, "POST", "", top, {"name": "reader", "bounds": {"usd": "0.10"}})
    assert (status, said["session"]["name"], said["session"]["parent"]) == (201, "agent/ant/~reader", top.session)
    child = said["session"]["id"]
    assert (await ask(house, "GET", "/self", said["credential"]))[1]["id"] == child
    status, row = await ask(house, "POST", f"/{child}/renew", top, {"bounds": {"usd": "0.20"}})
    assert (status, row["bounds"]["usd"]) == (200, "0.20")
    status, row = await ask(house, "POST", f"/{child}/narrow", said["credential"], {"bounds": {"usd": "0.05"}})
    assert (status, row["bounds"]["usd"]) == (200, "0.05")
    status, problem = await ask(house, "POST", "/self/renew", top, {"bounds": {"usd": "9.00"}})
    assert (status, problem["code"]) == (403, "delegation_widened")
    status, closed = await ask(house, "POST", f"/{child}/close", top, {"outcome": "succeeded"})
    assert (status, closed["session"]["outcome"]) == (200, "succeeded")
    assert (await ask(house, "GET", "/self", said["credential"]))[1]["code"] == "session_ended"


async def test_nobody_sees_or_changes_a_session_that_is_not_below_its_own(house: House) -> None:
    one, two = await start(house), await start(house)
    child = await start(house, one)
    for asking, wanted in ((two, child.session), (two, one.session), (child, one.session), (one, "ses_nope")):
        for method, path, body in (
            ("GET", "", None),
            ("POST", "/close", {"outcome": "failed"}),
            ("POST", "/narrow", {"bounds": {}}),
            ("POST", "/renew", {"bounds": {}}),
        ):
            assert (await ask(house, method, f"/{wanted}{path}", asking, body))[0] == 404
    assert (await ask(house, "GET", "/self", "cptr_nonsense"))[0] == 401


async def test_a_registered_child_takes_part_by_its_own_credential(house: House) -> None:
    top = await start(house)
    cat = await tokens.mint(house.office, "agent/cat", None, "admin")
    bee = await tokens.mint(house.office, "agent/bee", None, "admin")
    wanted = {"identity": "agent/cat"}
    assert (await ask(house, "POST", "", top, wanted))[1]["code"] == "delegation_forbidden"
    status, problem = await ask(house, "POST", "", top, wanted | {"actor_token": bee.credential})
    assert (status, problem["code"]) == (422, "delegation_forbidden")
    status, problem = await ask(house, "POST", "", top, wanted | {"actor_token": "cptr_forged"})
    assert (status, problem["code"]) == (422, "credential_invalid")
    status, said = await ask(house, "POST", "", top, wanted | {"actor_token": cat.credential})
    assert (status, said["session"]["identity"]) == (201, "agent/cat")


@pytest.mark.parametrize("body", [{"parent": "ses_x"}, {"agreed": True}, {"bounds": {"usd": -1}}, [], {"name": 7}])
async def test_a_body_that_says_anything_else_is_refused(house: House, body: object) -> None:
    top = await start(house)
    status, _ = await ask(house, "POST", "", top, body)
    assert status == 400


async def test_what_stands_below_an_identity_that_is_gone_stops_with_it(house: House) -> None:
    top = await start(house)
    bee = await start(house, top, identity="agent/bee")
    cut, left = await house.hold(10, session=bee.session), await house.hold(10, identity="agent/cat")
    cut.live.facts = caller_of(house, bee).facts("sandbox", "sandbox-large", None)
    without = {"agent/bee": identity("blue"), "agent/cat": identity("blue")}
    await house.apply(identities=without, bounds=BOUNDS, budgets=BUDGETS)
    assert (cut.live.line.reason, left.live.line.reason) == ("stopped", None)
    assert refusal(house, bee) == "identity_unknown"
    for call in (cut, left):
        call.settle(0)


async def test_a_correction_reaches_the_whole_chain(house: House) -> None:
    top = await start(house)
    child = await start(house, top)
    gate = house.gate
    call_id = await settled_call(house, child, USD // 2)
    before = gate.tree.meter(top.session)
    assert before is not None
    assert before.posted.usd == USD // 2
    await correct.correct(house.office, call_id, USD // 10, "line 7 of the invoice", "admin")
    for minted in (top, child):
        meter = gate.tree.meter(minted.session)
        assert meter is not None
        assert (meter.posted.usd, meter.windows[0].posted) == (USD // 10, USD // 10)


async def settled_call(house: House, minted: Minted, usd_nanos: int) -> str:
    """A call of this session, drawn on its whole chain and in the books."""
    call = await house.hold(usd_nanos, session=minted.session, chain=caller_of(house, minted).chain)
    call.settle(usd_nanos)
    await house.store.fold()
    return call.facts.call_id
