"""The tools that model requests offer, by the digest of their definitions: said once for all calls that offer them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text, select
from sqlalchemy.dialects.sqlite import insert as upsert

from comptroller.flow.records import ToolsOffered
from comptroller.store import schema
from comptroller.store.rows import pack_names, unpack_names
from comptroller.store.sql import Many, run

TOOL_SETS = Table(
    "tool_sets",
    schema.metadata,
    Column("digest", Text, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),  # when they were last said to be offered: it is said once a day
    Column("names", Text, nullable=False),  # JSON list: the first of them
    Column("count", Integer, nullable=False),  # of all
    Index("tool_sets_at", "at_ns", "digest"),
)


def _set() -> Many:
    statement = upsert(TOOL_SETS)
    changing = {name: statement.excluded[name] for name in ("at_ns", "names", "count")}
    return Many(statement.on_conflict_do_update(index_elements=["digest"], set_=changing))


_SET = _set()


def write(connection: sqlite3.Connection, sets: Iterable[ToolsOffered]) -> None:
    """Write each as it was said last."""
    _SET.run_values(connection, [(each.digest, each.at_ns, pack_names(each.names), each.count) for each in sets])


def find(connection: sqlite3.Connection, digest: str) -> ToolsOffered | None:
    """The tools behind a digest; None: nobody knows them any more."""
    row = run(connection, select(TOOL_SETS).where(TOOL_SETS.c.digest == digest)).fetchone()
    return None if row is None else ToolsOffered(row[1], row[0], unpack_names(row[2]), row[3])
