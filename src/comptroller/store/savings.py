"""What routing saved, read from the calls that are kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, case, func, or_, select, tuple_

from comptroller.control.savings_books import Above, AboveFilter, Saving, SavingsDimension
from comptroller.store import books, schema
from comptroller.store.rows import CallRow
from comptroller.store.sql import run

_CALLS, _SESSIONS = schema.calls, schema.sessions
_CHARGED = _CALLS.c.state.in_(("posted", "presumed"))


def savings(connection: sqlite3.Connection, by: SavingsDimension, since_ns: int, until_ns: int) -> Sequence[Saving]:
    """Routed calls, summed by `by`."""
    known = _CALLS.c.counterfactual_nanos.is_not(None)
    charge = func.coalesce(_CALLS.c.charge_nanos, 0)
    sums = (
        func.sum(case((known, 1), else_=0)),
        func.sum(case((known, charge), else_=0)),
        func.sum(func.coalesce(_CALLS.c.counterfactual_nanos, 0)),
        func.sum(case((known, 0), else_=1)),
        func.sum(case((known, 0), else_=charge)),
    )
    key = _key(by)
    routed = (_CALLS.c.routed_by.is_not(None), _CALLS.c.at_ns >= since_ns, _CALLS.c.at_ns < until_ns, _CHARGED)
    source = _CALLS
    if by == "task_type":
        source = _CALLS.outerjoin(_SESSIONS, _SESSIONS.c.id == _CALLS.c.session)
    most_first = (sums[2] - sums[1]).desc()
    statement = select(key, *sums).select_from(source).where(*routed).group_by(key).order_by(most_first, key)
    return [
        Saving(
            key=name or None,
            calls=calls,
            charge_nanos=charged,
            counterfactual_nanos=unrouted,
            unknown_calls=unknown,
            unknown_nanos=unknown_nanos,
        )
        for name, calls, charged, unrouted, unknown, unknown_nanos in run(connection, statement)
    ]


def _key(by: SavingsDimension) -> ColumnElement[str]:
    match by:
        case "task_type":
            return func.coalesce(_SESSIONS.c.task_type, "")
        case "identity":
            return _CALLS.c.identity
        case "team":
            return func.coalesce(_CALLS.c.billed_team, _CALLS.c.team)
        case "route":
            return _CALLS.c.routed_by
        case "model":
            return func.coalesce(_CALLS.c.asked_model, _CALLS.c.model, "")


def calls_above(connection: sqlite3.Connection, wanted: AboveFilter) -> Sequence[Above]:
    """Calls of one attempt whose charge is exact and nobody's correction, so that their usage says what they cost."""
    above = [
        and_(_SESSIONS.c.task_type == task_type, _CALLS.c.model_class.in_(tuple(some)))
        for task_type, some in wanted.classes.items()
        if some
    ]
    if not above:
        return []
    place = (_CALLS.c.at_ns, _CALLS.c.id)
    exact = (_CALLS.c.state == "posted", _CALLS.c.attempts == 1, _CALLS.c.corrected == 0)
    statement = (
        select(_SESSIONS.c.task_type, *_CALLS.columns)
        .select_from(_CALLS.join(_SESSIONS, _SESSIONS.c.id == _CALLS.c.session))
        .where(_CALLS.c.at_ns >= wanted.since_ns, _CALLS.c.at_ns < wanted.until_ns, *exact, or_(*above))
    )
    if wanted.before is not None:
        statement = statement.where(tuple_(*place) < wanted.before)
    newest = statement.order_by(*(column.desc() for column in place)).limit(wanted.limit)
    return [Above(task_type, books.record_of(CallRow(*row))) for task_type, *row in run(connection, newest)]
