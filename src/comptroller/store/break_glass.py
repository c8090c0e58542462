"""Grants of break-glass in the store: a row has the fields of a grant in their order, and is never deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from comptroller.core.policy.break_glass import BreakGlass
from comptroller.flow.records import Change
from comptroller.store import schema, tables
from comptroller.store.folder import raise_meta
from comptroller.store.sql import run

_TABLE = schema.break_glass
_FIELDS = BreakGlass.__struct_fields__


def write_grant(connection: sqlite3.Connection, grant: BreakGlass, change: Change) -> None:
    """Write a grant as it stands now, and the event."""
    row = {name: getattr(grant, name) for name in _FIELDS}
    run(connection, upsert(_TABLE).values(row).on_conflict_do_update(index_elements=["id"], set_=row))
    tables.add_changes(connection, [change])
    raise_meta(connection, "last_ns", change.at_ns)


def grant_of(connection: sqlite3.Connection, grant_id: str) -> BreakGlass | None:
    row = run(connection, select(_TABLE).where(_TABLE.c.id == grant_id)).fetchone()
    return None if row is None else BreakGlass(*row)


def confirmed(connection: sqlite3.Connection) -> Sequence[BreakGlass]:
    """Those that were confirmed and that nothing on record ended, the oldest first."""
    wanted = select(_TABLE).where(_TABLE.c.confirmed_at_ns.is_not(None), _TABLE.c.ended_at_ns.is_(None))
    return [BreakGlass(*row) for row in run(connection, wanted.order_by(_TABLE.c.id))]


def list_grants(connection: sqlite3.Connection, limit: int) -> Sequence[BreakGlass]:
    """Newest first."""
    wanted = select(_TABLE).order_by(_TABLE.c.id.desc()).limit(limit)  # an id begins with its instant
    return [BreakGlass(*row) for row in run(connection, wanted)]


def end_all(connection: sqlite3.Connection, at_ns: int, by: str) -> None:
    """End whatever was asked for or is in force."""
    open_ones = update(_TABLE).where(_TABLE.c.ended_at_ns.is_(None))
    run(connection, open_ones.values(ended_at_ns=at_ns, ended_by=by))
