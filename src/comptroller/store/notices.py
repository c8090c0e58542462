"""Notices in the store: what waits for its receiver, what could not be delivered, and what is told once.

A row is one notice for one receiver. It goes when it was delivered, and stays as a dead letter when it was given up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    Table,
    Text,
    bindparam,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from comptroller.control.notice_books import DeadLetter, Waiting
from comptroller.flow.records import Noticed, NoticeTried
from comptroller.store import schema
from comptroller.store.sql import Many, run

DEAD_MOST = 10_000  # dead letters; the oldest go

_TABLE = Table(
    "notices",  # one for one receiver, until it is delivered; a dead letter stays
    schema.metadata,
    Column("id", Text, primary_key=True),
    Column("receiver", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("since_ns", BigInteger, nullable=False),  # from when it counts for how long it is tried
    Column("tries", BigInteger, nullable=False),
    Column("next_at_ns", BigInteger, nullable=False),
    Column("error", Text, nullable=False),  # of the last try
    Column("failed_at_ns", BigInteger),  # NULL: it waits
    Index("notices_failed", "failed_at_ns", "id", "receiver", sqlite_where=text("failed_at_ns IS NOT NULL")),
    Index("notices_waiting", "failed_at_ns", "at_ns", "id"),
)

_TOLD = Table(
    "notices_told",  # what is told only once
    schema.metadata,
    Column("key", Text, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("until_ns", BigInteger),  # from then on nobody uses the key; NULL: always
)
_FAILED = _TABLE.c.failed_at_ns.is_not(None)
_WAITING = [_TABLE.c[name] for name in Waiting.__struct_fields__]
_DEAD = [_TABLE.c[name] for name in DeadLetter.__struct_fields__]
_THIS = (_TABLE.c.id == bindparam("notice"), _TABLE.c.receiver == bindparam("to"))

_NEW = Many(upsert(_TABLE).on_conflict_do_nothing())
_TELL = Many(upsert(_TOLD).on_conflict_do_nothing())
_DELIVERED = Many(delete(_TABLE).where(*_THIS))
_TRIED = Many(
    update(_TABLE)
    .where(*_THIS)
    .values({name: bindparam(name) for name in ("since_ns", "tries", "next_at_ns", "error", "failed_at_ns")})
)


def write(connection: sqlite3.Connection, events: Sequence[Noticed | NoticeTried]) -> None:
    """Write what is to be told, and what became of it, in order."""
    for event in events:
        if isinstance(event, Noticed):
            _tell(connection, event)
        elif event.state == "delivered":
            _DELIVERED.run_values(connection, [(event.id, event.receiver)])
        else:
            failed_at_ns = event.at_ns if event.state == "failed" else None
            standing = (event.since_ns, event.tries, event.next_at_ns, event.error, failed_at_ns)
            _TRIED.run_values(connection, [(*standing, event.id, event.receiver)])
    if any(isinstance(event, NoticeTried) and event.state == "failed" for event in events):
        _forget_dead(connection)


def _tell(connection: sqlite3.Connection, notice: Noticed) -> None:
    said = (notice.name, notice.subject, notice.at_ns, notice.body)
    fresh = (notice.at_ns, 0, notice.at_ns, "", None)
    _NEW.run_values(connection, [(notice.id, receiver, *said, *fresh) for receiver in notice.receivers])
    if notice.once:
        _TELL.run_values(connection, [(notice.once, notice.at_ns, notice.until_ns)])


def waiting(connection: sqlite3.Connection) -> Sequence[Waiting]:
    """What is not delivered and not given up, the oldest first."""
    wanted = select(*_WAITING).where(_TABLE.c.failed_at_ns.is_(None)).order_by(_TABLE.c.at_ns, _TABLE.c.id)
    return [Waiting(*row) for row in run(connection, wanted)]


def dead(connection: sqlite3.Connection, limit: int) -> Sequence[DeadLetter]:
    """What was given up, newest first."""
    newest = (_TABLE.c.failed_at_ns.desc(), _TABLE.c.id.desc(), _TABLE.c.receiver)
    return [DeadLetter(*row) for row in run(connection, select(*_DEAD).where(_FAILED).order_by(*newest).limit(limit))]


def count_dead(connection: sqlite3.Connection) -> Mapping[str, int]:
    """How many dead letters there are, by receiver."""
    counted = select(_TABLE.c.receiver, func.count()).where(_FAILED).group_by(_TABLE.c.receiver)
    return {str(receiver): int(number) for receiver, number in run(connection, counted)}


def told(connection: sqlite3.Connection, now_ns: int, most: int) -> Sequence[str]:
    """The keys under which something was told that may not be told again, the newest of them."""
    lasting = _TOLD.c.until_ns.is_(None) | (_TOLD.c.until_ns > now_ns)
    newest = select(_TOLD.c.key).where(lasting).order_by(_TOLD.c.at_ns.desc()).limit(most)
    return [str(key) for (key,) in run(connection, newest)]


def forget_told(connection: sqlite3.Connection, now_ns: int) -> None:
    """Let go of keys that nobody can use again."""
    run(connection, delete(_TOLD).where(_TOLD.c.until_ns <= now_ns))


def _forget_dead(connection: sqlite3.Connection) -> None:
    newest = select(_TABLE.c.failed_at_ns).where(_FAILED).order_by(_TABLE.c.failed_at_ns.desc())
    oldest_kept = run(connection, newest.limit(1).offset(DEAD_MOST)).fetchone()
    if oldest_kept is not None:
        run(connection, delete(_TABLE).where(_FAILED, _TABLE.c.failed_at_ns <= oldest_kept[0]))
