"""Stops in the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from comptroller.core.work.stop import Stop
from comptroller.flow.records import Change
from comptroller.store import schema, tables
from comptroller.store.folder import raise_meta
from comptroller.store.sql import run

_TABLE = schema.stops


def write_stop(connection: sqlite3.Connection, stop: Stop, change: Change) -> None:
    """Write a stop and its event. One that is written already stays as it is, and nothing is added."""
    if _insert(connection, stop):
        _record(connection, [change])


def lift_stop(connection: sqlite3.Connection, lifted: Stop, made: Change, change: Change) -> None:
    """Write who lifted a stop, and the event; with the stop and its own event, if they never were written."""
    if _insert(connection, lifted):
        _record(connection, [made, change])
        return
    ending = update(_TABLE).where(_TABLE.c.id == lifted.id, _TABLE.c.lifted_at_ns.is_(None))
    if run(connection, ending.values(_lifting(lifted))).rowcount:
        _record(connection, [change])


def carry(connection: sqlite3.Connection, stops: Iterable[Stop], changes: Iterable[Change]) -> None:
    """Write stops of another store, each with its event, unless the same is stopped here."""
    _record(connection, [change for stop, change in zip(stops, changes, strict=True) if _insert(connection, stop)])


def list_stops(connection: sqlite3.Connection, limit: int) -> Sequence[Stop]:
    """Newest first."""
    wanted = select(_TABLE).order_by(_TABLE.c.at_ns.desc(), _TABLE.c.id.desc()).limit(limit)
    return [Stop(*row) for row in run(connection, wanted)]


def stops_in_force(connection: sqlite3.Connection) -> Sequence[Stop]:
    """The oldest first."""
    wanted = select(_TABLE).where(_TABLE.c.lifted_at_ns.is_(None)).order_by(_TABLE.c.at_ns, _TABLE.c.id)
    return [Stop(*row) for row in run(connection, wanted)]


def _insert(connection: sqlite3.Connection, stop: Stop) -> bool:
    row = {name: getattr(stop, name) for name in stop.__struct_fields__}
    return run(connection, upsert(_TABLE).values(row).on_conflict_do_nothing()).rowcount > 0


def _lifting(stop: Stop) -> dict[str, str | int | None]:
    return {
        "lifted_at_ns": stop.lifted_at_ns,
        "lifted_by": stop.lifted_by,
        "lifted_reason": stop.lifted_reason,
    }


def _record(connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
    tables.add_changes(connection, changes)
    for change in changes:
        raise_meta(connection, "last_ns", change.at_ns)
