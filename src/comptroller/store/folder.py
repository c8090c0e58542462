"""Folding batches of the journal into the tables, a few hundred events at a time.

Each step is one transaction that reads batches, writes what they come to, deletes them and moves
`meta.folded_seq`: a step that is interrupted has never been.
"""

from __future__ import annotations

import sqlite3

import msgspec

from comptroller.flow.records import Event
from comptroller.store import tables
from comptroller.store.database import Database
from comptroller.store.fold import fold, touched

EVENTS_AT_ONCE = 200  # about two milliseconds, for which a commit may have to wait
_BATCHES_AT_ONCE = 200

_READ = "SELECT seq, body FROM journal WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
_DELETE = "DELETE FROM journal WHERE seq <= ?"
_GET_META = "SELECT value FROM meta WHERE key = ?"
_SET_META = "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_RAISE_META = (
    "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)"
)

_events = msgspec.msgpack.Decoder(list[Event])


class StoreDamagedError(Exception):
    """The journal holds something that no version of this program wrote."""


class Folder:
    """Knows how far the journal is folded."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.folded_seq = get_meta(database.connection, "folded_seq")

    def step(self, upto_seq: int) -> int:
        """Fold some batches, none after `upto_seq`. Returns how many events (an empty batch is one); 0: done.

        Raises FencedError, StoreDamagedError, or sqlite3.Error: then nothing has happened.
        """
        with self._database.transaction(loose=True) as connection:
            events, seq, folded = self._read(connection, upto_seq)
            if not folded:
                return 0
            outcome = fold(events, tables.load(connection, touched(events)))
            tables.save(connection, outcome)
            raise_meta(connection, "last_ns", outcome.last_ns)
            set_meta(connection, "folded_seq", seq)
            connection.execute(_DELETE, (seq,))
        self.folded_seq = seq
        return folded

    def all_of(self, upto_seq: int) -> None:
        """Fold every batch up to `upto_seq`."""
        while self.step(upto_seq):
            pass

    def _read(self, connection: sqlite3.Connection, upto_seq: int) -> tuple[list[Event], int, int]:
        events: list[Event] = []
        seq, folded = self.folded_seq, 0
        for row_seq, body in connection.execute(_READ, (self.folded_seq, upto_seq, _BATCHES_AT_ONCE)):
            try:
                batch = _events.decode(body)
            except msgspec.MsgspecError as error:
                raise StoreDamagedError(f"batch {row_seq} of the journal cannot be read: {error}") from error
            events += batch
            seq, folded = row_seq, folded + max(1, len(batch))
            if len(events) >= EVENTS_AT_ONCE:
                break
        return events, seq, folded


def get_meta(connection: sqlite3.Connection, key: str) -> int:
    """A number that the store keeps about itself; 0 if it was never set."""
    row = connection.execute(_GET_META, (key,)).fetchone()
    return 0 if row is None else int(row[0])


def set_meta(connection: sqlite3.Connection, key: str, value: int) -> None:
    connection.execute(_SET_META, (key, value))


def raise_meta(connection: sqlite3.Connection, key: str, value: int) -> None:
    """Set it, unless it is greater already."""
    connection.execute(_RAISE_META, (key, value))
