"""Letting go of old records, a few at a time.

What was counted from them stays: balances, the sums that reports read, changes. From when on records are kept stands
in `meta`, and is moved before the first of them is deleted: whoever reads knows at once what to rely on, and a
pruning that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import get_args

from sqlalchemy import Column, ColumnElement, Table, delete, func, select, tuple_

from comptroller.control.interfaces import Prunable
from comptroller.flow.records import Change
from comptroller.store import schema, tables
from comptroller.store.folder import get_meta, raise_meta
from comptroller.store.sql import run

# What decides how old a record is. A session is as old as its credential: nothing can come of it after its expiry.
_AGE: Mapping[Prunable, tuple[Table, Column[int]]] = {
    "calls": (schema.calls, schema.calls.c.at_ns),
    "findings": (schema.findings, schema.findings.c.at_ns),
    "sessions": (schema.sessions, schema.sessions.c.expires_at_ns),
    "spend_recent": (schema.spend_recent, schema.spend_recent.c.start_ns),
}


def kept_since(connection: sqlite3.Connection) -> Mapping[Prunable, int]:
    """From when on records are kept; 0: from the beginning."""
    return {what: get_meta(connection, since_key(what)) for what in get_args(Prunable)}


def since_key(what: Prunable) -> str:
    """Where in `meta` it stands."""
    return f"{what}_since_ns"


def older(connection: sqlite3.Connection, what: Prunable, before_ns: int) -> int:
    """How many records there are from before this instant."""
    table, age = _AGE[what]
    statement = select(func.count()).select_from(table).where(*_old(what, age, before_ns))
    return int(run(connection, statement).fetchone()[0])


def keep_since(connection: sqlite3.Connection, what: Prunable, since_ns: int, change: Change) -> None:
    """Move the instant from which on records are kept; it never moves back."""
    raise_meta(connection, since_key(what), since_ns)
    tables.add_changes(connection, [change])
    raise_meta(connection, "last_ns", change.at_ns)


def prune(connection: sqlite3.Connection, what: Prunable, most: int) -> int:
    """Delete some of what is older than that; returns how many."""
    table, age = _AGE[what]
    key = tuple_(*table.primary_key)
    doomed = select(*table.primary_key).where(*_old(what, age, get_meta(connection, since_key(what))))
    return run(connection, delete(table).where(key.in_(doomed.order_by(age).limit(most)))).rowcount


def _old(what: Prunable, age: Column[int], before_ns: int) -> list[ColumnElement[bool]]:
    old: list[ColumnElement[bool]] = [age < before_ns]
    if what == "calls":
        old.append(schema.calls.c.id.not_in(select(schema.holds.c.call_id)))
    return old
