"""Letting go of old records: what was counted from them stays as it was."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.control.interfaces import CallFilter, Place, Prunable, SpendFilter, Spending
from comptroller.core.approval.ticket import TicketState
from comptroller.core.budget.hold import Amounts
from comptroller.core.budget.meter import LEDGER_KEY, ledger_key
from comptroller.core.instant import DAY_NS, QUARTER_HOUR_NS
from comptroller.core.work.session import Session
from comptroller.core.work.stored import StoredObject
from comptroller.flow.records import Change, Finding, ObjectChanged, TicketChanged, ToolsOffered
from comptroller.store import books, retention, spend, spent_before
from comptroller.store.folder import Folder
from comptroller.store.store import Store
from tests.store.folding import DAY_START_NS, Fresh, write
from tests.store.samples import (
    CHARGE,
    HOLD,
    MONTH,
    NOW_NS,
    change,
    corrected,
    facts,
    grant,
    held,
    open_at,
    refused,
    settled,
    ticket,
)

LAST_NS = DAY_START_NS + 12 * DAY_NS
SAID = Change(NOW_NS, "gateway", "prune", "records", "calls")

made_calls = st.lists(
    st.tuples(
        st.integers(0, 11 * 96).map(lambda quarters: DAY_START_NS + quarters * QUARTER_HOUR_NS + 3),
        st.sampled_from(["search", "ads"]),
        st.sampled_from(["posted", "presumed", "refused", "open"]),
    ),
    min_size=1,
    max_size=25,
)
acts = st.lists(
    st.tuples(
        st.sampled_from(["calls", "presumed", "spend_recent"]),
        st.integers(0, 12),
        st.integers(1, 6),
        st.integers(0, 30),
    ),
    min_size=1,
    max_size=5,
)


def picture(connection: sqlite3.Connection) -> dict[str, Any]:
    """Everything that people count with: reports by whole days, what new budgets would begin with, balances."""
    whole = [
        spend.report(connection, SpendFilter(by=by, since_ns=since_ns, until_ns=LAST_NS, only={}, limit=100))
        for by, since_ns in (("team", 0), ("identity", DAY_START_NS + 4 * DAY_NS))
    ]
    begin = [
        spent_before.posted(connection, Spending(scope={"team": ("ads",)}, per=per, start_ns=start_ns, end_ns=None))
        for per, start_ns in ((None, DAY_START_NS + 5 * DAY_NS), ("identity", 0))
    ]
    return {"reports": whole, "beginnings": begin, "balances": books.balances(connection, [MONTH.budget], 0)}


@settings(max_examples=25)
@given(made=made_calls, acts=acts)
def test_nothing_that_counts_changes(
    template: Path, tmp_path_factory: pytest.TempPathFactory, made: Any, acts: Any
) -> None:
    """Whatever is pruned, in steps of any size, with corrections of what is left in between."""
    fresh = Fresh(template, tmp_path_factory.mktemp("pruned"))
    database = fresh()
    connection, folder, seq = database.connection, Folder(database), 1
    events: list[Any] = []
    for number, (at_ns, team, end) in enumerate(made):
        events.append(
            refused(number, at_ns=at_ns, team=team) if end == "refused" else held(number, at_ns=at_ns, team=team)
        )
        if end in {"posted", "presumed"}:
            events.append(settled(number, at_ns=at_ns, end=end, windows=(MONTH,)))
    write(database, seq, events)
    folder.all_of(seq)
    before = picture(connection)
    for what, days, most, number in acts:
        retention.keep_since(connection, what, DAY_START_NS + days * DAY_NS, SAID)
        retention.prune(connection, what, None, most)  # and the rest some other time
        assert picture(connection) == before
        row = books.call(connection, facts(number).call_id)
        if row is not None and row.charge is not None:
            seq += 1
            write(database, seq, [corrected(number, was=row.charge.usd, now=row.charge.usd + 7)])
            folder.all_of(seq)
            after = picture(connection)
            assert after["balances"][MONTH].usd == before["balances"][MONTH].usd + 7
            before = after
    held_open = connection.execute("SELECT count(*) FROM holds").fetchone()
    fresh.close()
    assert held_open == (sum(end == "open" for _, _, end in made),)


async def walked(store: Store, what: Prunable, most: int = 1) -> list[int]:
    """How many records each step deleted, to the end."""
    steps = [await store.prune(what, None, most)]
    while steps[-1].place is not None:
        steps.append(await store.prune(what, steps[-1].place, most))
    return [step.deleted for step in steps]


async def test_what_is_old_goes_and_what_is_not_stays(store: Store) -> None:
    days = [DAY_START_NS + day * DAY_NS for day in range(4)]
    for number, at_ns in enumerate(days):
        store.journal.append(held(number, at_ns=at_ns, session=f"ses_{number}"))
        store.journal.append(settled(number, at_ns=at_ns))
        store.journal.append(Finding(at_ns, "overrun", None, "gateway", "look"))
        made = StoredObject(f"resp_{number}", "response", "p", "m", "agent/scout", "ses", "ses", "", "call", at_ns)
        store.journal.append(ObjectChanged(at_ns, made))
        session = Session(f"ses_{number}", "agent/scout", "cred", at_ns - DAY_NS, at_ns, "admin")
        await store.open_session(session, change(number))
        store.journal.append(TicketChanged(at_ns, ticket(number, at_ns=at_ns, state="denied")))
        await store.write_grant(grant(number, given_at_ns=at_ns, ended_at_ns=at_ns), change(number))
        store.journal.append(ToolsOffered(at_ns, f"digest-{number}", ("read",), 1))
    await store.fold()
    assert await store.kept_since() == dict.fromkeys(get_args(Prunable), 0)
    for what in get_args(Prunable):
        old = 0 if what == "presumed" else 2
        assert await store.has_older(what, days[2]) == bool(old)
        assert (await store.prune(what, None, 10)).deleted == 0, "nothing was said yet"
        await store.keep_since(what, days[2], change(9))
        assert await walked(store, what) == [1, 1, 0][2 - old :]
        assert not await store.has_older(what, days[2])
    assert await store.call(facts(1).call_id) is None
    assert await store.call(facts(2).call_id) is not None
    assert len(await store.findings(10)) == 2
    assert {session.id for session in await store.sessions(None, 10)} == {"ses_2", "ses_3"}
    sessions = SpendFilter(by="session", since_ns=0, until_ns=LAST_NS, only={}, limit=10)
    report = await store.spend(sessions)
    assert ({line.key for line in report.lines}, report.since_ns) == ({"ses_2", "ses_3"}, days[2])
    assert len(await store.changes(100)) == 3 * 4 + len(get_args(Prunable)), "changes are kept for good"
    await store.keep_since("calls", days[0], change(9))
    assert (await store.kept_since())["calls"] == days[2], "it never moves back"


async def test_a_call_that_is_still_open_is_never_too_old(store: Store) -> None:
    await store.journal.commit(held(1))
    store.journal.append(settled(1, end="voided", posted=Amounts(calls=1), usage=None))
    await store.journal.commit(held(1, attempt=2))
    await store.fold()
    await store.keep_since("calls", NOW_NS + DAY_NS, change(2))
    assert await walked(store, "calls", 10) == [0]
    store.journal.append(settled(1, attempt=2))
    await store.fold()
    call = await store.call(facts(1).call_id)
    assert call is not None
    assert call.charge == Amounts(CHARGE.usd, CHARGE.tokens, 2)
    assert await walked(store, "calls", 10) == [1]


async def test_a_presumed_charge_waits_for_its_bill(store: Store) -> None:
    """Longer than calls, corrected or not; and then it goes by an instant of its own."""
    for number, end in enumerate(("presumed", "posted", "presumed")):
        store.journal.append(held(number))
        store.journal.append(settled(number, end=end))
    store.journal.append(corrected(2, was=CHARGE.usd, now=7))
    late = NOW_NS + DAY_NS
    await store.keep_since("calls", late, change(1))
    assert await walked(store, "calls", 2) == [1, 0], "it is looked past, and not looked at again"
    assert [await store.call(facts(number).call_id) is not None for number in range(3)] == [True, False, True]
    assert await store.has_older("presumed", late)
    await store.keep_since("presumed", late, change(2))
    assert await walked(store, "presumed", 2) == [2, 0]


async def test_a_correction_on_its_way_is_counted_before_its_call_goes(store: Store) -> None:
    """It is in the journal and not in the tables yet when the step is asked for."""
    store.journal.append(held(1))
    store.journal.append(settled(1, windows=(MONTH,)))
    await store.keep_since("calls", NOW_NS + DAY_NS, change(2))
    store.journal.append(corrected(1, was=CHARGE.usd, now=CHARGE.usd + 7))
    assert await walked(store, "calls") == [1, 0]
    report = await store.spend(SpendFilter(by="team", since_ns=0, until_ns=LAST_NS, only={}, limit=10))
    assert report.total.charge_nanos == CHARGE.usd + 7


async def test_whoever_dies_between_two_steps_loses_nothing(store: Store, tmp_path: Path) -> None:
    """What is on disk after each step is opened as a start would, and the walk goes on from there."""
    for number in range(8):
        store.journal.append(held(number))
        if number != 5:
            store.journal.append(settled(number, end="presumed" if number == 3 else "posted", windows=(MONTH,)))
    await store.journal.commit(held(9))
    await store.fold()
    await store.keep_since("calls", NOW_NS + DAY_NS, change(1))
    wanted: list[Any] = []
    place: Place | None = None
    for number in range(4):
        folder = tmp_path / f"dead-{number}"
        folder.mkdir(mode=0o700)
        with (
            closing(sqlite3.connect(store._database.path)) as ours,
            closing(sqlite3.connect(folder / "comptroller.db")) as copy,
        ):
            ours.backup(copy)
        next_one = open_at(folder)
        next_one.start()
        recovered = (next_one.recovered.count, next_one.recovered.amount_nanos)
        await walked(next_one, "calls", 3)
        left = {record.facts.call_id for record in await next_one.calls(CallFilter())}
        with closing(sqlite3.connect(folder / "comptroller.db")) as copy:
            wanted.append((recovered, left, picture(copy)))
        await next_one.close(10)
        place = (await store.prune("calls", place, 3)).place
    assert wanted[0][0] == (2, 2 * HOLD.usd)
    assert wanted[0][1] == {facts(number).call_id for number in (3, 5, 9)}, "presumed, the last two by the start"
    assert wanted == [wanted[0]] * 4


@settings(max_examples=20)
@given(
    instants=st.lists(st.integers(0, 5), min_size=1, max_size=20),
    stays=st.sets(st.integers(0, 19)),
    most=st.integers(1, 7),
)
def test_a_walk_meets_every_old_record_once(
    template: Path, tmp_path_factory: pytest.TempPathFactory, instants: list[int], stays: set[int], most: int
) -> None:
    """Records of one instant too, and among those that stay."""
    fresh = Fresh(template, tmp_path_factory.mktemp("walked"))
    database = fresh()
    events: list[Any] = []
    for number, instant in enumerate(instants):
        events.append(held(number, at_ns=DAY_START_NS + instant))
        end = "presumed" if number in stays else "posted"
        events.append(settled(number, at_ns=DAY_START_NS + 9, end=end))
    write(database, 1, events)
    Folder(database).all_of(1)
    connection = database.connection
    retention.keep_since(connection, "calls", DAY_START_NS + 5, SAID)
    old = {number for number, instant in enumerate(instants) if instant < 5}
    deleted, place, steps = 0, None, 0
    while place is not None or not steps:
        step = retention.prune(connection, "calls", place, most)
        deleted, place, steps = deleted + step.deleted, step.place, steps + 1
    left = {int(name[5:]) for (name,) in connection.execute("SELECT id FROM calls")}
    fresh.close()
    assert left == set(range(len(instants))) - (old - stays)
    assert (deleted, steps) == (len(old - stays), len(old) // most + 1)


def test_a_step_looks_at_no_more_than_it_was_told_to(tmp_path: Path) -> None:
    """No table is read in full but that of the open holds, which is small; and nothing is sorted but ties."""
    open_at(tmp_path)._lock.release()
    place: dict[Prunable, Place] = {"spend_recent": (5, b"key", "ses_1"), "findings": (5, 5)}
    with closing(sqlite3.connect(tmp_path / "comptroller.db")) as connection:
        for what in get_args(Prunable):
            said: list[str] = []
            connection.set_trace_callback(said.append)
            retention.has_older(connection, what, 5)
            retention.prune(connection, what, None, 3)
            retention.prune(connection, what, place.get(what, (5, "x")), 3)
            connection.set_trace_callback(None)
            assert any("LIMIT 3" in statement for statement in said)
            for statement in said:
                plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
                assert {step for *_, step in plan if step.startswith("SCAN")} <= {"SCAN holds"}, statement
                assert "TEMP B-TREE FOR ORDER BY" not in str(plan), statement


async def test_what_waits_and_what_is_in_force_is_never_old(store: Store) -> None:
    key = ledger_key(grant(2).id)
    for number, (open_one, over) in enumerate(((True, False), (False, True)), 1):
        state: TicketState = "requested" if open_one else "expired"
        store.journal.append(TicketChanged(NOW_NS, ticket(number, at_ns=DAY_START_NS, state=state)))
        ended = NOW_NS if over else None
        await store.write_grant(grant(number, given_at_ns=DAY_START_NS, ended_at_ns=ended), change(number))
    store.journal.append(held(1, at_ns=DAY_START_NS, windows=(key,)))
    store.journal.append(settled(1, at_ns=DAY_START_NS, windows=(key,)))
    await store.fold()
    assert await store.instance_balances([LEDGER_KEY], [grant(2).id])
    for what in ("tickets", "grants"):
        await store.keep_since(what, DAY_START_NS + 1, change(9))
        assert sum(await walked(store, what)) == 1
    assert [each.id for each in await store.tickets(10)] == [each.id for each in await store.open_tickets()]
    assert [each.id for each in await store.grants(10)] == [grant(1).id]
    assert await store.instance_balances([LEDGER_KEY], [grant(2).id]) == {}, "what was spent by it goes with it"
