"""One request to a server that we run, as the story sees it: HTTP, with a status, headers and a body that may stream.

Implements `flow.upstream.Exchange`. An answer that comes first is JSON; where the server says something before it
answers, all of it is an event stream, as streamable HTTP has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from comptroller.flow.upstream import FailureKind, UpstreamFailure, UpstreamRequest
from comptroller.gateway.egress_body import Chunks, Tap
from comptroller.gateway.stdio.messages import event

_JSON: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)
_EVENTS: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"))


class Server(Protocol):
    """Whoever takes requests (host.py)."""

    async def take(self, exchange: StdioExchange) -> None:
        """Begin to serve it: answer it, or write it to a process. Raises UpstreamFailure."""
        ...


class StdioExchange:
    """At most one message written, one answer read. It ends once: complete, or with a failure."""

    def __init__(
        self, server: Server, request: UpstreamRequest, buffer_limit_bytes: int, on_overflow: Callable[[], None]
    ) -> None:
        self.status = 0
        self.headers: Sequence[tuple[bytes, bytes]] = ()
        self.written = False
        self.request = request
        self.forever = False  # once it is a stream, silence is no fault of it
        self.on_end: Callable[[], None] | None = None  # told when it ends without an answer
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._buffer_limit_bytes = buffer_limit_bytes
        self._on_overflow: Callable[[], None] | None = on_overflow
        self._body: list[bytes] = []
        self._unread = 0
        self._tap: Tap | None = None
        self._started = self._finished = self._streaming = False
        self._failure: tuple[FailureKind, str] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._phase: FailureKind = "connect"
        self._deadline = self._total_deadline = float("inf")
        self._timer: asyncio.TimerHandle | None = None

    # What the caller does.

    async def start(self) -> None:
        if self._started:
            raise RuntimeError("an exchange is started once")
        self._started = True
        self._raise_failure()
        self._total_deadline = self._loop.time() + self.request.timeouts.total_s
        try:
            await self._server.take(self)
        except BaseException:
            self.fail("connect", "it could not be begun")
            raise
        while not self.status:
            self._raise_failure()
            await self._wait()

    async def read(self, limit_bytes: int) -> bytes:
        self._check_started()
        while not self._finished and self._unread <= limit_bytes:
            await self._wait()
        self._raise_failure()
        if self._unread > limit_bytes:
            detail = f"the answer is longer than {limit_bytes} bytes"
            self.fail("too_large", detail)
            raise UpstreamFailure("too_large", detail)
        return self.unread()

    def tap(self, through: Callable[[bytes], bytes]) -> None:
        self._check_started()
        tap = self._tap = Tap(through)
        if self._unread and not tap.feed(self._taken()):
            self.fail("cut", "stopped by a fault of the gateway")
        if self._finished:
            tap.shut()

    def chunks(self) -> AsyncIterator[bytes]:
        self._check_started()
        self._streaming = True
        return Chunks(self._next_chunk)

    def unread(self) -> bytes:
        return self._taken() if self._tap is None else self._tap.take()

    def let_go(self) -> None:
        self.abort()  # there is no connection of its own to be kept

    def abort(self) -> None:
        self.fail("cut" if self.written else "connect", "aborted by the gateway")

    # What the server's side does.

    @property
    def finished(self) -> bool:
        """Whether nothing more can come of it."""
        return self._finished

    def sent(self) -> None:
        """The request is being handed to the process: from now on it is waited for."""
        self._raise_failure()
        self.written = True
        self._enter("first_byte_timeout", self.request.timeouts.first_byte_s)

    def respond(self, status: int, body: bytes = b"", headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """All of an answer at once: JSON, or nothing."""
        if self._finished:
            return
        if not self.status:
            self.status, self.headers = status, (*(_JSON if body else ()), *headers)
            self._gain(body)
        else:
            self._gain(event(body))
        self._end()

    def stream(self) -> None:
        """What comes is an event stream."""
        if self._finished or self.status:
            return
        self.status, self.headers = 200, _EVENTS
        self._enter("idle_timeout", self._idle_s)
        self._wake()

    def said(self, message: bytes) -> None:
        """The server says something that is no answer."""
        self.stream()
        self._gain(event(message))
        self._deadline = min(self._loop.time() + self._idle_s, self._total_deadline)

    def close(self) -> None:
        """An event stream ends in good order."""
        if not self._finished:
            on_end = self.on_end
            self._end()
            if on_end is not None:
                on_end()

    def fail(self, kind: FailureKind, detail: str) -> None:
        """It ends without an answer."""
        if self._finished:
            return
        self._failure = (kind, detail)
        on_end = self.on_end
        self._end()
        if on_end is not None:
            on_end()

    # Inside.

    async def _next_chunk(self) -> bytes:
        while not self._waiting_bytes:
            self._raise_failure()
            if self._finished:
                raise StopAsyncIteration
            await self._wait()
        return self.unread()

    @property
    def _idle_s(self) -> float:
        return float("inf") if self.forever else self.request.timeouts.idle_s

    @property
    def _waiting_bytes(self) -> int:
        return self._unread if self._tap is None else self._tap.unread

    def _taken(self) -> bytes:
        taken = b"".join(self._body)
        self._body.clear()
        self._unread = 0
        return taken

    def _gain(self, data: bytes) -> None:
        if self._finished or not data:
            return None
        self._body.append(data)
        self._unread += len(data)
        if self._tap is not None and not self._tap.feed(self._taken()):
            return self.fail("cut", "stopped by a fault of the gateway")
        if self._waiter is not None:
            self._wake()
        elif self._streaming and self._waiting_bytes > self._buffer_limit_bytes and self._on_overflow is not None:
            on_overflow, self._on_overflow = self._on_overflow, None
            on_overflow()
        return None

    def _enter(self, phase: FailureKind, lasts_s: float) -> None:
        self._phase = phase
        self._deadline = min(self._loop.time() + lasts_s, self._total_deadline)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        """The clock: deadlines move away, and the timer finds out when it is due."""
        now_s = self._loop.time() + 0.001
        if now_s < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look)
        elif now_s < self._total_deadline:
            self.fail(self._phase, "timed out")
        elif self.forever and self.status:
            self.close()
        else:
            self.fail("total_timeout", f"not done after {self.request.timeouts.total_s} s")

    def _end(self) -> None:
        self._finished = True
        self._on_overflow = self.on_end = None  # they lead back to whoever holds us
        if self._timer is not None:
            self._timer.cancel()
        if self._tap is not None:
            self._tap.shut()
        self._wake()

    async def _wait(self) -> None:
        if self._finished:
            return
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _raise_failure(self) -> None:
        if self._tap is not None and self._tap.fault is not None:
            raise self._tap.fault
        if self._failure is not None:
            raise UpstreamFailure(*self._failure)

    def _check_started(self) -> None:
        if not self.status:
            raise RuntimeError("the answer's body is read after its head has come")
