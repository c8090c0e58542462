"""The writer's connection to the store: what it promises, and the one way to write through it.

Every write is done only if `meta.epoch` is still the one that this process opened the store with. A
process that lost its lock without noticing (a copied state folder, a network file system that lies about
locks) is fenced off by the next opener and can write nothing any more.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

Durability = Literal["power", "process"]

_SYNCHRONOUS = {"power": "FULL", "process": "NORMAL"}
_LEVELS = {"FULL": 2, "NORMAL": 1}

# A store locked by another program for longer than this is a store that cannot be written: say so, and do not hang.
BUSY_TIMEOUT_MS = 2000

# The log is copied into the database after folds (see `loosely`), not in the middle of a commit that a call waits for.
# Only a store that cannot fold gets there: then the log must not grow without end.
_CHECKPOINT_PAGES = 1000
_CHECKPOINT_PAGES_AT_MOST = 20_000

_OURS = "(SELECT value FROM meta WHERE key = 'epoch') = ?"
_WRITE = f"INSERT INTO journal (seq, at_ns, epoch, body) SELECT ?, ?, ?, ? WHERE {_OURS}"  # noqa: S608 - constants
_WRITE_OVER = _WRITE.replace("INSERT INTO", "INSERT OR REPLACE INTO", 1)


class FencedError(Exception):
    """Another process has opened this store since: nothing may be written any more."""


class Database:
    """The one connection that writes. It is used by one thread at a time."""

    def __init__(self, path: Path, durability: Durability) -> None:
        self.path = path
        self.epoch = 0  # until `open.py` has taken the next one
        self._synchronous = _SYNCHRONOUS[durability]
        _create_private(path)
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._configure()
        except sqlite3.Error:
            self.connection.close()
            raise

    def close(self) -> None:
        self.connection.close()

    def pragmas(self) -> dict[str, str | int]:
        """What SQLite says about how this connection writes."""
        names = ("journal_mode", "synchronous", "busy_timeout", "wal_autocheckpoint")
        return {name: self.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

    def write_batch(self, seq: int, at_ns: int, body: bytes, *, over: bool = False) -> None:
        """Write one batch; it is durable when this returns. `over`: replace what may be left of a failed try.

        Raises sqlite3.Error if it may not be on disk, FencedError if it is not and never will be.
        """
        # One statement is one transaction: no BEGIN and COMMIT to pay for.
        statement = _WRITE_OVER if over else _WRITE
        try:
            written = self.connection.execute(statement, (seq, at_ns, self.epoch, body, self.epoch)).rowcount
        except sqlite3.Error:
            self._roll_back()
            raise
        if written != 1:
            raise FencedError(_FENCED)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One durable step: all of it or nothing. Raises FencedError, or sqlite3.Error if it may not be on disk."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            self._check_epoch()
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    @contextmanager
    def loosely(self) -> Iterator[None]:
        """Around transactions that may be lost in a power cut, because they would just be done again (folds).

        They are never torn, and the next durable write takes them to disk with it: the log is one file, synced
        as a whole and valid up to its first gap. Here also is the moment to copy the log into the database.
        """
        self._set_pragma("synchronous", "NORMAL")
        self._set_pragma("wal_autocheckpoint", _CHECKPOINT_PAGES)
        try:
            yield
        finally:
            self._set_pragma("wal_autocheckpoint", _CHECKPOINT_PAGES_AT_MOST)
            self._set_pragma("synchronous", self._synchronous)
            self._check_synchronous()

    def _configure(self) -> None:
        self._set_pragma("busy_timeout", BUSY_TIMEOUT_MS)
        mode = self.connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise sqlite3.OperationalError(f"{self.path} cannot use a write-ahead log (it says {mode!r})")
        self._set_pragma("synchronous", self._synchronous)
        self._set_pragma("wal_autocheckpoint", _CHECKPOINT_PAGES_AT_MOST)
        self._check_synchronous()

    def _set_pragma(self, name: str, value: str | int) -> None:
        self.connection.execute(f"PRAGMA {name} = {value}")

    def _check_synchronous(self) -> None:
        """SQLite ignores a pragma that it does not like; the promise to callers rests on this one."""
        level = self.connection.execute("PRAGMA synchronous").fetchone()[0]
        if level != _LEVELS[self._synchronous]:
            raise sqlite3.OperationalError(f"synchronous is {level}, not {self._synchronous}")

    def _check_epoch(self) -> None:
        row = self.connection.execute(f"SELECT 1 WHERE {_OURS}", (self.epoch,)).fetchone()  # noqa: S608 - constants
        if row is None:
            raise FencedError(_FENCED)

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")


_FENCED = "another process has opened this store since; this one may not write to it any more"


def _create_private(path: Path) -> None:
    """Make the file before SQLite does, so that nobody else can read it for a moment; its log inherits the mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
