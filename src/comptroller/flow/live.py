"""The calls in flight, and the one way to interrupt them.

A `Line` is the off switch of one call. Whoever has a reason (the caller hung up, somebody stopped it,
the gateway drains, a buffer is full) cuts the line; the call's own task then leaves the guarded block at
the await where it stands, and settles. It works as `asyncio.timeout` does, with a reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Protocol

from comptroller.core.budget.scope import Facts
from comptroller.core.refusal import Refusal
from comptroller.core.work.stop import StopKey
from comptroller.flow.outcome import Outcome


class Line:
    """Guards blocks of one task: `with line:` ends early, without an error, when the line is cut."""

    __slots__ = ("_cancelled", "_inside", "_later", "_task", "reason", "said")

    def __init__(self) -> None:
        self.reason: Outcome | None = None
        self.said: Refusal | None = None  # what the caller is told, where the reason alone does not say it
        self._later: tuple[Outcome, Refusal | None] | None = None
        self._task: asyncio.Task[object] | None = None  # of the first block
        self._inside = False
        self._cancelled = False

    def cut(self, reason: Outcome, said: Refusal | None = None) -> None:
        """End the guarded block now, or as soon as it is entered. The first reason stands."""
        if self.reason is not None:
            self._later = self._later or (reason, said)
            return
        self.reason, self.said = reason, said
        if self._inside:
            self._cancel()

    def renew(self) -> None:
        """Let go of the reason, once its block has ended, so that another can be guarded: a second one ends that."""
        self.reason, self.said = self._later or (None, None)
        self._later = None

    def __enter__(self) -> Line:
        if self._task is None:
            self._task = asyncio.current_task()
        self._inside = True
        if self.reason is not None:
            self._cancel()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._inside = False
        if not self._cancelled or self._task is None:
            return False
        self._cancelled = False
        still_cancelled = self._task.uncancel() > 0
        return isinstance(error, asyncio.CancelledError) and not still_cancelled

    def _cancel(self) -> None:
        if self._task is None:
            raise RuntimeError("a line guards a task")
        if asyncio.current_task() is self._task:
            # It runs, so its next await would be cancelled, inside the block or not: before Python 3.13 `uncancel` does
            # not take that back. As soon as it waits, we come.
            asyncio.get_running_loop().call_soon(self._cancel_waiting)
        else:
            self._cancelled = True
            self._task.cancel()

    def _cancel_waiting(self) -> None:
        if self._inside and self.reason is not None and not self._cancelled and self._task is not None:
            self._cancelled = True
            self._task.cancel()


class LiveCall:
    """One call between its hold and its settlement."""

    def __init__(
        self,
        call_id: str,
        hold_id: str,
        identity: str,
        session: str,
        facts: Facts,
        line: Line,
        *,
        stop_keys: Sequence[StopKey],
        stream: bool = False,
    ) -> None:
        self.call_id = call_id
        self.hold_id = hold_id
        self.identity = identity
        self.session = session
        self.facts = facts
        self.line = line
        self.stop_keys = stop_keys
        self.stream = stream

    def stop(self, said: Refusal | None) -> None:
        """See Holding."""
        self.line.cut("stopped", said)


class Holding(Protocol):
    """A call with an open hold, as whoever stops or counts calls sees it: one in flight, or deferred work."""

    @property
    def call_id(self) -> str: ...
    @property
    def hold_id(self) -> str: ...
    @property
    def session(self) -> str: ...
    @property
    def facts(self) -> Facts: ...
    @property
    def stop_keys(self) -> Sequence[StopKey]: ...
    def stop(self, said: Refusal | None) -> None:
        """Cut it, or have it cancelled at the provider: its hold stays until its end is seen. `said`: why."""
        ...


class DeferredWork(Holding, Protocol):
    """What a provider goes on with after its answer (flow/deferred.py)."""

    @property
    def object_id(self) -> str: ...


class LiveCalls:
    """Every call in flight of this process, and beside them what is deferred, which nobody waits for."""

    def __init__(self) -> None:
        self._calls: dict[str, LiveCall] = {}
        self._deferred: dict[str, DeferredWork] = {}
        self._relays: dict[str, LiveCall] = {}  # they hold nothing, and nobody waits for their end
        self._when_quiet: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[LiveCall]:
        return iter(tuple(self._calls.values()))

    @property
    def deferred(self) -> Sequence[DeferredWork]:
        return tuple(self._deferred.values())

    @property
    def holding(self) -> Sequence[Holding]:
        """All that has an open hold."""
        return (*self._calls.values(), *self._deferred.values())

    def add(self, call: LiveCall) -> None:
        self._calls[call.call_id] = call

    def add_relay(self, call: LiveCall) -> None:
        """What passes through without a hold: it can be stopped as calls can."""
        self._relays[call.call_id] = call

    def remove_relay(self, call: LiveCall) -> None:
        self._relays.pop(call.call_id, None)

    def end_relays(self) -> None:
        """The process ends, and does not wait for what never ends by itself."""
        for relay in tuple(self._relays.values()):
            relay.line.cut("drained")

    def remove(self, call: LiveCall) -> None:
        self._calls.pop(call.call_id, None)
        if not self._calls:
            waiting, self._when_quiet = self._when_quiet, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def defer(self, work: DeferredWork) -> None:
        self._deferred[work.hold_id] = work

    def seen(self, work: DeferredWork) -> None:
        """Its end was seen, or is not waited for any more."""
        self._deferred.pop(work.hold_id, None)

    def cut(self, chosen: Callable[[LiveCall], bool], reason: Outcome, said: Refusal | None = None) -> int:
        """Cut every chosen call; returns how many. `said`: what their callers are told. What is deferred goes on."""
        calls = [call for call in self._calls.values() if chosen(call)]
        for call in calls:
            call.line.cut(reason, said)
        return len(calls)

    def stop(self, chosen: Callable[[Holding], bool], said: Refusal | None = None) -> int:
        """Cut every chosen call, and cancel what is deferred of them; returns how many. `said`: why."""
        calls = [call for call in self.holding if chosen(call)]
        for call in (*calls, *(relay for relay in tuple(self._relays.values()) if chosen(relay))):
            call.stop(said)
        return len(calls)

    async def quiet(self) -> None:
        """Wait until no call is in flight."""
        if self._calls:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._when_quiet.append(future)
            await future
