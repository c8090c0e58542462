"""The one way out to providers: a thin HTTP/1.1 client on the event loop's own transports.

Implements `flow.upstream`. Why not a library: docs/decisions/0003-upstream-client.md. The bytes on the wire are in
`egress_protocol`, who may be connected to in `egress_rules` and `egress_connect`, kept connections in
`egress_pool`; here are the exchanges and their clock.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cached_property

from comptroller.flow.upstream import FailureKind, Origin, UpstreamFailure, UpstreamRequest
from comptroller.gateway.egress_body import Chunks, Tap
from comptroller.gateway.egress_connect import connect, tls_context
from comptroller.gateway.egress_pool import NEVER, Connection, EgressLimits, Site
from comptroller.gateway.egress_protocol import ProtocolViolation, ResponseReader, request_head

# Below this a copy of the body is cheaper than a second write.
_JOINED_BODY_BYTES = 64 * 1024
_REST_COMES_WITHIN_S = 1.0  # of an answer that is over for its reader: usually the end mark of its transfer coding


class Egress:
    """Implements `Upstream`. Belongs to the event loop it is first used on."""

    def __init__(self, limits: EgressLimits | None = None, *, tls: Callable[[], ssl.SSLContext] = tls_context) -> None:
        self.limits = limits or EgressLimits()
        self.opened = 0  # connections, since the start
        self._closed = False
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._sites: dict[Origin, Site] = {}
        self._active: set[_Exchange] = set()
        self._connecting: set[asyncio.Task[Connection]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = NEVER

    @property
    def active(self) -> int:
        """How many exchanges are under way."""
        return len(self._active)

    @property
    def idle(self) -> int:
        """How many connections wait for their next request."""
        return sum(site.idle for site in self._sites.values())

    def open(self, request: UpstreamRequest, *, buffer_limit_bytes: int, on_overflow: Callable[[], None]) -> _Exchange:
        """Raises ValueError for a request that cannot be put on the wire safely."""
        site = self._sites.get(request.origin)
        if site is None:
            site = self._sites[request.origin] = self._site(request.origin)
        return _Exchange(self, site, request, buffer_limit_bytes, on_overflow)

    async def close(self) -> None:
        """Close idle connections and abort open exchanges. What is started afterwards fails with `connect`."""
        self._closed = True
        for exchange in tuple(self._active):
            exchange.abort()
        for site in self._sites.values():
            site.close()
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        await asyncio.sleep(0)  # transports end on the loop's next turn

    @cached_property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Asked for once: in each of its many uses it would cost a system call."""
        return asyncio.get_running_loop()

    def enter(self, exchange: _Exchange) -> bool:
        """From here on the clock runs for this exchange, until it leaves. False after `close`."""
        if not self._closed:
            self._active.add(exchange)
        return not self._closed

    def leave(self, exchange: _Exchange) -> None:
        self._active.discard(exchange)

    def connect(self, site: Site, timeout_s: float) -> asyncio.Task[Connection]:
        if site.origin.scheme == "https" and self._tls is None:
            self._tls = self._make_tls()  # once, at first need: loading a trust store takes tens of milliseconds
        self.opened += 1
        tls = self._tls if site.origin.scheme == "https" else None
        task = self.loop.create_task(connect(site.origin, tls, lambda: Connection(site), timeout_s))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return task

    def wake_by(self, when: float) -> None:
        """One timer serves all exchanges and idle connections; it is moved only when something is due earlier.

        Deadlines mostly move away before they come near, so most exchanges never touch a timer.
        """
        if when < self._wakes_at:
            if self._timer is not None:
                self._timer.cancel()
            self._wakes_at = when
            self._timer = self.loop.call_at(when, self._sweep)

    def _sweep(self) -> None:
        self._timer, self._wakes_at = None, NEVER
        # Event loops count in milliseconds: what is due within one is due.
        due = self.loop.time() + 0.001
        for exchange in tuple(self._active):
            if exchange.deadline <= due:
                exchange.expire(due)
        following = min((exchange.deadline for exchange in self._active), default=NEVER)
        for site in self._sites.values():
            following = min(following, site.close_stale(due))
        self.wake_by(following)

    def _site(self, origin: Origin) -> Site:
        limits = self.limits
        return Site(
            origin,
            max_idle=limits.max_idle_per_origin,
            idle_lifetime_s=limits.idle_lifetime_s,
            wake_by=self.wake_by,
        )


