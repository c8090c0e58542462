"""The one thread that writes: group commit of queued events, jobs between them, folds when there is time.

    queue:  events events events JOB events events ...
            `-- one row, one sync --'

Whatever is queued when the thread looks is written as one row. If that fails, the events that somebody
waits for are given up and their callers told; those that must not be lost stay at the head, in order, and
nothing overtakes them. After a failure there is always another try, even with nothing left to write: it
replaces what the failed one may have left on disk, and shows when the store works again.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Event
from comptroller.store.database import Database, FencedError, is_unavailable
from comptroller.store.folder import EVENTS_AT_ONCE, Folder, StoreDamagedError

BATCH_MOST = 1000  # events in one row; a longer queue is several rows
FOLD_AFTER_S = 1.0  # so that most calls are folded once, hold and settlement together
FOLD_AT_ONCE_OVER = 2000  # unfolded events: fold even if more are coming
BACK_OFF_FIRST_S = 0.05
BACK_OFF_MOST_S = 1.0


class Entry(msgspec.Struct, eq=False, gc=False):
    """One encoded event."""

    event: Event
    body: bytes
    at_ns: int
    kind: Literal["commit", "append", "offer"]
    future: asyncio.Future[None] | None = None


@dataclass(slots=True, eq=False)
class Job:
    """Something to do in a transaction of the writer's connection, when all that was queued before it is folded."""

    run: Callable[[sqlite3.Connection], Any] | None
    future: asyncio.Future[Any]
    loose: bool = False  # not synced by itself; its result comes with the nanoseconds that it took


@dataclass(slots=True)
class Stop:
    """The last thing in the queue. What is not written by `deadline` (monotonic seconds) is given up."""

    deadline: float


Queue = queue.SimpleQueue[list[Entry] | Job | Stop]
"""Events come in the lists that one turn of the loop has gathered."""


@dataclass(frozen=True)
class Answers:
    """How the writer tells the loop; each is called on the writer's thread."""

    written: Callable[[list[Entry]], None]
    given_up: Callable[[list[Entry], str], None]
    job_done: Callable[[Job, Any], None]
    job_failed: Callable[[Job, Exception], None]
    wrote: Callable[[int, int], None]  # nanoseconds, events


def ignore(nanoseconds: int, events: int) -> None:
    """Nobody counts."""


