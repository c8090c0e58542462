"""Folding: the same tables however the run of events is cut, and exactly once across failures."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.flow.records import Extended, Held, Joined, Settled
from comptroller.store.folder import Folder, StoreDamagedError, get_meta
from tests.store.folding import WINDOWS, Fresh, any_event, write
from tests.store.samples import HOLD, MONTH, SCOUT, corrected, held, open_at, rows_of, settled

TABLES = (
    "calls",
    "holds",
    "balances",
    "bounds",
    "findings",
    "events",
    "objects",
    "notices",
    "notices_told",
    "tool_pins",
    "tool_definitions",
)
SPEND = ("spend_recent", "spend_daily")


def tables_of(connection: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    content = {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3").fetchall() for name in TABLES}
    # A call that moved to another sum may leave one of nothing behind.
    some = "calls + refused > 0"
    content |= {name: connection.execute(f"SELECT * FROM {name} WHERE {some}").fetchall() for name in SPEND}
    return content | {"last_ns": [(get_meta(connection, "last_ns"),)]}


@settings(max_examples=60)
@given(batches=st.lists(st.lists(any_event, max_size=8), max_size=8), data=st.data())
def test_the_cut_does_not_matter(
    template: Path, tmp_path_factory: pytest.TempPathFactory, batches: Any, data: Any
) -> None:
    fresh = Fresh(template, tmp_path_factory.mktemp("cuts"))
    whole, cut, recent = fresh(), fresh(), fresh()
    folders = {database: Folder(database) for database in (whole, cut, recent)}
    for seq, events in enumerate(batches, start=1):
        for database, folder in folders.items():
            write(database, seq, events)
            if database is recent:
                folder.remember(seq, events)
        if data.draw(st.booleans(), "fold here"):
            folders[cut].all_of(seq)
        if data.draw(st.booleans(), "fold here from memory"):
            folders[recent].all_of(seq)
    for folder in folders.values():
        folder.all_of(len(batches))
    results = [tables_of(database.connection) for database in folders]
    fresh.close()
    assert results[0] == results[1] == results[2]


def test_a_hold_that_came_twice_is_ended_by_one_settlement(template: Path, tmp_path: Path) -> None:
    fresh = Fresh(template, tmp_path)
    database = fresh()
    folder = Folder(database)
    write(database, 1, [held(0, attempt=1)])
    folder.all_of(1)
    write(database, 2, [held(0, attempt=1), settled(0, attempt=1)])
    folder.all_of(2)
    assert tables_of(database.connection)["holds"] == []
    fresh.close()


@settings(max_examples=30)
@given(events=st.lists(any_event, max_size=30))
def test_money_is_kept(template: Path, tmp_path_factory: pytest.TempPathFactory, events: Any) -> None:
    """Balances are what was posted and corrected; the rest of what was held stands among the open holds."""
    fresh = Fresh(template, tmp_path_factory.mktemp("money"))
    database = fresh()
    write(database, 1, events)
    Folder(database).all_of(1)
    expected: dict[WindowKey, int] = {}
    open_holds: set[str] = set()
    for event in events:
        if isinstance(event, Held):
            open_holds.add(event.attempt_id)
        if isinstance(event, Settled):
            open_holds.discard(event.attempt_id)
        posted = event.posted.usd if isinstance(event, Settled) else getattr(event, "delta_nanos", 0)
        for key in event.windows if posted else ():  # type: ignore[union-attr]
            expected[key] = expected.get(key, 0) + posted
    rows = database.connection.execute("SELECT budget, instance, start_ns, usd FROM balances").fetchall()
    holds = {attempt_id for (attempt_id,) in database.connection.execute("SELECT attempt_id FROM holds")}
    fresh.close()
    assert {WindowKey(*row[:3]): row[3] for row in rows if row[3]} == {k: v for k, v in expected.items() if v}
    assert holds == open_holds


def test_a_fold_that_fails_has_never_been(fresh: Fresh) -> None:
    database = fresh()
    folder = Folder(database)
    write(database, 1, [held(1), settled(1)])
    folder.remember(1, [held(1), settled(1)])
    database.connection.execute("CREATE TRIGGER broken BEFORE DELETE ON journal BEGIN SELECT raise(ABORT, 'no'); END")
    with pytest.raises(sqlite3.Error, match="no"):
        folder.step(1)
    assert tables_of(database.connection)["calls"] == []
    database.connection.execute("DROP TRIGGER broken")
    assert folder.step(1) == 2
    assert folder.step(1) == 0
    assert get_meta(database.connection, "folded_seq") == 1
    assert database.connection.execute("SELECT count(*) FROM journal").fetchone() == (0,)
    assert database.connection.execute("SELECT usd FROM balances").fetchall() == [(2_000_000,), (2_000_000,)]


def test_attempts_of_one_call_add_up(fresh: Fresh) -> None:
    database = fresh()
    folder = Folder(database)
    write(database, 1, [held(1), settled(1, end="voided", posted=Amounts(calls=1), usage=None, status=429)])
    write(database, 2, [held(1, attempt=2), settled(1, attempt=2)])
    folder.all_of(2)
    row = database.connection.execute(
        "SELECT state, attempts, charge_nanos, charge_calls, status FROM calls"
    ).fetchall()
    assert row == [("posted", 2, 2_000_000, 2, 200)]


ROWS = "SELECT id, identity, state, attempts, charge_nanos, charge_tokens, outcome FROM calls"
SUMS = "SELECT sum(calls), sum(charge_nanos) FROM spend_daily"


def test_an_attempt_that_is_settled_twice_is_a_charge_too_many_in_all_books(fresh: Fresh) -> None:
    """So that one correction mends all of them: what its row says is what its windows hold."""
    database = fresh()
    folder = Folder(database)
    write(database, 1, [held(1), settled(1), settled(1)])
    folder.all_of(1)
    assert database.connection.execute(ROWS).fetchall() == [
        (settled(1).call_id, "agent/scout", "posted", 1, 4_000_000, 1_400, "completed")
    ]
    assert database.connection.execute("SELECT usd FROM balances").fetchall() == [(4_000_000,), (4_000_000,)]
    assert database.connection.execute(SUMS).fetchall() == [(1, 4_000_000)]
    write(database, 2, [corrected(1, was=4_000_000, now=2_000_000)])
    folder.all_of(2)
    assert database.connection.execute("SELECT usd FROM balances").fetchall() == [(2_000_000,), (2_000_000,)]
    assert database.connection.execute(SUMS).fetchall() == [(1, 2_000_000)]


def test_a_settlement_without_a_hold_is_posted_and_found(fresh: Fresh) -> None:
    database = fresh()
    write(database, 1, [settled(1)])
    Folder(database).all_of(1)
    assert database.connection.execute(ROWS).fetchall() == [
        (settled(1).call_id, "", "posted", 0, 2_000_000, 700, "completed")
    ]
    assert database.connection.execute(SUMS).fetchall() == [(1, 2_000_000)]
    assert database.connection.execute("SELECT code, call_id FROM findings").fetchall() == [
        ("settled_without_hold", settled(1).call_id)
    ]
    assert database.connection.execute("SELECT usd FROM balances").fetchall() == [(2_000_000,), (2_000_000,)]


def test_the_end_of_a_hold_that_never_reached_the_disk_is_nothing(fresh: Fresh) -> None:
    database = fresh()
    write(database, 1, [settled(1, end="voided", posted=Amounts(), usage=None)])
    Folder(database).all_of(1)
    assert all(not rows for name, rows in tables_of(database.connection).items() if name != "last_ns")


def test_a_journal_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    open_at(tmp_path)._lock.release()
    with closing(sqlite3.connect(tmp_path / "comptroller.db")) as connection, connection:
        connection.execute("INSERT INTO journal (seq, at_ns, epoch, body) VALUES (1, 1, 1, x'91c0')")
    with pytest.raises(StoreDamagedError, match="batch 1"):
        open_at(tmp_path)
    assert rows_of(tmp_path, "SELECT count(*) FROM journal") == [(1,)]


def test_a_joined_window_gets_its_share(fresh: Fresh) -> None:
    database = fresh()
    folder = Folder(database)
    write(database, 1, [held(1)])
    folder.all_of(1)
    write(database, 2, [Joined(held(1).attempt_id, (WINDOWS[2],))])
    folder.all_of(2)
    (body,) = database.connection.execute("SELECT body FROM holds").fetchone()
    hold = msgspec.msgpack.decode(body, type=Held)
    assert (hold.windows, hold.amounts) == ((MONTH, SCOUT, WINDOWS[2]), HOLD)


def test_a_hold_is_as_large_as_its_slices_together(fresh: Fresh) -> None:
    """And the row of its call shows what was held in the end; slices of a hold that is not open are nothing."""
    database = fresh()
    folder = Folder(database)
    write(database, 1, [held(1), Extended(held(1).attempt_id, Amounts(usd=5, tokens=7))])
    folder.all_of(1)
    write(database, 2, [Extended(held(1).attempt_id, Amounts(usd=-3)), Extended(held(2).attempt_id, Amounts(usd=9))])
    folder.all_of(2)
    (body,) = database.connection.execute("SELECT body FROM holds").fetchone()
    assert msgspec.msgpack.decode(body, type=Held).amounts == HOLD.plus(Amounts(usd=2, tokens=7))
    write(database, 3, [settled(1), Extended(held(1).attempt_id, Amounts(usd=9))])
    folder.all_of(3)
    row = database.connection.execute("SELECT state, held_nanos, held_tokens FROM calls").fetchall()
    assert row == [("posted", HOLD.usd + 2, HOLD.tokens + 7)]
    assert database.connection.execute("SELECT count(*) FROM holds").fetchone() == (0,)
