"""The writer's connection to the store: what it promises, and the one way to write through it.

Every write is done only if `meta.epoch` is still the one that this process opened the store with. A
process that lost its lock without noticing (a copied state folder, a network file system that lies about
locks) is fenced off by the next opener and can write nothing any more.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

Durability = Literal["power", "process"]

# A store locked by another program for longer than this is a store that cannot be written: say so, and do not hang.
BUSY_TIMEOUT_MS = 2000

_CACHE_KIB = 16_384  # the ends of all indexes, where new calls go


class _Pace(NamedTuple):
    synchronous: int  # 1: NORMAL, 2: FULL
    checkpoint_pages: int  # length of the log from which a commit copies it into the database


# A commit that a call waits for leaves the log to the next fold; only where folds fail must it stop growing itself.
_STRICT = {"power": _Pace(2, 20_000), "process": _Pace(1, 20_000)}
_LOOSE = _Pace(1, 1_000)

_NEXT_EPOCH = (
    "INSERT INTO meta (key, value) VALUES ('epoch', 1) "
    "ON CONFLICT (key) DO UPDATE SET value = value + 1 RETURNING value"
)
_OURS = "(SELECT value FROM meta WHERE key = 'epoch') = ?"
_WRITE = f"INSERT INTO journal (seq, at_ns, epoch, body) SELECT ?, ?, ?, ? WHERE {_OURS}"
_WRITE_OVER = _WRITE.replace("INSERT INTO", "INSERT OR REPLACE INTO", 1)


class FencedError(Exception):
    """Another process has opened this store since: nothing may be written any more."""


def is_unavailable(error: Exception) -> bool:
    """Whether it is the store that failed: fenced, full, locked, broken. The rest are faults of the caller."""
    faults = sqlite3.IntegrityError | sqlite3.ProgrammingError
    return isinstance(error, FencedError) or (isinstance(error, sqlite3.Error) and not isinstance(error, faults))


class Database:
    """The one connection that writes. It is used by one thread at a time."""

    def __init__(self, path: Path, durability: Durability) -> None:
        self.path = path
        self.epoch = 0  # until `take_epoch`
        self._strict = _STRICT[durability]
        self._pace: _Pace | None = None
        _create_private(path)
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._configure()
        except sqlite3.Error:
            self.connection.close()
            raise

    def close(self) -> None:
        self.connection.close()

    def take_epoch(self) -> int:
        """Make this process the owner: whoever wrote before is fenced off from here on. Returns the epoch."""
        self._prepare(self._strict)
        rows = self.connection.execute(_NEXT_EPOCH).fetchall()  # to the end: only then is it committed
        self.epoch = int(rows[0][0])
        return self.epoch

    def pragmas(self) -> dict[str, str | int]:
        """What SQLite says about how this connection writes: within a durable transaction, if asked there."""
        names = ("journal_mode", "synchronous", "busy_timeout", "wal_autocheckpoint")
        return {name: self.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}

    def write_batch(self, seq: int, at_ns: int, body: bytes, *, over: bool = False) -> None:
        """Write one batch; it is durable when this returns. `over`: replace what may be left of a failed try.

        Raises sqlite3.Error if it may not be on disk, FencedError if it is not and never will be.
        """
        self._prepare(self._strict)
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
    def transaction(self, *, loose: bool = False) -> Generator[sqlite3.Connection]:
        """One step: all of it or nothing, and durable at the end.

        `loose` is for steps that are just done again if a power cut takes them (folds): they are not synced by
        themselves. They are never torn, and the next durable write takes them along: the log is one file,
        synced as a whole and valid up to its first gap. Theirs is also the moment to copy the log into the database.

        Raises FencedError, or sqlite3.Error if the step may not be on disk.
        """
        self._prepare(_LOOSE if loose else self._strict)
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            self._check_epoch()
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _configure(self) -> None:
        self.connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        self.connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        mode = self.connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise sqlite3.OperationalError(f"{self.path} cannot use a write-ahead log (it says {mode!r})")
        self._prepare(self._strict)

    def _prepare(self, pace: _Pace) -> None:
        """Make sure that no failed transaction is still open, and that writing is as durable as this pace says."""
        self._roll_back()
        if self._pace == pace:
            return
        self._pace = None
        self.connection.execute(f"PRAGMA wal_autocheckpoint = {pace.checkpoint_pages}")
        self.connection.execute(f"PRAGMA synchronous = {pace.synchronous}")
        level = self.connection.execute("PRAGMA synchronous").fetchone()[0]
        if level != pace.synchronous:  # SQLite says nothing when it ignores a pragma
            raise sqlite3.OperationalError(f"synchronous is {level}, not {pace.synchronous}")
        self._pace = pace

    def _check_epoch(self) -> None:
        row = self.connection.execute(f"SELECT 1 WHERE {_OURS}", (self.epoch,)).fetchone()
        if row is None:
            raise FencedError(_FENCED)

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")


_FENCED = "another process has opened this store since; this one may not write to it any more"


def _create_private(path: Path) -> None:
    """Make the file before SQLite does, so that nobody else can read it for a moment; its log inherits the mode."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