class _Exchange:
    """Implements `flow.upstream.Exchange`: at most one request written, one response read.

    It ends once: complete, or with a failure. From then on nothing is buffered any more, but what came before
    stays readable, since a provider will have billed it.
    """

    # How it stands at first: on the class, since most of it is never set in most exchanges.
    status = 0
    headers: Sequence[tuple[bytes, bytes]] = ()
    written = False
    deadline = NEVER  # seconds on the loop's clock
    _connection: Connection | None = None
    _connecting: asyncio.Task[Connection] | None = None
    _waiter: asyncio.Future[None] | None = None
    _phase: FailureKind = "connect"
    _total_deadline = NEVER
    _read_limit: int | None = None
    _streaming = False
    _started = False
    _finished = False
    _tap: Tap | None = None
    _failure: tuple[FailureKind, str] | None = None
    _on_overflow: Callable[[], None] | None

    def __init__(
        self,
        egress: Egress,
        site: Site,
        request: UpstreamRequest,
        buffer_limit_bytes: int,
        on_overflow: Callable[[], None],
    ) -> None:
        self._egress = egress
        self._loop = egress.loop
        self._site = site
        self._timeouts = request.timeouts
        self._body = request.body
        self._head = request_head(
            request.method, site.prefix + request.path, site.host_line, request.headers, len(request.body)
        )
        self._reader = ResponseReader(egress.limits.max_head_bytes, no_body=request.method == "HEAD")
        self._buffer_limit_bytes = buffer_limit_bytes
        self._on_overflow = on_overflow

    # What the caller does.

    async def start(self) -> None:
        if self._started:
            raise RuntimeError("an exchange is started once")
        self._started = True
        if not self._finished and not self._egress.enter(self):
            self._fail("connect", "the gateway is shutting down")
        self._raise_failure()
        now = self._loop.time()
        self._total_deadline = now + self._timeouts.total_s
        self._write(self._site.take(now) or await self._connect())
        # A failure behind the head belongs to whoever reads the body: the bytes between are worth money.
        while not self.status:
            self._raise_failure()
            await self._wait()

    async def read(self, limit_bytes: int) -> bytes:
        self._check_started()
        reader = self._reader
        self._read_limit = limit_bytes
        while not self._finished and reader.unread + reader.declared_left <= limit_bytes:
            await self._wait()
        self._raise_failure()
        if not self._finished or reader.unread > limit_bytes:
            self._fail("too_large", f"the answer is longer than {limit_bytes} bytes")
            raise UpstreamFailure("too_large", f"the answer is longer than {limit_bytes} bytes")
        return reader.take()

    def tap(self, through: Callable[[bytes], bytes]) -> None:
        self._check_started()
        self._tap = Tap(through)
        self._pass(self._tap)
        if self._finished:
            self._tap.shut()

    def chunks(self) -> AsyncIterator[bytes]:
        self._check_started()
        self._streaming = True
        return Chunks(self.next_chunk)

    async def next_chunk(self) -> bytes:
        """All that has come since the last one. Raises StopAsyncIteration at the end of the body."""
        while not self._unread_bytes:
            self._raise_failure()
            if self._finished:
                raise StopAsyncIteration
            await self._wait()
        return self.unread()

    def unread(self) -> bytes:
        return self._reader.take() if self._tap is None else self._tap.take()

    def abort(self) -> None:
        self._fail("cut" if self.written else "connect", "aborted by the gateway")

    def let_go(self) -> None:
        if not self._finished:
            self._on_overflow = None
            self._total_deadline = min(self._total_deadline, self._loop.time() + _REST_COMES_WITHIN_S)
            self._enter_phase("idle_timeout", _REST_COMES_WITHIN_S)

    # What the connection and the clock say.

    def received(self, data: bytes) -> None:
        reader = self._reader
        before = reader.received
        violation = None
        try:
            reader.feed(data)
        except ProtocolViolation as found:
            violation = str(found)
        if reader.head_done and not self.status:
            self.status, self.headers = reader.status, reader.headers
            if not reader.complete:
                self._enter_phase("idle_timeout", self._timeouts.idle_s)
                self._wake()
        if self._tap is not None:
            self._pass(self._tap)
        if violation is not None:
            self._fail("protocol", violation)
        elif reader.complete:
            self._complete()
        elif reader.received > before:
            self._gained()

    def ended(self) -> None:
        if self._reader.end():
            self._complete()
        else:
            self.lost("closed by the provider")

    def lost(self, reason: str) -> None:
        self._fail("cut", f"the connection ended before the answer did: {reason}")

    def expire(self, due: float) -> None:
        if self._total_deadline <= due:
            self._fail("total_timeout", f"not done after {self._timeouts.total_s} s")
        else:
            self._fail(self._phase, "timed out")

    # Connecting and writing.

    async def _connect(self) -> Connection:
        self._enter_phase("connect", self._timeouts.connect_s)
        self._connecting = self._egress.connect(self._site, self._timeouts.connect_s)
        self._connecting.add_done_callback(self._connected)
        while self._connection is None:
            self._raise_failure()
            await self._wait()
        return self._connection

    def _connected(self, task: asyncio.Task[Connection]) -> None:
        self._connecting = None
        if task.cancelled():
            self._fail("connect", "cancelled")
        elif (error := task.exception()) is not None:
            known = isinstance(error, UpstreamFailure)
            self._fail(error.kind if known else "connect", error.detail if known else repr(error))
        elif self._finished:
            task.result().abort()
        else:
            self._connection = task.result()
            self._wake()

    def _write(self, connection: Connection) -> None:
        self._connection = connection
        if not connection.alive:
            self._fail("connect", "the provider closed the connection before the request was written")
        self._raise_failure()
        connection.holder = self
        self._enter_phase("first_byte_timeout", self._timeouts.first_byte_s)
        self.written = True
        if len(self._body) < _JOINED_BODY_BYTES:
            connection.transport.write(self._head + self._body)
        else:
            connection.transport.writelines((self._head, self._body))
        self._head = self._body = b""

    # Waiting and ending.

    def _enter_phase(self, phase: FailureKind, lasts_s: float) -> None:
        self._phase = phase
        self.deadline = min(self._loop.time() + lasts_s, self._total_deadline)
        self._egress.wake_by(self.deadline)

    @property
    def _unread_bytes(self) -> int:
        return self._reader.unread if self._tap is None else self._tap.unread

    def _pass(self, tap: Tap) -> None:
        if self._reader.unread and not tap.feed(self._reader.take()):
            self._fail("cut", "stopped by a fault of the gateway")

    def _gained(self) -> None:
        """Body bytes came, and more are to come."""
        unread = self._unread_bytes
        # Later than before, so the timer that is set still comes early enough.
        self.deadline = min(self._loop.time() + self._timeouts.idle_s, self._total_deadline)
        if self._read_limit is not None:
            if unread > self._read_limit:
                self._wake()
        elif self._waiter is not None:
            if unread:  # half an event is nothing to wake anybody for
                self._wake()
        # Only a consumer that is not waiting for us lags, however much one turn of the loop brings.
        elif self._streaming and unread > self._buffer_limit_bytes and self._on_overflow is not None:
            on_overflow, self._on_overflow = self._on_overflow, None
            on_overflow()

    async def _wait(self) -> None:
        """Until something happened. Returns at once after the end."""
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

    def _complete(self) -> None:
        connection = self._leave()
        if connection is None:
            return
        clean = self._reader.clean and connection.alive
        # An answer that overtook its request leaves the rest of the request in the way of the next.
        if clean and not connection.transport.get_write_buffer_size():
            self._site.park(connection, self._loop.time(), self._reader.keep_alive_s)
        else:
            connection.abort()

    def _fail(self, kind: FailureKind, detail: str) -> None:
        if self._finished:
            return
        self._failure = (kind, detail)
        connection = self._leave()
        if connection is not None:
            connection.abort()

    def _leave(self) -> Connection | None:
        """The end of this exchange; the connection, if it has one, is the caller's to park or close."""
        self._finished = True
        self._egress.leave(self)
        self._on_overflow = None  # it leads back to whoever holds us: a ring is left to the garbage collector
        if self._tap is not None:
            self._tap.shut()
        if self._connecting is not None:
            self._connecting.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.holder = None
        self._wake()
        return connection

    def _raise_failure(self) -> None:
        if self._tap is not None and self._tap.fault is not None:
            raise self._tap.fault
        if self._failure is not None:
            raise UpstreamFailure(*self._failure)

    def _check_started(self) -> None:
        if not self.status:
            raise RuntimeError("the answer's body is read after its head has come")
