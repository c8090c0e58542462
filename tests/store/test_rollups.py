"""The sums that reports read are the sums over the calls, whatever happened to them and wherever the fold was cut."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.core.budget.hold import Amounts
from comptroller.flow.records import Event, Settled
from comptroller.store import schema
from comptroller.store.attempts import unpack
from comptroller.store.folder import Folder
from tests.store.folding import Fresh, about, any_event, make_older_store, money_event, write
from tests.store.samples import NOW_NS, corrected, held, refused, settled, started

QUARTER_NS, DAY_NS = 15 * 60 * 10**9, 24 * 3600 * 10**9
KEYS = ", ".join(schema.SPEND_DIMENSIONS)
SUMS = ", ".join(schema.SPEND_SUMS)

Sums = dict[tuple[Any, ...], tuple[int, ...]]


def kept(connection: sqlite3.Connection, table: str, *more: str) -> Sums:
    """What a table says, by what it is counted under. A sum that came to nothing need not stand there."""
    names = ", ".join(("start_ns", *more))
    rows = connection.execute(f'SELECT {names}, {KEYS}, {SUMS} FROM {table} JOIN spend_keys ON id = "key"').fetchall()
    split = len(more) + 1 + len(schema.SPEND_DIMENSIONS)
    return {row[:split]: row[split:] for row in rows if any(row[split:])}


Part = tuple[dict[str, Any], bool, int, int, int, int]


def parts(call: sqlite3.Row) -> list[Part]:
    """What the charge of a call is made of: where, whether it is doubtful, how much in each unit, and since when."""
    of = {name: call[name] or "" for name in schema.SPEND_DIMENSIONS}
    found: list[Part] = []
    for each in unpack(call["tried"]):
        there = {"provider": each.provider or "", "model": each.model or "", "model_class": each.model_class or ""}
        doubtful = each.end == "presumed" and not each.corrected
        taken_ns = each.settled_at_ns - (each.duration_ns or 0)
        found.append((of | there, doubtful, each.charge_nanos, each.charge_tokens, each.charge_calls, taken_ns))
    if not found:
        doubtful = call["state"] == "presumed" and not call["corrected"]
        charge = [call[name] or 0 for name in ("charge_nanos", "charge_tokens", "charge_calls")]
        found.append((of, doubtful, charge[0], charge[1], charge[2], call["at_ns"]))
    for there, _, nanos, tokens, *_ in found:
        if not (nanos or tokens):
            there["model"] = ""
    assert sum(part[2] for part in found) == (call["charge_nanos"] or 0)
    return found


def expected(connection: sqlite3.Connection, step_ns: int, *more: str) -> Sums:
    """The same from the calls themselves, added up here."""
    connection.row_factory = sqlite3.Row
    found: dict[tuple[Any, ...], Counter[str]] = {}
    for call in connection.execute("SELECT * FROM calls").fetchall():
        named = tuple(call[name] for name in more)
        begun = (call["at_ns"] // step_ns * step_ns, *named)
        for there, doubtful, nanos, tokens, calls, taken_ns in parts(call):
            sums = found.setdefault((taken_ns // step_ns * step_ns, *named, *there.values()), Counter())
            sums["presumed_nanos" if doubtful else "charge_nanos"] += nanos
            sums["posted_tokens"] += tokens
            sums["posted_calls"] += calls
        last = {"provider": call["provider"] or "", "model_class": call["model_class"] or ""}
        sums = found.setdefault((*begun, *(parts(call)[-1][0] | last).values()), Counter())
        sums["refused" if call["state"] == "refused" else "calls"] += 1
        sums["overruns"] += call["overrun"] or 0
        sums["input_tokens"] += call["input_tokens"] or 0
        sums["output_tokens"] += call["output_tokens"] or 0
    connection.row_factory = None
    return {key: tuple(sums[name] for name in schema.SPEND_SUMS) for key, sums in found.items() if any(sums.values())}


def assert_sums_are_right(connection: sqlite3.Connection) -> None:
    assert kept(connection, "spend_recent", "session") == expected(connection, QUARTER_NS, "session")
    assert kept(connection, "spend_daily") == expected(connection, DAY_NS)


@settings(max_examples=100)
@given(batches=st.lists(st.lists(any_event, max_size=8), max_size=8))
def test_sums_are_the_sums_over_calls(template: Path, tmp_path_factory: pytest.TempPathFactory, batches: Any) -> None:
    fresh = Fresh(template, tmp_path_factory.mktemp("sums"))
    database = fresh()
    folder = Folder(database)
    for seq, events in enumerate(batches, start=1):
        write(database, seq, events)
        folder.all_of(seq)
        assert_sums_are_right(database.connection)
    fresh.close()


def sums_of(connection: sqlite3.Connection, *names: str) -> tuple[int, ...]:
    """These sums over everything."""
    both = [
        connection.execute(f"SELECT {', '.join(f'sum({name})' for name in names)} FROM {table}").fetchone()
        for table in ("spend_recent", "spend_daily")
    ]
    assert both[0] == both[1]
    return both[0]


def test_an_attempt_counts_when_it_was_made_and_not_when_its_call_began(fresh: Fresh) -> None:
    """The one before it may have been drawn from the windows of yesterday."""
    database = fresh()
    midnight = (NOW_NS // DAY_NS + 1) * DAY_NS
    first_ns, second_ns = midnight - 1_000, midnight + 5_000
    first = settled(1, at_ns=midnight + 4_000, duration_ns=5_000, end="presumed", posted=Amounts(usd=7, calls=1))
    second = settled(1, attempt=2, at_ns=midnight + 9_000, duration_ns=4_000, posted=Amounts(usd=100, calls=1))
    write(database, 1, [held(1, at_ns=first_ns), first, held(1, attempt=2, at_ns=second_ns), second])
    Folder(database).all_of(1)
    found = database.connection.execute(
        "SELECT start_ns, sum(charge_nanos + presumed_nanos), sum(posted_calls), sum(calls) FROM spend_daily"
        " GROUP BY start_ns ORDER BY start_ns"
    ).fetchall()
    assert found == [(midnight - DAY_NS, 7, 1, 1), (midnight, 100, 1, 0)]
    assert_sums_are_right(database.connection)


def test_a_correction_makes_a_presumed_charge_exact(fresh: Fresh) -> None:
    database = fresh()
    folder = Folder(database)
    write(database, 1, [held(1), settled(1, end="presumed", usage=None)])
    folder.all_of(1)
    assert sums_of(database.connection, "calls", "charge_nanos", "presumed_nanos") == (1, 0, 2_000_000)
    write(database, 2, [corrected(1, now=1_500_000)])
    folder.all_of(2)
    assert sums_of(database.connection, "calls", "charge_nanos", "presumed_nanos") == (1, 1_500_000, 0)


def test_a_late_settlement_counts_when_its_call_was_made(fresh: Fresh) -> None:
    database = fresh()
    write(database, 1, [held(1), settled(1, at_ns=held(1).facts.at_ns + 3 * DAY_NS)])
    Folder(database).all_of(1)
    starts = database.connection.execute("SELECT start_ns FROM spend_recent").fetchall()
    assert starts == [(held(1).facts.at_ns // QUARTER_NS * QUARTER_NS,)]


UNSENT = {"end": "voided", "posted": Amounts(calls=1), "usage": None}


@pytest.mark.parametrize(
    ("events", "counted"),
    [
        (lambda n, name: [refused(n, code="model_unknown", model=name, provider=None)], (0, 50)),
        (lambda n, name: [refused(n, code="budget_exhausted", model=name, provider=None)], (0, 50)),
        (lambda n, name: [held(n, model=name), settled(n, status=404, **UNSENT)], (50, 0)),
    ],
    ids=["nothing serves it", "a pattern does, and the call is refused", "a pattern does, and the provider does not"],
)
def test_made_up_names_of_models_make_no_lines(fresh: Fresh, events: Any, counted: tuple[int, int]) -> None:
    """Whoever has a credential can ask for any name, at no cost."""
    database = fresh()
    write(database, 1, [event for n in range(50) for event in events(n, f"made-up-{n}")])
    Folder(database).all_of(1)
    assert database.connection.execute("SELECT count(*) FROM spend_keys").fetchone() == (1,)
    assert database.connection.execute("SELECT count(*) FROM spend_daily").fetchone() == (1,)
    assert sums_of(database.connection, "calls", "refused") == counted


def test_a_name_that_something_was_billed_for_is_a_line(fresh: Fresh) -> None:
    """Presumed, or without a price, too."""
    database = fresh()
    folder = Folder(database)
    write(database, 1, [held(1, model="one"), settled(1, end="presumed", usage=None)])
    write(database, 2, [held(2, model="two"), settled(2, posted=Amounts(tokens=5, calls=1), priced=False)])
    write(
        database,
        3,
        [held(3, model="three"), settled(3, **UNSENT), held(3, attempt=2, model="four"), settled(3, attempt=2)],
    )
    folder.all_of(3)
    models = database.connection.execute('SELECT model FROM spend_daily JOIN spend_keys ON id = "key" ORDER BY 1')
    assert models.fetchall() == [("",), ("four",), ("one",), ("two",)], "what came to nothing counts as a call"
    assert_sums_are_right(database.connection)


Posting = st.lists(st.lists(money_event, max_size=8), max_size=8)


@settings(max_examples=100)
@given(batches=Posting)
def test_what_is_posted_in_windows_stands_in_the_sums(
    template: Path, tmp_path_factory: pytest.TempPathFactory, batches: list[list[Event]]
) -> None:
    """Attempts that were settled twice, or without a hold that anybody knows, too."""
    fresh = Fresh(template, tmp_path_factory.mktemp("posted"))
    database = fresh()
    folder = Folder(database)
    for seq, events in enumerate(batches, start=1):
        write(database, seq, events)
        folder.all_of(seq)
    posted = [event.posted for events in batches for event in events if isinstance(event, Settled)]
    usd, *others = sums_of(database.connection, "charge_nanos + presumed_nanos", "posted_tokens", "posted_calls")
    assert (usd or 0) == sum(each.usd for each in posted)
    assert [each or 0 for each in others] == [sum(each.tokens for each in posted), sum(each.calls for each in posted)]
    assert_sums_are_right(database.connection)
    fresh.close()


async def test_an_older_store_gets_its_sums_from_its_calls(fresh: Fresh, tmp_path: Path) -> None:
    database = fresh()
    for number in range(7):
        ends = {"end": ("posted", "presumed", "voided")[number % 3], "overrun": number == 3}
        events = [held(number, **about(number)), settled(number, **ends)] if number else [refused(0, **about(0))]
        write(database, number + 1, events)
    write(database, 8, [refused(7, code="model_unknown", model="made-up", provider=None), corrected(1, now=5)])
    Folder(database).all_of(8)
    folder = tmp_path / "older"
    folder.mkdir()
    make_older_store(folder / "comptroller.db", "0004", calls_of=database.path)
    async with started(folder) as store:
        assert store.backup is not None
        with closing(sqlite3.connect(folder / "comptroller.db")) as connection:
            assert_sums_are_right(connection)
            for table, more in (("spend_recent", ["session"]), ("spend_daily", [])):
                assert kept(connection, table, *more) == kept(database.connection, table, *more) != {}
            keys = "SELECT * FROM spend_keys ORDER BY id"
            assert connection.execute(keys).fetchall() == database.connection.execute(keys).fetchall()
        # and a fold goes on where the migration ended
        store.journal.append(held(2, attempt=2, **about(2, 2)))
        store.journal.append(settled(2, attempt=2))
        await store.fold()
        with closing(sqlite3.connect(folder / "comptroller.db")) as connection:
            assert_sums_are_right(connection)
