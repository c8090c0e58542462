"""uvicorn's HTTP protocol with what it leaves open: bounds on the request head, on callers that do not read, and on
those that hold a connection without asking anything.

It lends the application a channel to what ASGI does not have (channel.py), and looks after idle connections with one
timer each instead of one for every answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from comptroller.gateway.channel import EXTENSION, Channel

HEADERS_MOST = 128


class HeadTooLargeError(Exception):
    """The request head passed its bound; the parser turns this into a 400 and a closed connection."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection of a caller."""

    head_bytes_most = 64 * 1024
    stalled_s = 60.0
    idle_s = 5.0  # between the end of an answer and the next request
    waiting_s = 15.0  # for a whole head, and for the rest of a body that is not read any more

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_bytes = 0
        self._in_head = True
        self._waiting_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._lost = False
        self._idle_since = 0.0  # seconds on the loop's clock
        self._idle_timer: asyncio.TimerHandle | None = None
        self.on_gone: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._waiting_timer = self.loop.call_later(self.waiting_s, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_stall_timer()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)
        self._lost = True
        if self.on_gone is not None:
            self.on_gone()

    def pause_writing(self) -> None:
        """The caller does not read. If that lasts, it is as gone as if it had hung up."""
        self._stall_timer = self.loop.call_later(self.stalled_s, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stop_stall_timer()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > self.head_bytes_most and not self.transport.is_closing():
            self.send_400_response("The request head is too long.")
            return
        # While a request is answered its own clocks run. All else that comes is a head, or leads to none.
        if not self._in_head and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._waiting_timer is None:
            self._waiting_timer = self.loop.call_later(self.waiting_s, self.transport.abort)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called some fifteen times a request, so it does no more than it must: the head is judged when it is whole.

        What comes later is a trailer: whoever stands in front of us has judged the head only.
        """
        if self._in_head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        headers = self.headers
        if len(headers) > HEADERS_MOST or len(self.url) + _size(headers) > self.head_bytes_most:
            raise HeadTooLargeError
        named = dict(headers)
        self.expect_100_continue = named.get(b"expect", b"").lower() == b"100-continue"
        if self.url[:1] != b"/":
            self._take_authority()
        super().on_headers_complete()
        if self.parser is not None and self.parser.should_upgrade():  # the parser reads nothing after this request
            self.cycle.keep_alive = False
        self._in_head = False
        self.scope["extensions"] = {EXTENSION: Channel(self, self.cycle, named)}  # type: ignore[typeddict-unknown-key,typeddict-item]

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing to warn of: what asks for another protocol is answered in this one."""

    def on_response_complete(self) -> None:
        """As uvicorn's; but its timer for idle connections is made anew after every answer, and this one is not."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.idle_s, self._close_if_idle)

    def _take_authority(self) -> None:
        """A target with a host in it: that counts, and the Host header does not (RFC 9112, section 3.2.2)."""
        target = httptools.parse_url(self.url)
        if target.host:
            port = b":%d" % target.port if target.port else b""
            host = b"[" + target.host + b"]" if b":" in target.host else target.host
            self.headers[:] = [header for header in self.headers if header[0] != b"host"]
            self.headers.append((b"host", host + port))

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Call back when the connection is lost, or at once if it is, until `on_gone` is set to None."""
        self.on_gone = on_gone
        self.flow.resume_reading()  # a long body has paused it, and an end is only seen by reading
        if self._lost:
            on_gone()

    def _close_if_idle(self) -> None:
        self._idle_timer = None
        if not self.cycle.response_complete or self._waiting_timer is not None:
            return  # a request is under way or on its way; the end of its answer sets this timer again
        left_s = self._idle_since + self.idle_s - self.loop.time()
        if left_s > 0:
            self._idle_timer = self.loop.call_later(left_s, self._close_if_idle)
        else:
            self.transport.close()

    def _stop_waiting(self) -> None:
        if self._waiting_timer is not None:
            self._waiting_timer.cancel()
            self._waiting_timer = None

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None


def _size(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """The bytes of all names and values."""
    return sum(map(len, chain.from_iterable(headers)))
