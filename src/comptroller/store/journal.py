"""The journal as the event loop sees it: events go in, futures come out.

Everything here runs on the loop; the writer's thread is behind a queue. What one turn of the loop brings is handed
over together, and answered with one callback for each batch: waking a thread costs more than writing an event.
An event is encoded when it comes, so that one that cannot be encoded fails alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from comptroller.flow.journal import Journal, LedgerUnavailableError
from comptroller.flow.records import Event
from comptroller.store.database import Database, is_unavailable
from comptroller.store.fold import instant_of
from comptroller.store.folder import Folder
from comptroller.store.writer import Answers, Entry, Job, Queue, Stop, Writer, ignore

OFFERS_MOST = 10_000  # queued refusals: about 5 MB
_STOP_GRACE_S = 5.0  # a last try may be waiting for a lock when the deadline passes

T = TypeVar("T")


class JournalWriter(Journal):
    """Keeps events in the store. Made on the loop that will use it; `close` ends it.

    Besides the border's three verbs: `submit` runs a function in a durable transaction of the writer's
    connection, after everything queued before it has been written and folded. `wrote` is told on the writer's
    thread of every batch: how long it took in nanoseconds, and of how many events.
    """

    def __init__(self, database: Database, folder: Folder, wrote: Callable[[int, int], None] = ignore) -> None:
        self.dropped = 0  # offers that did not get in, or were lost to a failure
        self._loop = asyncio.get_running_loop()
        self._database = database
        self._encode = msgspec.msgpack.Encoder().encode
        self._queue: Queue = queue.SimpleQueue()
        self._gathered: list[Entry] = []  # in this turn of the loop
        self._waiting = 0  # events that are not answered
        self._offers = 0
        self._owed = 0  # appended events that are not on disk
        self._jobs: set[Job] = set()
        self._closed = False
        self._ended: asyncio.Future[None] = self._loop.create_future()
        answers = Answers(
            written=self._from_thread(self._written),
            given_up=self._from_thread(self._given_up),
            job_done=self._from_thread(self._job_done),
            job_failed=self._from_thread(self._job_failed),
            wrote=wrote,
        )
        self._writer = Writer(database, folder, self._queue, answers)
        self._thread = threading.Thread(target=self._work, name="comptroller-store", daemon=True)
        self._thread.start()

    @property
    def epoch(self) -> int:
        return self._database.epoch

    @property
    def healthy(self) -> bool:
        """Whether the last try to write went well."""
        return not self._closed and self._writer.trouble is None

    @property
    def last_error(self) -> str | None:
        """What is wrong now: with writing, else with folding, else that it is closed."""
        return self._writer.trouble or self._writer.fold_trouble or (_CLOSED if self._closed else None)

    @property
    def queued(self) -> int:
        """How many events and jobs wait for the writer."""
        return self._waiting + len(self._jobs)

    @property
    def unfolded(self) -> int:
        """How many events are on disk and not yet in the tables."""
        return self._writer.unfolded

    @property
    def ended(self) -> bool:
        """Whether the thread is gone: nothing is written any more."""
        return self._ended.done()

    @property
    def lost(self) -> int:
        """How many appended events are not on disk; once it has ended, they never will be."""
        return self._owed

    def commit(self, event: Event) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        if self._closed:
            future.set_exception(LedgerUnavailableError(_CLOSED))
        else:
            self._gather(Entry(event, self._encode(event), instant_of(event), "commit", future))
        return future

    def append(self, event: Event) -> None:
        """Queue it. After the end it is counted as lost: whoever settles a call cannot do anything about it."""
        if self._closed:
            self._owed += 1
            return
        encoded = self._encode(event)
        self._owed += 1
        self._gather(Entry(event, encoded, instant_of(event), "append"))

    def offer(self, event: Event) -> None:
        if self._closed or self._offers >= OFFERS_MOST:
            self.dropped += 1
            return
        self._offers += 1
        self._gather(Entry(event, self._encode(event), instant_of(event), "offer"))

    def submit(self, step: Callable[[sqlite3.Connection], T] | None) -> asyncio.Future[T]:
        """Run a step in a durable transaction, once all before it is written and folded. None: only that.

        The future has the step's result or its exception, or LedgerUnavailableError: then nothing has happened.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._submit(Job(step, future))
        return future

    def submit_loose(self, step: Callable[[sqlite3.Connection], T]) -> asyncio.Future[tuple[T, int]]:
        """The same for a step that is just done again if a power cut takes it (Database.transaction).

        Beside its result, the future has the nanoseconds for which the step and its commit kept the thread.
        """
        future: asyncio.Future[tuple[T, int]] = self._loop.create_future()
        self._submit(Job(step, future, loose=True))
        return future

    def _submit(self, job: Job) -> None:
        if self._closed:
            job.future.set_exception(LedgerUnavailableError(_CLOSED))
        else:
            self._jobs.add(job)
            self._hand_over()
            self._queue.put(job)

    async def close(self, timeout_s: float) -> int:
        """Write and fold what is queued, end the thread and close its connection. Returns how many events were lost.

        Those are appended events that could not be written within `timeout_s`; the calls that they settle are
        presumed at the next start. Look at `ended` before letting anybody else write here.
        """
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._queue.put(Stop(time.monotonic() + timeout_s))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._ended), timeout_s + _STOP_GRACE_S)
            self._thread.join()  # its last act was to say so
        return self._owed

    def _gather(self, entry: Entry) -> None:
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(entry)
        self._waiting += 1

    def _hand_over(self) -> None:
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    def _work(self) -> None:
        """The thread. Whatever ends it, nobody is left waiting."""
        try:
            self._writer.work()
        finally:
            self._database.close()
            self._from_thread(self._end)()

    def _from_thread(self, answer: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(answer, *arguments)

        return call

    def _written(self, entries: list[Entry]) -> None:
        self._waiting -= len(entries)
        for entry in entries:
            future = entry.future
            if future is not None:
                if not future.done():
                    future.set_result(None)
            elif entry.kind == "append":
                self._owed -= 1
            else:
                self._offers -= 1

    def _given_up(self, entries: list[Entry], trouble: str) -> None:
        self._waiting -= len(entries)
        for entry in entries:
            future = entry.future
            if future is not None:
                if not future.done():
                    future.set_exception(LedgerUnavailableError(trouble))
            elif entry.kind == "offer":
                self._offers -= 1
                self.dropped += 1

    def _job_done(self, job: Job, result: Any) -> None:
        self._jobs.discard(job)
        if not job.future.done():
            job.future.set_result(result)

    def _job_failed(self, job: Job, error: Exception) -> None:
        self._jobs.discard(job)
        if is_unavailable(error):
            error = LedgerUnavailableError(str(error))
        if not job.future.done():
            job.future.set_exception(error)

    def _end(self) -> None:
        """The thread is gone: orderly, or by a fault of ours. Everything that still waits fails."""
        self._closed = True
        left = [*self._writer.unwritten(), *self._gathered]
        self._gathered = []
        with contextlib.suppress(queue.Empty):
            while True:
                item = self._queue.get_nowait()
                if isinstance(item, list):
                    left += item
        self._given_up(left, _CLOSED)
        for job in tuple(self._jobs):
            self._job_failed(job, LedgerUnavailableError(_CLOSED))
        if not self._ended.done():
            self._ended.set_result(None)


_CLOSED = "the journal is closed"
