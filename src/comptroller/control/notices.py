"""Notices: who is told of what, what waits for them, and what became of it.

What is emitted goes to the journal with everything else that happens, so it is as durable as a settlement and costs no
commit of its own. Memory has what waits; the store has it too, for the next start. Delivering is in
`notice_delivery`. Nothing here waits, and nothing here fails a call: where too much waits for a receiver, what is new
is dropped for it, and counted.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from comptroller.control.notice_books import DeadLetter, Waiting
from comptroller.core.notice.envelope import cloud_event
from comptroller.core.notice.event import Notice, kind_of
from comptroller.core.notice.filter import Wanted
from comptroller.core.notice.schedule import Schedule
from comptroller.flow.gate import Clock
from comptroller.flow.journal import Journal
from comptroller.flow.notices import NOBODY
from comptroller.flow.records import Noticed, NoticeTried
from comptroller.flow.upstream import Origin
from comptroller.settings import KeySource

WAITING_MOST = 10_000  # for one receiver: about 10 MB
TOLD_MOST = 200_000  # keys of what is told once, in memory

Warn = Callable[[str, Mapping[str, str]], None]


class Address(msgspec.Struct, frozen=True):
    """Where a receiver is, and how it knows us."""

    origin: Origin
    path: str
    secret: KeySource
    timeout_s: float


class Pending(msgspec.Struct):
    """One notice that waits for one receiver."""

    id: str
    name: str
    body: bytes
    at_ns: int
    since_ns: int
    tries: int = 0
    next_ns: int = 0
    error: str = ""


@dataclass
class Receiver:
    """One `[[notify]]`, what waits for it, and how it has been doing since the start."""

    name: str
    wanted: Wanted
    address: Address
    schedule: Schedule
    delivered: int = 0
    failed: int = 0  # given up
    dropped: int = 0
    dead: int = 0  # dead letters, those of earlier starts too
    failures: int = 0  # in a row
    quiet_until_ns: int = 0
    gone: bool = False  # it has said that it wants nothing more
    error: str = ""  # of the last try, if that failed
    delivered_at_ns: int | None = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: dict[str, Pending] = field(default_factory=dict[str, Pending])
    _due: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest of what waits was told."""
        return min((each.at_ns for each in self.waiting.values()), default=None)

    def add(self, pending: Pending) -> None:
        """It waits from now on, or waits until another time."""
        self.waiting[pending.id] = pending
        heapq.heappush(self._due, (pending.next_ns, pending.id))
        self.woken.set()

    def remove(self, notice_id: str) -> None:
        """It waits no more."""
        self.waiting.pop(notice_id, None)

    def first(self) -> Pending | None:
        """What is to be tried next, and may not be due yet."""
        while self._due:
            next_ns, notice_id = self._due[0]
            pending = self.waiting.get(notice_id)
            if pending is not None and pending.next_ns == next_ns:
                return pending
            heapq.heappop(self._due)
        return None


