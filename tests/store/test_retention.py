"""Letting go of old records: what was counted from them stays as it was."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.control.interfaces import Prunable, SpendFilter, Spending
from comptroller.core.budget.hold import Amounts
from comptroller.core.instant import DAY_NS, QUARTER_HOUR_NS
from comptroller.core.work.session import Session
from comptroller.flow.records import Change, Finding
from comptroller.store import books, retention, schema, spend
from comptroller.store.folder import Folder
from comptroller.store.store import Store
from tests.store.folding import DAY_START_NS, Fresh, write
from tests.store.samples import CHARGE, MONTH, NOW_NS, change, corrected, facts, held, open_at, refused, settled

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
    st.tuples(st.sampled_from(["calls", "spend_recent"]), st.integers(0, 12), st.integers(1, 6), st.integers(0, 30)),
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
        spend.posted(connection, Spending(scope={"team": ("ads",)}, per=per, start_ns=start_ns, end_ns=None))
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
        retention.prune(connection, what, most)  # and the rest some other time
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


async def test_what_is_old_goes_and_what_is_not_stays(store: Store) -> None:
    days = [DAY_START_NS + day * DAY_NS for day in range(4)]
    for number, at_ns in enumerate(days):
        store.journal.append(held(number, at_ns=at_ns, session=f"ses_{number}"))
        store.journal.append(settled(number, at_ns=at_ns))
        store.journal.append(Finding(at_ns, "overrun", None, "gateway", "look"))
        session = Session(f"ses_{number}", "agent/scout", "cred", at_ns - DAY_NS, at_ns, "admin")
        await store.open_session(session, change(number))
    await store.fold()
    assert await store.kept_since() == dict.fromkeys(get_args(Prunable), 0)
    for what in get_args(Prunable):
        assert await store.older(what, days[2]) == 2
        assert await store.prune(what, 10) == 0, "nothing was said yet"
        await store.keep_since(what, days[2], change(9))
        assert [await store.prune(what, 1) for _ in range(3)] == [1, 1, 0]
        assert await store.older(what, days[2]) == 0
    assert await store.call(facts(1).call_id) is None
    assert await store.call(facts(2).call_id) is not None
    assert len(await store.findings(10)) == 2
    assert {session.id for session in await store.sessions(None, 10)} == {"ses_2", "ses_3"}
    sessions = SpendFilter(by="session", since_ns=0, until_ns=LAST_NS, only={}, limit=10)
    report = await store.spend(sessions)
    assert ({line.key for line in report.lines}, report.since_ns) == ({"ses_2", "ses_3"}, days[2])
    assert len(await store.changes(100)) == 4 + len(get_args(Prunable)), "changes are kept for good"
    await store.keep_since("calls", days[0], change(9))
    assert (await store.kept_since())["calls"] == days[2], "it never moves back"


async def test_a_call_that_is_still_open_is_never_too_old(store: Store) -> None:
    await store.journal.commit(held(1))
    store.journal.append(settled(1, end="voided", posted=Amounts(calls=1), usage=None))
    await store.journal.commit(held(1, attempt=2))
    await store.fold()
    await store.keep_since("calls", NOW_NS + DAY_NS, change(2))
    assert await store.older("calls", NOW_NS + DAY_NS) == 0
    assert await store.prune("calls", 10) == 0
    store.journal.append(settled(1, attempt=2))
    await store.fold()
    call = await store.call(facts(1).call_id)
    assert call is not None
    assert call.charge == Amounts(CHARGE.usd, CHARGE.tokens, 2)
    assert await store.prune("calls", 10) == 1


def test_old_records_are_found_by_an_index(tmp_path: Path) -> None:
    open_at(tmp_path)._lock.release()
    ages = {"calls": "at_ns", "findings": "at_ns", "sessions": "expires_at_ns", "spend_recent": "start_ns"}
    with closing(sqlite3.connect(tmp_path / "comptroller.db")) as connection:
        for what, age in ages.items():
            assert what in schema.metadata.tables
            plan = connection.execute(
                f"EXPLAIN QUERY PLAN SELECT * FROM {what} WHERE {age} < 5 ORDER BY {age}"
            ).fetchall()
            assert "SCAN" not in str(plan), what
            assert "TEMP B-TREE" not in str(plan), what