class Writer:
    """What the thread does. `work` returns after a `Stop`; the other attributes may be read by any thread."""

    def __init__(self, database: Database, folder: Folder, incoming: Queue, answers: Answers) -> None:
        self.trouble: str | None = None  # why nothing can be written now
        self.fold_trouble: str | None = None
        self.fenced = False
        self._database = database
        self._folder = folder
        self._incoming = incoming
        self._answers = answers
        self._seq = folder.folded_seq
        self._pending: list[Entry] = []
        self._job: Job | None = None
        self._stop: Stop | None = None
        self._in_doubt = False  # a failed try may have left its row on disk
        self._back_off_s = 0.0
        self._retry_at = 0.0
        self._unfolded = 0
        self._fold_at = 0.0

    def work(self) -> None:
        """Write until told to stop."""
        while self._stop is None or self._goes_on(self._stop):
            self._collect()
            self._write_all()
            if self._job is not None:
                job, self._job = self._job, None
                self._do(job)
            self._fold_if_due()
        self._fold_at_the_end()

    @property
    def unfolded(self) -> int:
        return self._unfolded

    def unwritten(self) -> list[Entry]:
        """What was given up at the end."""
        return self._pending

    def _goes_on(self, stop: Stop) -> bool:
        return (bool(self._pending) or self._in_doubt) and not self.fenced and time.monotonic() < stop.deadline

    def _collect(self) -> None:
        """Wait for work, then take all of it up to the next job."""
        taken = 0
        try:
            item = self._incoming.get(timeout=self._patience_s())
            while isinstance(item, list):
                self._pending += item
                taken += len(item)
                if taken >= BATCH_MOST:
                    return
                item = self._incoming.get_nowait()
        except queue.Empty:
            return
        if isinstance(item, Job):
            self._job = item
        else:
            self._stop = item

    def _patience_s(self) -> float | None:
        """How long to wait for work: until the next try or the next fold, whichever is first."""
        waits: list[float] = []
        now = time.monotonic()
        if (self._pending or self._in_doubt) and not self.fenced:
            waits.append(self._retry_at - now)
        if self._unfolded and self.trouble is None:
            waits.append(self._fold_at - now)
        return max(0.0, min(waits)) if waits else None

    def _write_all(self) -> None:
        while self._pending or self._in_doubt:
            if self.fenced or time.monotonic() < self._retry_at or not self._write(self._pending[:BATCH_MOST]):
                self._give_up()
                return

    def _write(self, batch: list[Entry]) -> bool:
        at_ns = max((entry.at_ns for entry in batch), default=0)
        body = _array_head(len(batch)) + b"".join([entry.body for entry in batch])
        began_ns = time.monotonic_ns()
        try:
            self._database.write_batch(self._seq + 1, at_ns, body, over=self._in_doubt)
        except sqlite3.IntegrityError as error:
            # A row with our number that is not ours: somebody else writes here, whatever the epoch says.
            self._failed(FencedError(str(error)))
            return False
        except (sqlite3.Error, FencedError) as error:
            self._failed(error)
            return False
        self._answers.wrote(time.monotonic_ns() - began_ns, len(batch))
        self._seq += 1
        del self._pending[: len(batch)]
        self._folder.remember(self._seq, [entry.event for entry in batch])
        self._works()
        if not self._unfolded:
            self._fold_at = time.monotonic() + FOLD_AFTER_S
        self._unfolded += max(1, len(batch))
        self._answers.written(batch)
        return True

    def _works(self) -> None:
        self.trouble = None
        self._in_doubt = False
        self._back_off_s = self._retry_at = 0.0

    def _failed(self, error: Exception) -> None:
        self.trouble = str(error)
        self.fenced = isinstance(error, FencedError)
        self._in_doubt = not self.fenced
        self._back_off_s = min(max(BACK_OFF_FIRST_S, 2 * self._back_off_s), BACK_OFF_MOST_S)
        self._retry_at = time.monotonic() + self._back_off_s

    def _give_up(self) -> None:
        """Tell those who wait, and keep what must not be lost."""
        lost = [entry for entry in self._pending if entry.kind != "append"]
        self._pending = [entry for entry in self._pending if entry.kind == "append"]
        if lost:
            self._answers.given_up(lost, self.trouble or "")

    def _do(self, job: Job) -> None:
        try:
            if self.trouble is not None:
                raise LedgerUnavailableError(self.trouble)
            while self._unfolded:
                self._fold_some()
            result = None
            if job.run is not None:
                began_ns = time.monotonic_ns()
                with self._database.transaction(loose=job.loose) as connection:
                    result = job.run(connection)
                if job.loose:
                    result = (result, time.monotonic_ns() - began_ns)
        except Exception as error:  # noqa: BLE001 - it is handed to whoever waits for the job; this thread lives on
            if is_unavailable(error):
                self._failed(error)
            self._answers.job_failed(job, error)
        else:
            self._answers.job_done(job, result)

    def _fold_if_due(self) -> None:
        """Fold a little when nothing else is to be done, or when too much waits for it."""
        now = time.monotonic()
        if not self._unfolded or self.trouble is not None:
            return
        due = now >= self._fold_at and self._incoming.empty()
        if due or (self._unfolded > FOLD_AT_ONCE_OVER and self.fold_trouble is None):
            try:
                self._fold_some()
            except FencedError as error:
                self._failed(error)
            except (sqlite3.Error, StoreDamagedError) as error:
                self.fold_trouble = str(error)
                self._fold_at = now + FOLD_AFTER_S

    def _fold_some(self) -> None:
        # The more has piled up, the more at once: at that point doing it cheaply matters more than a short wait.
        folded = self._folder.step(self._seq, max(EVENTS_AT_ONCE, self._unfolded // 4))
        self._unfolded = self._unfolded - folded if folded else 0
        self.fold_trouble = None

    def _fold_at_the_end(self) -> None:
        """Leave nothing to do for the next start, if that can be had."""
        try:
            while self._unfolded and self.trouble is None:
                self._fold_some()
        except (sqlite3.Error, FencedError, StoreDamagedError) as error:
            self.fold_trouble = str(error)


def _array_head(length: int) -> bytes:
    """The head of a MessagePack array."""
    if length < 16:
        return bytes((0x90 | length,))
    return b"\xdc" + length.to_bytes(2, "big")
