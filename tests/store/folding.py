"""Stores to fold into, and runs of events to fold: sensible or not."""

import shutil
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from comptroller.core.budget.hold import NOTHING, Amounts, WindowKey
from comptroller.core.instant import DAY_NS, QUARTER_HOUR_NS
from comptroller.core.tool.pin import Pin
from comptroller.flow.records import (
    BoundChanged,
    Event,
    Extended,
    Finding,
    Joined,
    Noticed,
    NoticeTried,
    PinChanged,
    TicketChanged,
)
from comptroller.store.database import Database
from comptroller.store.migrate import migrate
from tests.store.samples import MONTH, NOW_NS, SCOUT, change, corrected, held, refused, settled, stored, ticket

SHIPPED = Path(sys.modules[migrate.__module__].__file__ or "").parent / "migrations"
DAY_START_NS = NOW_NS // DAY_NS * DAY_NS
WINDOWS = (MONTH, SCOUT, WindowKey("day#cc", "", NOW_NS), WindowKey("life#dd", "ses_1", 0))
numbers = st.integers(0, 6)
window_sets = st.lists(st.sampled_from(WINDOWS), unique=True, max_size=4).map(tuple)
amounts = st.builds(Amounts, st.integers(0, 10**12), st.integers(0, 10**6), st.integers(0, 1))


_QUARTERS = (-1, 0, 0, 3, 95, 96, 400)


def about(number: int, attempt: int = 1) -> dict[str, Any]:
    """Facts that differ in what is counted apart: quarters of an hour and days, whose call it was, what it tried."""
    return {
        "at_ns": DAY_START_NS + _QUARTERS[number] * QUARTER_HOUR_NS + number,
        "session": f"ses_{number % 2}",
        "team": ("search", "ads")[number % 2],
        "model": ("sandbox-large", None, "sandbox-small")[(number + attempt) % 3],
        "provider": ("sandbox", "steady")[attempt % 2],
    }


def bound(overruns: int, factor_bp: int) -> BoundChanged:
    return BoundChanged(NOW_NS, "gateway", "", "sandbox", "large", "openai_chat", overruns, factor_bp, overruns > 2)


# Holds and their ends in any order, sensible or not: attempts settled twice, or before they are held.
money_event: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        lambda n, a, w, h: held(n, attempt=a, windows=w, amounts=h, **about(n, a)),
        numbers,
        st.integers(1, 2),
        window_sets,
        amounts,
    ),
    st.builds(
        lambda n, a, w, p, end, over: settled(n, attempt=a, windows=w, posted=p, end=end, overrun=over),
        numbers,
        st.integers(1, 2),
        window_sets,
        amounts,
        st.sampled_from(["posted", "presumed", "voided"]),
        st.booleans(),
    ),
)

# Any event in any order: joined before they are held, refused after.
any_event: st.SearchStrategy[Event] = st.one_of(
    money_event,
    st.builds(lambda n, w: Joined(f"call_{n:026d}.1", w), numbers, window_sets),
    st.builds(
        lambda n, a, less: Extended(f"call_{n:026d}.1", NOTHING.less(a) if less else a), numbers, amounts, st.booleans()
    ),
    st.builds(
        lambda n, code: refused(n, code=code, **about(n)),
        numbers,
        st.sampled_from(["budget_exhausted", "model_unknown"]),
    ),
    st.builds(lambda n, now: corrected(n, now=now), numbers, st.integers(0, 10**12)),
    st.builds(bound, st.integers(0, 4), st.integers(10_000, 20_000)),
    st.builds(lambda n: Finding(NOW_NS + n, "overrun", None, "gateway", "look at this"), numbers),
    st.builds(
        lambda n, to, once: Noticed(f"ntc_{n}", NOW_NS + n, "stop.suspended", "team red", b"{}", to, once),
        numbers,
        st.sampled_from([(), ("ops",), ("ops", "red")]),
        st.sampled_from(["", "a", "b"]),
    ),
    st.builds(
        lambda n, to, state, tries: NoticeTried(f"ntc_{n}", to, NOW_NS + n, state, tries, NOW_NS, NOW_NS, "why"),
        numbers,
        st.sampled_from(["ops", "red"]),
        st.sampled_from(["delivered", "waiting", "failed"]),
        st.integers(0, 3),
    ),
    st.builds(change, numbers),
    st.builds(lambda n, at: stored(n, tokens=at), numbers, st.none() | st.integers(0, 10**6)),
    st.builds(
        lambda n, tool, accepted, shown: PinChanged(NOW_NS + n, "gateway", pin(tool, accepted, shown), f"text {shown}"),
        numbers,
        st.sampled_from(["read", "write"]),
        st.sampled_from(["", "a", "b"]),
        st.sampled_from(["a", "b"]),
    ),
    st.builds(
        lambda n, state: TicketChanged(NOW_NS + n, ticket(n, state=state)),
        numbers,
        st.sampled_from(["requested", "withdrawn"]),
    ),
)


def pin(tool: str, accepted: str, shown: str) -> Pin:
    return Pin(server="files", tool=tool, digest=accepted, shown=shown, shown_at_ns=NOW_NS)


class Fresh:
    """Makes empty stores."""

    def __init__(self, template: Path, folder: Path) -> None:
        self._template = template
        self._folder = folder
        self._open: list[Database] = []

    def __call__(self) -> Database:
        path = self._folder / f"{len(self._open)}.db"
        shutil.copyfile(self._template, path)
        database = Database(path, "process")
        self._open.append(database)
        database.take_epoch()
        return database

    def close(self) -> None:
        for database in self._open:
            database.close()


def write(database: Database, seq: int, events: Sequence[Event]) -> None:
    database.write_batch(seq, NOW_NS, msgspec.msgpack.encode(list(events)))


def make_older_store(path: Path, revision: str, *, calls_of: Path) -> None:
    """A store as an older program left it, with the calls of another store."""
    scripts = path.parent / f"scripts-{revision}"

    def newer(_: str, names: list[str]) -> list[str]:
        return [name for name in names if name[:4].isdigit() and name[:4] > revision]

    shutil.copytree(SHIPPED, scripts, ignore=newer)
    with closing(Database(path, "process")) as older:
        migrate(older.connection, path, NOW_NS, scripts)
        older.connection.execute("ATTACH DATABASE ? AS newer", (str(calls_of),))
        columns = ", ".join(row[1] for row in older.connection.execute("PRAGMA main.table_info(calls)"))
        older.connection.execute(f"INSERT INTO main.calls ({columns}) SELECT {columns} FROM newer.calls")
