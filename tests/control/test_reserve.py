"""A share that is set aside for a session below another: by callers, over restarts, until the session is over."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comptroller.control import budgets, correct, session_changes, sessions, stops, tree
from comptroller.control.problem import ControlProblem
from comptroller.control.tokens import Minted
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.work.bounds import Bounds
from tests.control.house import House, Interrupted, opened
from tests.control.test_delegation import BOUNDS, IDENTITIES, ask, caller_of, spend, start
from tests.harness.configuration import budget

USD = 10**9
BUDGETS = [
    budget("red", "0.80 USD", scope={"team": "red"}, visible="caller"),
    budget("blue", "5.00 USD", scope={"team": "blue"}),
    budget("large", "5.00 USD", scope={"model": "sandbox-large"}),
]
KNOWN: dict[str, Any] = {"identities": IDENTITIES, "bounds": BOUNDS, "budgets": BUDGETS}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path, **KNOWN) as house:
        yield house


async def share(house: House, parent: Minted, usd_nanos: int, **given: Any) -> Minted:
    return await start(house, parent, bounds=Bounds(usd_nanos=usd_nanos), reserve=True, **given)


def money(house: House, session: str) -> tuple[int, int, int]:
    """What the bound in USD of a session has posted, held, and set aside of that."""
    meter = house.gate.tree.meter(session)
    assert meter is not None
    assert meter.money is not None
    return meter.money.posted, meter.money.held, meter.money.aside


async def held(house: House) -> dict[str, Any]:
    return {row.name: row.held for row in await budgets.list_budgets(house.office)}


async def test_nobody_else_spends_it_and_its_session_can(house: House) -> None:
    top = await start(house)
    status, said = await ask(
        house, "POST", "", top, {"identity": "agent/bee", "bounds": {"usd": "0.50"}, "reserve": True}
    )
    assert (status, said["session"]["reserved_usd"]) == (201, "0.50")
    assert await held(house) == {"red": "0.50", "blue": "0.00", "large": "0.00"}
    assert spend(house, top, USD * 4 // 10) == "red"
    assert spend(house, top, USD * 3 // 10) is None
    bee = Minted(said["credential"], said["session"]["id"], "agent/bee", "", 0, "")
    assert spend(house, bee, USD * 2 // 10) is None
    assert money(house, top.session) == (USD * 5 // 10, USD * 3 // 10, USD * 3 // 10)
    assert spend(house, bee, USD * 4 // 10) == "red", "of all that have too little it has the smallest share left"
    shown = await tree.show_tree(house.office, top.session)
    assert (shown.reserved_usd, [each.reserved_usd for each in shown.children]) == (None, ["0.30"])
    assert (await sessions.show_session(house.office, bee.session)).reserved_usd == "0.30"
    # The record of its opening says so, too.
    (opening,) = await house.store.changes(9, "session", bee.session)
    assert '"reserved_usd":"0.50"' in opening.after
    await sessions.close_session(house.office, bee.session, "succeeded", "done", "agent/ant")
    assert await held(house) == {"red": "0.00", "blue": "0.00", "large": "0.00"}
    assert money(house, top.session) == (USD * 5 // 10, 0, 0)
    assert (await sessions.show_session(house.office, bee.session)).reserved_usd is None
    assert spend(house, top, USD * 3 // 10) is None


async def test_an_opening_that_nobody_heard_holds_nothing(house: House) -> None:
    """Whoever opens it hangs up after it was written, and before the answer: its credential is nobody's."""
    top = await start(house)
    body = {"identity": "agent/bee", "bounds": {"usd": "0.50"}, "reserve": True}
    status, said = await ask(house, "POST", "", top, body, gone=True)
    assert status == 201
    row = await sessions.show_session(house.office, said["session"]["id"])
    assert (row.state, row.outcome, row.reserved_usd) == ("ended", "abandoned", None)
    assert (await held(house))["red"] == "0.00"
    status, said = await ask(house, "POST", "", top, body)
    assert (status, said["session"]["state"], await held(house)) == (
        201,
        "active",
        (await held(house)) | {"red": "0.50"},
    )