class Outbox:
    """Implements `flow.notices.Notices`: one process's."""

    heard = True  # as long as there is a receiver

    def __init__(self, receivers: Iterable[Receiver], journal: Journal, clock: Clock, source: str, warn: Warn) -> None:
        self.receivers: Mapping[str, Receiver] = {each.name: each for each in receivers}
        self._journal = journal
        self._clock = clock
        self._source = source
        self.warn = warn
        self._told: set[str] = set()

    def emit(
        self,
        name: str,
        subject: str,
        data: Mapping[str, object],
        about: Mapping[str, str] = NOBODY,
        *,
        once: str = "",
        until_ns: int | None = None,
    ) -> None:
        if once and once in self._told:
            return
        notice = self.notice(name, subject, data, about)
        to = [each for each in self.receivers.values() if each.wanted.matches(notice)]
        if not to:
            return
        if once:
            if len(self._told) >= TOLD_MOST:
                self._told.clear()  # the store does not take a key twice, and a notice too many is none too few
            self._told.add(once)
        body, takers = cloud_event(notice, self._source), [each for each in to if self._has_room(each)]
        names = tuple(each.name for each in takers)
        self._journal.append(Noticed(notice.id, notice.at_ns, name, subject, body, names, once, until_ns))
        for each in takers:
            each.add(Pending(notice.id, name, body, notice.at_ns, notice.at_ns))

    def notice(self, name: str, subject: str, data: Mapping[str, object], about: Mapping[str, str]) -> Notice:
        """A fresh one."""
        at_ns = self._clock.now_ns()
        return Notice(self._clock.new_id("ntc"), name, kind_of(name).severity, at_ns, subject, about, data)

    def body_of(self, notice: Notice) -> bytes:
        return cloud_event(notice, self._source)

    def go_on(self, waiting: Sequence[Waiting], told: Iterable[str], dead: Mapping[str, int]) -> None:
        """After a start: what waited goes on waiting, and what was told is not told again."""
        self._told.update(told)
        for name, number in dead.items():
            if name in self.receivers:
                self.receivers[name].dead = number
        for each in waiting:
            pending = Pending(
                each.id, each.name, each.body, each.at_ns, each.since_ns, each.tries, each.next_at_ns, each.error
            )
            receiver = self.receivers.get(each.receiver)
            if receiver is not None:
                receiver.add(pending)
            else:
                self._record(each.receiver, pending, "failed", "comptroller.toml has no receiver of this name any more")

    def delivered(self, receiver: Receiver, pending: Pending) -> None:
        """It has arrived."""
        receiver.remove(pending.id)
        receiver.delivered += 1
        self.answers(receiver)
        self._record(receiver.name, pending, "delivered")

    def answers(self, receiver: Receiver) -> None:
        """It takes what it is sent: what waits for it need not wait any longer."""
        receiver.failures = receiver.quiet_until_ns = 0
        receiver.error, receiver.gone = "", False
        receiver.delivered_at_ns = self._clock.now_ns()
        receiver.woken.set()

    def later(self, receiver: Receiver, pending: Pending, next_ns: int, error: str) -> None:
        """It has not, and is tried again."""
        pending.next_ns, pending.error = next_ns, error
        receiver.add(pending)
        self._record(receiver.name, pending, "waiting", error)

    def give_up(self, receiver: Receiver, pending: Pending, error: str) -> None:
        """It has not, and is a dead letter from now on."""
        receiver.remove(pending.id)
        receiver.failed += 1
        receiver.dead += 1
        pending.error = error
        self._record(receiver.name, pending, "failed", error)
        said = {"comptroller.receiver": receiver.name, "comptroller.notice": pending.name, "message": error}
        self.warn("notice_failed", said)

    def again(self, letter: DeadLetter) -> bool:
        """Try a dead letter again, for as long as a new one; False where nobody is there for it, or too much waits."""
        receiver = self.receivers.get(letter.receiver)
        if receiver is None or letter.id in receiver.waiting or len(receiver.waiting) >= WAITING_MOST:
            return False
        now_ns = self._clock.now_ns()
        pending = Pending(letter.id, letter.name, letter.body, letter.at_ns, now_ns, 0, now_ns)
        receiver.dead = max(0, receiver.dead - 1)
        receiver.gone, receiver.quiet_until_ns = False, 0
        receiver.add(pending)
        self._record(receiver.name, pending, "waiting")
        return True

    def _has_room(self, receiver: Receiver) -> bool:
        if len(receiver.waiting) < WAITING_MOST:
            return True
        receiver.dropped += 1
        said = f"{WAITING_MOST} notices wait for it: this one is dropped."
        self.warn("notice_dropped", {"comptroller.receiver": receiver.name, "message": said})
        return False

    def _record(self, receiver: str, pending: Pending, state: str, error: str = "") -> None:
        times = (pending.tries, pending.since_ns, pending.next_ns)
        self._journal.append(NoticeTried(pending.id, receiver, self._clock.now_ns(), state, *times, error))  # type: ignore[arg-type]
