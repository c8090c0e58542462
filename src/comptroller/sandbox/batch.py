"""Batches: requests that are made one by one while nobody waits, each with a line of its own on the bill.

A line is due so many seconds after its batch came as its own `sandbox.first_byte_delay_s` says, else at once. What is
not due when the batch is cancelled, or before it expires, is never made and costs nothing.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from comptroller.sandbox.bill import Arrival, Bill, Line, fingerprint
from comptroller.sandbox.compose import compose_answer
from comptroller.sandbox.errors import ApiError, Refusal
from comptroller.sandbox.faults import refusal_of
from comptroller.sandbox.order import Order
from comptroller.sandbox.prompt import PromptCache, count_prompt
from comptroller.sandbox.surface import Surface

TIER = "batch"

End = Literal["succeeded", "errored", "canceled", "expired"]


@dataclass(frozen=True, slots=True)
class Task:
    """One request of a batch."""

    name: str
    due_s: float
    """Seconds after the batch came."""
    make: Callable[[Line], bytes]
    """Makes and bills it. Raises ApiError."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one of them ended."""

    end: End
    body: bytes = b""
    """The answer, where it succeeded."""
    refusal: Refusal | None = None


@dataclass(slots=True)
class Batch:
    """One batch, from the moment in which it came."""

    id: str
    key: str
    arrival: Arrival
    tasks: Sequence[Task]
    created_at: float
    """Unix time in seconds."""
    expires_at: float
    about: dict[str, object] = field(default_factory=dict[str, object])
    """What its API says of it beside how far it is."""
    results: dict[str, Result] = field(default_factory=dict[str, Result])
    """By the name of the request, in the order in which they ended."""
    cancelled_at: float | None = None
    ended_at: float | None = None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def count(self, end: End) -> int:
        """Requests that ended so."""
        return sum(1 for result in self.results.values() if result.end == end)


class Batches:
    """All batches, and the making of what is in them."""

    def __init__(self, bill: Bill, expires_s: float) -> None:
        self._bill = bill
        self._expires_s = expires_s
        self._batches: dict[str, Batch] = {}
        self._running: set[asyncio.Task[None]] = set()

    def start(self, prefix: str, key: str, arrival: Arrival, tasks: Sequence[Task], about: dict[str, object]) -> Batch:
        """Take a batch, and begin with it."""
        now = time.time()
        name = prefix + uuid.uuid4().hex
        batch = self._batches[name] = Batch(name, key, arrival, tasks, now, now + self._expires_s, about)
        running = asyncio.get_running_loop().create_task(self._run(batch))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return batch

    def find(self, key: str, name: str) -> Batch | None:
        """A batch of this key."""
        batch = self._batches.get(name)
        return batch if batch is not None and batch.key == key else None

    def of(self, key: str, prefix: str) -> list[Batch]:
        """All batches of a key whose names begin so, the youngest first."""
        return [b for b in reversed(self._batches.values()) if b.key == key and b.id.startswith(prefix)]

    def cancel(self, batch: Batch) -> None:
        """Make nothing more of it."""
        if batch.ended_at is None and batch.cancelled_at is None:
            batch.cancelled_at = time.time()
            batch.cancelled.set()

    def forget(self, batch: Batch) -> None:
        """Delete it."""
        self._batches.pop(batch.id, None)

    async def _run(self, batch: Batch) -> None:
        for task in sorted(batch.tasks, key=lambda task: task.due_s):
            due = batch.created_at + task.due_s
            if not batch.cancelled.is_set() and not await self._reached(batch, min(due, batch.expires_at)):
                continue
            if not batch.cancelled.is_set() and due < batch.expires_at:
                batch.results[task.name] = self._made(batch, task)
        rest: End = "canceled" if batch.cancelled.is_set() else "expired"
        for task in batch.tasks:
            batch.results.setdefault(task.name, Result(rest))
        batch.ended_at = time.time()

    async def _reached(self, batch: Batch, instant: float) -> bool:
        """Wait until then; False if it was cancelled meanwhile."""
        while (left := instant - time.time()) > 0:
            try:
                await asyncio.wait_for(batch.cancelled.wait(), left)
            except TimeoutError:
                continue
            return False
        await asyncio.sleep(0)  # others get their turn between two requests
        return not batch.cancelled.is_set()

    def _made(self, batch: Batch, task: Task) -> Result:
        line = self._bill.open(fingerprint(batch.key), batch.arrival)
        line.tier = TIER
        try:
            result = Result("succeeded", task.make(line))
            line.status = 200
        except ApiError as error:
            result = Result("errored", refusal=error.refusal)
            line.status = error.refusal.status
        self._bill.close(line, "done")
        return result


def make_whole(surface: Surface, order: Order, line: Line, cache: PromptCache, usual: int) -> bytes:
    """Make and bill one answer as a whole, at the price of batches. Raises ApiError."""
    order = replace(order, tier=TIER, stream=False)
    options, fault = order.control, order.control.fault
    line.model, line.model_name, line.tier, line.fault = order.model, order.model.name, order.tier, fault
    refusal = refusal_of(fault, options) if fault is not None else None
    if refusal is not None:
        raise ApiError(refusal)
    line.free = fault == "usage_zero"
    prompt = count_prompt(order.segments, f"{line.key}/{order.model.name}/{surface.name}".encode())
    cached = cache.use_marks(prompt) if order.marked else cache.use(prompt)
    line.begin(input_tokens=prompt.tokens, audio_tokens=prompt.audio_tokens, cached=cached)
    beyond = options.beyond_limit if fault == "overrun" else 0
    answer = compose_answer(order, prompt.seed, beyond_limit=beyond, usual=usual)
    line.generated(answer.output_tokens, answer.reasoning_tokens)
    return surface.writer(order, answer, line, 0 if fault == "no_usage" else 1).whole()


def arrival_of(headers: Mapping[bytes, bytes], surface: str) -> Arrival:
    """What the lines of a batch say of the request that it came with."""
    request_id = headers.get(b"x-client-request-id")
    return Arrival(
        client_request_id=None if request_id is None else request_id.decode("latin-1"),
        header_names=(),
        path_query="",
        at=time.time(),
        surface=surface,
    )


def due_s(order: Order) -> float:
    """When a request of a batch is due: seconds after the batch came."""
    return order.control.first_byte_delay_s or 0.0


def rfc3339(instant: float) -> str:
    """Unix time in seconds, as most APIs write it."""
    return datetime.fromtimestamp(instant, UTC).isoformat().replace("+00:00", "Z")
