"""What providers keep for us, in the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from sqlalchemy import BigInteger, Column, Index, Table, Text, select, text
from sqlalchemy.dialects.sqlite import insert as upsert

from comptroller.core.work.stored import RESPONSE, WORDS, Kind, StoredObject
from comptroller.store import schema
from comptroller.store.sql import Many, run

OBJECTS = Table(
    "objects",  # what providers keep for us, and whose it is
    schema.metadata,
    Column("id", Text, primary_key=True),  # the provider's
    Column("kind", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("identity", Text, nullable=False),  # '' for nobody's
    Column("session", Text, nullable=False),
    Column("root", Text, nullable=False),
    Column("tenant", Text, nullable=False),  # '' for none
    Column("call_id", Text, nullable=False),
    Column("created_at_ns", BigInteger, nullable=False),
    Column("tokens", BigInteger),  # NULL: nobody knows
    Column("deleted_at_ns", BigInteger),
    Column("api", Text, nullable=False, server_default=text("'openai'")),  # the family of APIs that it was made through
    Column("size_bytes", BigInteger),  # of a file
    Column("expires_at_ns", BigInteger),  # NULL: the provider has not said so
    Column("told", Text, nullable=False, server_default=text("''")),  # JSON: what the provider said of it, for lists
    Column("bounds", Text, nullable=False, server_default=text("''")),  # JSON: what a batch of this file can come to
    Column("items", Text, nullable=False, server_default=text("''")),  # ids of what a response came to, with spaces
    Index("objects_age", "created_at_ns", "id"),
    Index("objects_kind", "kind", "created_at_ns", "id"),
)


def _set() -> Many:
    statement = upsert(OBJECTS)
    changing = {column.name: statement.excluded[column.name] for column in OBJECTS.columns if column.name != "id"}
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
    wanted = select(OBJECTS).where(
        OBJECTS.c.kind == kind, OBJECTS.c.created_at_ns >= since_ns, OBJECTS.c.deleted_at_ns.is_(None)
    )
    youngest = wanted.order_by(OBJECTS.c.created_at_ns.desc(), OBJECTS.c.id.desc()).limit(most)
    return [StoredObject(*row) for row in run(connection, youngest)][::-1]