async def test_a_stop_says_what_stays_set_aside_since_it_can_be_lifted(house: House) -> None:
    top = await start(house)
    bee = await share(house, top, USD // 2, identity="agent/bee")
    row = await sessions.show_session(house.office, bee.session)
    made = await stops.suspend(house.office, "identity", "agent/bee", "it loops", "dana")
    (kept,) = made.set_aside
    assert (kept.session, kept.reserved_usd, kept.expires_at) == (bee.session, "0.50", row.expires_at)
    assert (await held(house))["red"] == "0.50"
    (again,) = (await stops.suspend(house.office, "team", "red", "it loops", "dana")).set_aside
    assert again == kept, "its parent's team is stopped"
    assert (await stops.suspend(house.office, "model", "sandbox-*", "slow", "dana")).set_aside == []
    await stops.resume(house.office, "team", "red", "over", "dana")
    await stops.resume(house.office, "model", "sandbox-*", "over", "dana")
    await stops.resume(house.office, "identity", "agent/bee", "over", "dana")
    assert spend(house, bee, USD * 4 // 10) is None, "its share is what it was"
    await stops.suspend(house.office, "identity", "agent/bee", "it loops", "dana")
    await sessions.end_session(house.office, bee.session, "give it back", "dana")
    assert (await stops.suspend(house.office, "identity", "agent/bee", "it loops", "dana")).set_aside == []


@pytest.mark.parametrize(
    ("usd", "code", "words"),
    [
        ("0.90", "budget_exhausted", "the budget red has 0.80 USD left"),
        ("0.50", "session_limit", "has 0.40 USD left"),
    ],
)
async def test_what_is_not_there_is_not_set_aside(house: House, usd: str, code: str, words: str) -> None:
    top = await start(house) if usd == "0.90" else await start(house, bounds=Bounds(usd_nanos=USD))
    if usd == "0.50":
        await house.apply(**(KNOWN | {"budgets": []}))
        assert spend(house, top, USD * 6 // 10) is None
    status, problem = await ask(house, "POST", "", top, {"bounds": {"usd": usd}, "reserve": True})
    assert (status, problem["code"]) == (409, code)
    assert words in problem["detail"]
    assert money(house, top.session)[1:] == (0, 0)
    assert list(house.gate.sessions) == [top.session]


@pytest.mark.parametrize("body", [{"reserve": True}, {"reserve": True, "bounds": {"usd": "0.00"}}])
async def test_it_must_be_said_how_much(house: House, body: Any) -> None:
    status, problem = await ask(house, "POST", "", await start(house), body)
    assert (status, problem["code"]) == (422, "invalid")
    assert "say that amount" in problem["hint"]


async def test_at_the_top_there_is_nothing_to_set_aside_from(house: House) -> None:
    with pytest.raises(ControlProblem, match="from what"):
        await start(house, bounds=Bounds(usd_nanos=USD), reserve=True)


async def test_it_survives_a_gateway_that_dies_with_calls_in_flight(tmp_path: Path) -> None:
    async with opened(tmp_path, **KNOWN) as house:
        top = await start(house)
        child = await share(house, top, USD // 2)
        leaf = await share(house, child, USD // 5)
        await house.spend(USD // 10, caller=caller_of(house, child))
        await house.hold(USD // 20, caller=caller_of(house, leaf))  # and dies
        before = money(house, top.session), money(house, child.session)
        assert before == (
            (USD // 10, USD // 2 - USD // 10, USD // 2 - USD // 10 - USD // 20),
            (USD // 10, USD // 5, USD // 5 - USD // 20),
        )
    async with opened(tmp_path) as house:
        # The call is charged in full, and nothing else has changed.
        assert money(house, top.session) == (USD * 3 // 20, USD * 7 // 20, USD * 7 // 20)
        assert money(house, child.session) == (USD * 3 // 20, USD * 3 // 20, USD * 3 // 20)
        assert (await held(house))["red"] == "0.35"
        # Only the spent part is gone for the others, and the share is there.
        assert spend(house, top, USD * 4 // 10) == "red"
        assert spend(house, leaf, USD * 3 // 20) is None
        assert spend(house, child, USD // 5) is None
        assert money(house, top.session)[1:] == (0, 0)


async def test_what_was_narrowed_is_not_set_aside_again(tmp_path: Path) -> None:
    async with opened(tmp_path, **KNOWN) as house:
        top = await start(house)
        child = await share(house, top, USD // 2)
        less = Bounds(usd_nanos=USD // 5)
        await session_changes.narrow(house.office, child.session, less, None, None, "less", "agent/ant")
        assert money(house, top.session)[1:] == (USD // 5, USD // 5)
        await session_changes.renew(house.office, child.session, Bounds(usd_nanos=USD // 2), "more", "admin")
        assert money(house, top.session)[1:] == (USD // 5, USD // 5), "more may be spent, and no more is set aside"
    async with opened(tmp_path) as house:
        assert money(house, top.session)[1:] == (USD // 5, USD // 5)
        row = await sessions.show_session(house.office, child.session)
        assert (row.bounds.usd, row.reserved_usd) == ("0.50", "0.20")


@pytest.mark.parametrize("how", ["closed", "stopped above", "idle", "expired"])
async def test_however_its_session_ends_it_is_free_again(house: House, how: str) -> None:
    top = await start(house)
    child = await share(house, top, USD // 2)
    call = await house.hold(USD // 10, caller=caller_of(house, child))
    office, session = house.office, house.gate.sessions[child.session]
    if how == "closed":
        await sessions.close_session(office, child.session, "failed", "done", "agent/ant")
    elif how == "stopped above":
        await sessions.end_session(office, top.session, "loop", "admin")
    else:
        long_ago_ns = house.gate.clock.expiry_ns() - 3 * 3600 * NANOS_PER_SECOND
        if how == "expired":
            house.gate.change_session(msgspec.structs.replace(session, expires_at_ns=long_ago_ns))
        else:
            bounds = msgspec.structs.replace(session.bounds, idle_s=60)
            house.gate.runs.pulse(child.session, 0).at_ns = long_ago_ns
            house.gate.change_session(msgspec.structs.replace(session, bounds=bounds))
        await sessions.end_past(office)
    assert money(house, top.session) == (0, USD // 10, 0), "the call in flight is held as any other"
    call.settle(USD // 20)
    assert money(house, top.session) == (USD // 20, 0, 0)


async def test_a_correction_gives_back_to_the_share(house: House) -> None:
    top = await start(house)
    child = await share(house, top, USD // 2)
    call_id = await house.spend(USD // 10, caller=caller_of(house, child))
    await correct.correct(house.office, call_id, USD // 20, "the invoice", "finops")
    assert money(house, top.session) == (USD // 20, USD * 9 // 20, USD * 9 // 20)


async def test_what_cannot_be_written_sets_nothing_aside(house: House) -> None:
    from comptroller.flow.journal import LedgerUnavailableError

    top = await start(house)

    async def full(point: str) -> None:
        if point == "before open_session":
            raise LedgerUnavailableError("disk full")

    house.office.ledger = Interrupted(house.store, full)  # type: ignore[assignment]
    with pytest.raises(ControlProblem, match="disk full"):
        await share(house, top, USD // 2)
    assert money(house, top.session) == (0, 0, 0)


async def test_a_budget_that_comes_later_does_not_know_it(house: House) -> None:
    """It was not held there: a call of the session is checked on it as any other is."""
    top = await start(house)
    child = await share(house, top, USD // 2)
    await house.apply(**(KNOWN | {"budgets": [*BUDGETS, budget("late", "0.30 USD", scope={"team": "red"})]}))
    assert (await held(house))["late"] == "0.00"
    assert spend(house, child, USD * 4 // 10) == "late"
    assert spend(house, child, USD * 3 // 10) is None
