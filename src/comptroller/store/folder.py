"""Folding batches of the journal into the tables, a few hundred events at a time.

Each step is one transaction that reads batches, writes what they come to, deletes them and moves
`meta.folded_seq`: a step that is interrupted has never been.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Generator, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec

from comptroller.flow.records import Event
from comptroller.store import tables
from comptroller.store.database import Database
from comptroller.store.fold import fold, touched

EVENTS_AT_ONCE = 200  # a few milliseconds, for which a commit may have to wait
_REMEMBERED_MOST = 20_000  # events; more wait only if folding fails

_READ = "SELECT seq, body FROM journal WHERE seq > ? AND seq <= ? ORDER BY seq"
_DELETE = "DELETE FROM journal WHERE seq <= ?"
_GET_META = "SELECT value FROM meta WHERE key = ?"
_SET_META = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_RAISE_META = (
    "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)"
)

_events = msgspec.msgpack.Decoder(list[Event])


class StoreDamagedError(Exception):
    """The journal holds something that no version of this program wrote."""


class Batch(NamedTuple):
    """One row of the journal, read."""

    seq: int
    events: Sequence[Event]


class Folder:
    """Knows how far the journal is folded, and the batches that were written since, so as not to read them again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recent: deque[Batch] = deque()
        self._recent_events = 0
        self.folded_seq = get_meta(database.connection, "folded_seq")

    def remember(self, seq: int, events: Sequence[Event]) -> None:
        """Keep a batch that was just written. What does not fit, or leaves a gap, will be read from disk."""
        last = self._recent[-1].seq if self._recent else self.folded_seq
        if seq == last + 1 and self._recent_events < _REMEMBERED_MOST:
            self._recent.append(Batch(seq, events))
            self._recent_events += len(events)

    def step(self, upto_seq: int, events: int = EVENTS_AT_ONCE) -> int:
        """Fold batches until `events` are reached, none after `upto_seq`.

        Returns how many events that were (an empty batch is one); 0: there is nothing left to fold.

        Raises FencedError, StoreDamagedError, or sqlite3.Error: then nothing has happened.
        """
        if self.folded_seq >= upto_seq:
            return 0
        with self._database.transaction(loose=True) as connection:
            batches = self._next(connection, upto_seq, events)
            run = list(chain.from_iterable(batch.events for batch in batches))
            outcome = fold(run, tables.load(connection, touched(run)))
            tables.save(connection, outcome)
            raise_meta(connection, "last_ns", outcome.last_ns)
            set_meta(connection, "folded_seq", batches[-1].seq)
            connection.execute(_DELETE, (batches[-1].seq,))
        self._forget(batches[-1].seq)
        return sum(max(1, len(batch.events)) for batch in batches)

    def all_of(self, upto_seq: int) -> None:
        """Fold every batch up to `upto_seq`."""
        while self.step(upto_seq):
            pass

    def _next(self, connection: sqlite3.Connection, upto_seq: int, events: int) -> Sequence[Batch]:
        """At least one batch, and about as many events as wanted."""
        source = iter(self._recent) if self._recent else self._read(connection, upto_seq)
        batches: list[Batch] = []
        size = 0
        for batch in source:
            batches.append(batch)
            size += max(1, len(batch.events))
            if size >= events:
                break
        if not batches:
            raise StoreDamagedError(f"batch {self.folded_seq + 1} of the journal is gone")
        return batches

    def _read(self, connection: sqlite3.Connection, upto_seq: int) -> Generator[Batch]:
        for seq, body in connection.execute(_READ, (self.folded_seq, upto_seq)):
            try:
                yield Batch(seq, _events.decode(body))
            except msgspec.MsgspecError as error:
                raise StoreDamagedError(f"batch {seq} of the journal cannot be read: {error}") from error

    def _forget(self, seq: int) -> None:
        self.folded_seq = seq
        while self._recent and self._recent[0].seq <= seq:
            self._recent_events -= len(self._recent.popleft().events)


def get_meta(connection: sqlite3.Connection, key: str) -> int:
    """A number that the store keeps about itself; 0 if it was never set."""
    row = connection.execute(_GET_META, (key,)).fetchone()
    return 0 if row is None else int(row[0])


def set_meta(connection: sqlite3.Connection, key: str, value: int) -> None:
    connection.execute(_SET_META, (key, value))


def raise_meta(connection: sqlite3.Connection, key: str, value: int) -> None:
    """Set it, unless it is greater already."""
    connection.execute(_RAISE_META, (key, value))
