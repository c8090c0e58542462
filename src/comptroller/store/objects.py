"""What providers keep for us, in the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert as upsert

from comptroller.core.work.stored import RESPONSE, WORDS, Kind, StoredObject
from comptroller.store import schema
from comptroller.store.sql import Many, run

_TABLE = schema.objects


def _set() -> Many:
    statement = upsert(_TABLE)
    changing = {column.name: statement.excluded[column.name] for column in _TABLE.columns if column.name != "id"}
    return Many(statement.on_conflict_do_update(index_elements=["id"], set_=changing))


_SET = _set()


def write(connection: sqlite3.Connection, objects: Iterable[StoredObject]) -> None:
    """Write each as it is known now."""
    _SET.run(connection, objects)


def live(connection: sqlite3.Connection, since_ns: int, most: int) -> Sequence[StoredObject]:
    """The youngest of those that are not deleted, the oldest of them first.

    Of responses those that were made since then; `most` of them, and as many of everything else.
    """
    others = (each for kind in WORDS if kind != RESPONSE for each in _youngest(connection, most, kind, 0))
    lasting = sorted(others, key=lambda each: (each.created_at_ns, each.id))
    return [*_youngest(connection, most, RESPONSE, since_ns), *lasting[-most:]]


def _youngest(connection: sqlite3.Connection, most: int, kind: Kind, since_ns: int) -> Sequence[StoredObject]:
    """Of one kind, so that an index has just these in their order: there may be a response for every call."""
    wanted = select(_TABLE).where(
        _TABLE.c.kind == kind, _TABLE.c.created_at_ns >= since_ns, _TABLE.c.deleted_at_ns.is_(None)
    )
    youngest = wanted.order_by(_TABLE.c.created_at_ns.desc(), _TABLE.c.id.desc()).limit(most)
    return [StoredObject(*row) for row in run(connection, youngest)][::-1]
