"""Letting go of old records, a few at a time.

What was counted from them stays: balances, the sums that reports read, changes. From when on records are kept stands
in `meta`, and is moved before the first of them is deleted: whoever reads knows at once what to rely on, and a
pruning that was interrupted goes on where it stopped.

A step looks at the next few old records in the order of their age, and deletes those of them that nothing holds
back. So it costs the same however many are old, and however many of those have to stay.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import NamedTuple, get_args

from sqlalchemy import (
    Column,
    ColumnElement,
    Delete,
    Table,
    TextClause,
    delete,
    false,
    literal_column,
    or_,
    select,
    true,
    tuple_,
)

from comptroller.control.interfaces import Place, Prunable
from comptroller.core.budget.meter import LEDGER_KEY
from comptroller.core.work.stored import RESPONSE
from comptroller.flow.records import Change
from comptroller.store import schema, tables
from comptroller.store.folder import get_meta, raise_meta
from comptroller.store.objects import OBJECTS
from comptroller.store.sql import run, text_of
from comptroller.store.tickets import GRANTS, TICKETS
from comptroller.store.tool_sets import TOOL_SETS

_CALLS = schema.calls
_DELETED = OBJECTS.c.deleted_at_ns.is_not(None)
_LEDGER_ROW = delete(schema.balances).where(
    literal_column("budget") == literal_column(f"'{LEDGER_KEY}'"), schema.balances.c.instance == ""
)
_STILL_OPEN = _CALLS.c.id.in_(select(schema.holds.c.call_id))  # another attempt: its end counts with the first one's


class Step(NamedTuple):
    """One step, and the place that it came to; None: to the end."""

    deleted: int
    place: Place | None


class _Kind(NamedTuple):
    table: Table
    age: Column[int]
    only: ColumnElement[bool] | TextClause = true()
    stays: ColumnElement[bool] = false()  # what is not deleted, however old it is
    with_it: Delete | None = None  # what goes with a row, by the values of its key


_KINDS: Mapping[Prunable, _Kind] = {
    "calls": _Kind(_CALLS, _CALLS.c.at_ns, stays=or_(_CALLS.c.state == "presumed", _STILL_OPEN)),
    "presumed": _Kind(_CALLS, _CALLS.c.at_ns, only=schema.PRESUMED, stays=_STILL_OPEN),
    "findings": _Kind(schema.findings, schema.findings.c.at_ns),
    # Nothing can come of a session after its expiry, and nobody asks what it had spent.
    "sessions": _Kind(schema.sessions, schema.sessions.c.expires_at_ns, with_it=_LEDGER_ROW),
    # A response is nobody's once its provider has let go of it; a file lasts until it is deleted.
    "objects": _Kind(OBJECTS, OBJECTS.c.created_at_ns, only=or_(OBJECTS.c.kind == RESPONSE, _DELETED)),
    "tickets": _Kind(TICKETS, TICKETS.c.at_ns, stays=TICKETS.c.open == 1),
    "grants": _Kind(GRANTS, GRANTS.c.given_at_ns, stays=GRANTS.c.over == 0, with_it=_LEDGER_ROW),
    "tool_sets": _Kind(TOOL_SETS, TOOL_SETS.c.at_ns),
    "spend_recent": _Kind(schema.spend_recent, schema.spend_recent.c.start_ns),
}


def kept_since(connection: sqlite3.Connection) -> Mapping[Prunable, int]:
    """From when on records are kept; 0: from the beginning."""
    return {what: get_meta(connection, since_key(what)) for what in get_args(Prunable)}


def since_key(what: Prunable) -> str:
    """Where in `meta` it stands."""
    return f"{what}_since_ns"


def has_older(connection: sqlite3.Connection, what: Prunable, before_ns: int) -> bool:
    """Whether there is any from before this instant. They are not counted: there can be millions."""
    kind = _KINDS[what]
    return run(connection, select(kind.age).where(kind.only, kind.age < before_ns).limit(1)).fetchone() is not None


def keep_since(connection: sqlite3.Connection, what: Prunable, since_ns: int, change: Change) -> None:
    """Move the instant from which on records are kept; it never moves back."""
    raise_meta(connection, since_key(what), since_ns)
    tables.add_changes(connection, [change])
    raise_meta(connection, "last_ns", change.at_ns)


def prune(connection: sqlite3.Connection, what: Prunable, after: Place | None, most: int) -> Step:
    """Look at the next few that are older than what is kept, and delete what need not stay."""
    kind = _KINDS[what]
    key = tuple(kind.table.primary_key)
    place = (kind.age, *(column for column in key if column is not kind.age))
    looked = select(kind.stays, *place).where(kind.only, kind.age < get_meta(connection, since_key(what)))
    if after is not None:
        looked = looked.where(tuple_(*place) > after)
    rows = run(connection, looked.order_by(*place).limit(most)).fetchall()
    names = [column.name for column in place]
    doomed = [[row[1 + names.index(column.name)] for column in key] for row in rows if not row[0]]
    connection.executemany(_deletion(kind.table), doomed)
    if kind.with_it is not None:
        connection.executemany(text_of(kind.with_it), doomed)
    return Step(len(doomed), tuple(rows[-1][1:]) if len(rows) == most else None)


def _deletion(table: Table) -> str:
    """The statement that deletes one row, for the values of its key."""
    return text_of(delete(table).where(*(column == "" for column in table.primary_key)))
