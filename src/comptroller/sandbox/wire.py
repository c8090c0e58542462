"""The connection under a request: seeing that the client left, and cutting it off hard.

ASGI lets an application neither abort a connection nor write bytes that are not HTTP, which are the
faults that a gateway must be tried with. `LinkProtocol` hands the application a `Link` through the
scope's `extensions`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from comptroller.sandbox.errors import ApiError, ClientGone, Refusal

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, HTTPScope

LINK_EXTENSION = "comptroller.sandbox.link"

Headers = tuple[tuple[bytes, bytes], ...]

_JSON = b"application/json"
_CLOSE: Headers = ((b"connection", b"close"),)


class Link:
    """One client connection. uvicorn runs one request on it at a time, so there is one waiter at most."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.closed = False
        self._transport = transport
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None

    def connection_lost(self) -> None:
        """Called by the protocol: the connection is gone, whoever ended it."""
        self.closed = True
        self._wake(self._waiter)

    async def pause(self, delay_s: float) -> None:
        """Sleep; returns early when the connection goes away during it."""
        if self.closed:
            await asyncio.sleep(delay_s)
            return
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_later(delay_s, self._wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""
        if not self.closed:
            self._waiter = self._loop.create_future()
            await self._waiter

    async def cut(self, *, reset: bool = False) -> None:
        """Close the connection after what was written: an unfinished answer, with a TCP reset if asked."""
        if reset:
            connection = cast("socket.socket", self._transport.get_extra_info("socket"))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.close()
        await self.wait_closed()

    def write_raw(self, data: bytes) -> None:
        """Write bytes past the HTTP server."""
        self._transport.write(data)

    @staticmethod
    def _wake(waiter: asyncio.Future[None] | None) -> None:
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class LinkProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with the connection handed to the application."""

    link: Link

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Make the link of this connection."""
        super().connection_made(transport)
        self.link = Link(transport, self.loop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that runs on this connection."""
        super().connection_lost(exc)
        self.link.connection_lost()

    def on_message_begin(self) -> None:
        """Put the link into the request's scope."""
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {LINK_EXTENSION: self.link}


class Exchange:
    """One request and its answer, over ASGI."""

    def __init__(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        self.method = scope["method"]
        self.path = scope["path"]
        self.query = scope["query_string"]
        self.headers = dict(scope["headers"])
        self.link: Link = cast("dict[str, Any]", scope.get("extensions"))[LINK_EXTENSION]
        self.status: int | None = None
        self.complete = False
        self._receive = receive
        self._send = send

    async def read_body(self, most_bytes: int) -> bytes:
        """Read the whole body. Raises ApiError (413) beyond `most_bytes` and ClientGone on a hang-up."""
        body = bytearray()
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGone
            body += message["body"]
            if len(body) > most_bytes:
                raise ApiError(Refusal(413, f"The body is larger than {most_bytes} bytes.", headers=_CLOSE))
            if not message["more_body"]:
                return bytes(body)

    async def start(self, status: int, headers: Headers) -> None:
        """Send status and headers."""
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Send a part of the body; waits while the client reads more slowly than we write."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        if not more:
            self.complete = not self.link.closed

    async def respond(self, status: int, body: bytes, headers: Headers = (), content_type: bytes = _JSON) -> None:
        """Send a whole answer."""
        length = (b"content-length", str(len(body)).encode())
        await self.start(status, ((b"content-type", content_type), length, *headers))
        await self.write(body, more=False)
