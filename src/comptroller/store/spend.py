"""What calls came to, read from the sums that folds keep (rollups.py) and never from the calls themselves.

Whole days in UTC come from one table, what is left of a stretch at its ends from the quarters of an hour in the
other. A day of any time zone in use begins on a quarter of an hour, so it is summed exactly.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Subquery, Table, case, func, select, union_all

from comptroller.control.interfaces import Spend, SpendFilter, SpendReport
from comptroller.core.budget.scope import SESSION_ATTRIBUTES
from comptroller.core.instant import DAY_NS, QUARTER_HOUR_NS
from comptroller.core.pricing.book import SERVER
from comptroller.store import schema
from comptroller.store.folder import get_meta
from comptroller.store.retention import since_key
from comptroller.store.sql import run

RECENT_SINCE = since_key("spend_recent")

_REPORTED = (
    "calls", "refused", "overruns", "input_tokens", "output_tokens", "charge_nanos", "presumed_nanos", "posted_calls",
    "posted_tool_calls", "posted_result_bytes",
)  # fmt: skip


class Stretch(NamedTuple):
    """A stretch of time in one of the two tables."""

    table: Table
    start_ns: int
    end_ns: int


def report(connection: sqlite3.Connection, wanted: SpendFilter) -> SpendReport:
    """The lines with the most spend first, and the total of all."""
    sessions = not {*SESSION_ATTRIBUTES}.isdisjoint({wanted.by, *wanted.only})
    recent_since_ns = get_meta(connection, RECENT_SINCE)
    since_ns, until_ns = covered(wanted.since_ns, wanted.until_ns, recent_since_ns, sessions=sessions)
    calls = _calls(stretches(since_ns, until_ns, sessions=sessions), sessions=sessions)
    only = [_dimension(calls, name) == value for name, value in wanted.only.items()]
    sums = [func.sum(calls.c[name]).label(name) for name in _REPORTED]
    key = _dimension(calls, wanted.by)
    lines = select(key.label("key"), *sums).where(*only).group_by(key).subquery()
    totals = (func.count(), *(func.sum(lines.c[name]) for name in _REPORTED))
    most_first = ((lines.c.charge_nanos + lines.c.presumed_nanos).desc(), lines.c.calls.desc(), lines.c.key)
    statement = select(*(total.over() for total in totals), *lines.columns).order_by(*most_first).limit(wanted.limit)
    found = run(connection, statement).fetchall()
    count, *total = found[0][: len(totals)] if found else (0,) * len(totals)
    return SpendReport(
        since_ns=since_ns,
        until_ns=until_ns,
        lines=[_spend(*row[len(totals) :]) for row in found],
        total=_spend("", *total),
        left_out=count - len(found),
    )


def _dimension(calls: Subquery, name: str) -> ColumnElement[str]:
    """What a report counts a call under: of the teams of its chain, the one that pays."""
    if name == "team":
        return case((calls.c.billed_team != "", calls.c.billed_team), else_=calls.c.team)
    if name == "server":
        provider = calls.c.provider
        return case((provider.startswith(SERVER), func.substr(provider, len(SERVER) + 1)), else_="")
    return calls.c[name]


def covered(since_ns: int, until_ns: int, recent_since_ns: int, *, sessions: bool) -> tuple[int, int]:
    """The shortest stretch around the one that is asked for whose sums are kept.

    It begins and ends on a quarter of an hour, or, where those are pruned already, on a day in UTC. What a session
    spent is kept for as long as the quarters are, and so begins with them.
    """
    if sessions:
        return max(_floor(since_ns, QUARTER_HOUR_NS), recent_since_ns), _ceil(until_ns, QUARTER_HOUR_NS)
    return (
        _floor(since_ns, DAY_NS if since_ns < recent_since_ns else QUARTER_HOUR_NS),
        _ceil(until_ns, DAY_NS if until_ns < recent_since_ns else QUARTER_HOUR_NS),
    )


def stretches(since_ns: int, until_ns: int, *, sessions: bool) -> Sequence[Stretch]:
    """Where the sums of this stretch stand: days for what is whole days, quarters of an hour for its ends."""
    first, last = _ceil(since_ns, DAY_NS), _floor(until_ns, DAY_NS)
    if sessions or first >= last:
        return [Stretch(schema.spend_recent, since_ns, until_ns)]
    parts = (
        Stretch(schema.spend_recent, since_ns, first),
        Stretch(schema.spend_daily, first, last),
        Stretch(schema.spend_recent, last, until_ns),
    )
    return [part for part in parts if part.start_ns < part.end_ns]


def _calls(parts: Sequence[Stretch], *, sessions: bool) -> Subquery:
    """Rows with every dimension and every sum, in these stretches."""
    rows = summed(parts, sessions=sessions)
    keys = schema.spend_keys
    if not sessions:
        return select(keys, rows).join(keys, keys.c.id == rows.c.key).subquery()
    # What a session was opened for is its own to say.
    opened = schema.sessions
    said = [func.coalesce(opened.c[name], "").label(name) for name in ("subject", "tenant", "task_type", "workflow")]
    task = func.coalesce(opened.c.task_type + ":" + opened.c.task, "").label("task")
    whole = select(keys, rows, *said, task).join(keys, keys.c.id == rows.c.key)
    return whole.outerjoin(opened, opened.c.id == rows.c.session).subquery()


def summed(parts: Sequence[Stretch], *, sessions: bool) -> Subquery:
    """The sums of these stretches by key, and by session too if those are asked for."""
    names = ("session", "key") if sessions else ("key",)
    rows = union_all(
        *(
            select(*(part.table.c[name] for name in (*names, *schema.SPEND_SUMS))).where(
                part.table.c.start_ns >= part.start_ns, part.table.c.start_ns < part.end_ns
            )
            for part in parts
        )
    ).subquery()
    # There are few keys and many rows of each: look each key up once.
    by = [rows.c[name] for name in names]
    return select(*by, *(func.sum(rows.c[name]).label(name) for name in schema.SPEND_SUMS)).group_by(*by).subquery()


def _spend(
    key: str, calls: int, refused: int, overruns: int, input_tokens: int, output_tokens: int, *posted: int
) -> Spend:
    charge_nanos, presumed_nanos, posted_calls, tool_calls, result_bytes = posted
    return Spend(
        key=key or None,
        calls=calls,
        refused=refused,
        overruns=overruns,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        charge_nanos=charge_nanos,
        presumed_nanos=presumed_nanos,
        posted_calls=posted_calls,
        posted_tool_calls=tool_calls,
        posted_result_bytes=result_bytes,
    )


def _floor(instant_ns: int, step_ns: int) -> int:
    return instant_ns // step_ns * step_ns


def _ceil(instant_ns: int, step_ns: int) -> int:
    return -(-instant_ns // step_ns) * step_ns
