"""uvicorn's HTTP protocol with what it leaves open: bounds on the request head, on callers that do not read, and on
those that hold a connection without asking anything.

It also lends the application two things that ASGI does not have: to drop a connection at once, and to be called
back when the caller hangs up, without a task that waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from comptroller.gateway.reply import DROP_EXTENSION
from comptroller.gateway.request import WATCH_EXTENSION

HEADERS_MOST = 128


class HeadTooLargeError(Exception):
    """The request head passed its bound; the parser turns this into a 400 and a closed connection."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection of a caller."""

    head_bytes_most = 64 * 1024
    stalled_s = 60.0
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
        self._lent: dict[str, Callable[..., None]] = {}
        self._on_gone: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._waiting_timer = self.loop.call_later(self.waiting_s, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_stall_timer()
        super().connection_lost(exc)
        self._lost = True
        if self._on_gone is not None:
            self._on_gone()
        self._lent.clear()  # it leads back to us, and a ring would be left to the garbage collector

    def pause_writing(self) -> None:
        """The caller does not read. If that lasts, it is as gone as if it had hung up."""
        self._stall_timer = self.loop.call_later(self.stalled_s, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stop_stall_timer()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # While a request is answered its own clocks run. All else that comes is a head, or leads to none.
        if not self._in_head and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._waiting_timer is None:
            self._waiting_timer = self.loop.call_later(self.waiting_s, self.transport.abort)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._in_head = True
        self._lent = {DROP_EXTENSION: self._drop, WATCH_EXTENSION: self._watch}
        self.scope["extensions"] = self._lent  # type: ignore[typeddict-unknown-key,typeddict-item]

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: whoever stands in front of us has judged the head only
        self._count(len(name) + len(value))
        # What uvicorn does with a header, here: it is called some fifteen times a request.
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))
        if len(self.headers) > HEADERS_MOST:
            raise HeadTooLargeError

    def on_headers_complete(self) -> None:
        if self.url[:1] != b"/":
            self._take_authority()
        super().on_headers_complete()
        self._in_head = False

    def _take_authority(self) -> None:
        """A target with a host in it: that counts, and the Host header does not (RFC 9112, section 3.2.2)."""
        target = httptools.parse_url(self.url)
        if target.host:
            port = b":%d" % target.port if target.port else b""
            host = b"[" + target.host + b"]" if b":" in target.host else target.host
            self.headers[:] = [header for header in self.headers if header[0] != b"host"]
            self.headers.append((b"host", host + port))

    def _drop(self) -> None:
        """End the connection at once, and tell uvicorn that nobody waits for the end of the answer any more."""
        self.cycle.disconnected = True
        self.transport.abort()

    def _watch(self, on_gone: Callable[[], None] | None) -> None:
        """Call back when the connection is lost; None: not any more. A connection answers one request at a time."""
        self._on_gone = on_gone
        if on_gone is not None:
            self.flow.resume_reading()  # a long body has paused it, and an end is only seen by reading
            if self._lost:
                on_gone()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.head_bytes_most:
            raise HeadTooLargeError

    def _stop_waiting(self) -> None:
        if self._waiting_timer is not None:
            self._waiting_timer.cancel()
            self._waiting_timer = None

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
