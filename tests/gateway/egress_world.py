"""The world as the egress meets it: providers made of a script, on real loopback sockets, and a caller."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec

from comptroller.flow.upstream import Exchange, Origin, Timeouts, UpstreamFailure, UpstreamRequest
from comptroller.gateway.egress import Egress

LOOPS = [("asyncio", {"use_uvloop": True}), ("asyncio", {"use_uvloop": False})]
LOOP_NAMES = ["uvloop", "asyncio"]
PATIENCE_S = 20.0  # how long a fact may take on a slow machine before the test calls it untrue
LEAVING_S = 8.0  # the same for the end of a connection: sooner than its end for other reasons (connect_s, idle time)


def respond(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class Talk:
    """One connection, seen from the provider."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def hear(self) -> tuple[bytes, bytes]:
        """The next request: its head, its body."""
        head = await self.hear_head()
        length = next((line for line in head.split(b"\r\n") if line.startswith(b"content-length: ")), b": 0")
        return head, await self._reader.readexactly(int(length.split(b": ")[1]))

    async def hear_head(self) -> bytes:
        return await self._reader.readuntil(b"\r\n\r\n")

    async def hear_end(self) -> None:
        """Whatever else comes, until the gateway closes."""
        while await self._reader.read(1 << 16):
            pass

    async def say(self, *pieces: bytes) -> None:
        """Each piece in a packet of its own."""
        for piece in pieces:
            if self._writer.is_closing():
                raise ConnectionResetError
            self._writer.write(piece)
            await self._writer.drain()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def end(self) -> None:
        self._writer.close()

    async def reset(self) -> None:
        """End the connection the rude way (RST)."""
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()


Script = Callable[[Talk], Awaitable[None]]


def after_the_request(*said: bytes, then: str = "wait") -> Script:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(*said)
        if then == "end":
            await talk.end()
        elif then == "reset":
            await talk.reset()

    return script


async def never(talk: Talk) -> None:
    """Takes the connection and says nothing."""


class World:
    """A provider that follows a script on each connection; a connection stays open when its script is over."""

    def __init__(self, script: Script, host: str) -> None:
        self._script, self._host = script, host
        self.port = 0
        self.connections = 0
        self.open = 0
        self._left = asyncio.Event()

    def origin(self, **changes: object) -> Origin:
        origin = Origin(scheme="http", host=self._host, port=self.port, allow_private=True)
        return msgspec.structs.replace(origin, **changes)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            talk = Talk(reader, writer)
            await self._script(talk)
            await talk.hear_end()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the gateway left in the middle: what is to be seen of it, `open` shows
        finally:
            self.open -= 1
            self._left.set()
            writer.close()

    async def all_left(self, but: int = 0) -> None:
        """Until no more than so many connections are open; fails the test if that does not come."""
        async with asyncio.timeout(LEAVING_S):
            while self.open > but:
                self._left.clear()
                await self._left.wait()


@asynccontextmanager
async def provider(
    script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[World]:
    world = World(script, host)
    server = await asyncio.start_server(world.serve, "127.0.0.1", 0, ssl=tls, limit=1 << 24, backlog=512)
    world.port = server.sockets[0].getsockname()[1]
    try:
        yield world
        await world.all_left()  # every test ends with a look whether a connection leaked
    finally:
        server.close()


@asynccontextmanager
async def egress_to(egress: Egress) -> AsyncIterator[Egress]:
    try:
        yield egress
    finally:
        await egress.close()


def exchange(egress: Egress, origin: Origin, **changes: object) -> Exchange:
    """A small call to a provider; `buffer_limit_bytes` and `on_overflow` and fields of the request can be named."""
    limit = changes.pop("buffer_limit_bytes", 1 << 20)
    on_overflow = changes.pop("on_overflow", lambda: None)
    request = UpstreamRequest(
        origin=origin,
        path="/v1/chat/completions",
        headers=[(b"content-type", b"application/json")],
        body=b'{"model": "m"}',
        timeouts=within(),
    )
    return egress.open(
        msgspec.structs.replace(request, **changes),
        buffer_limit_bytes=limit,  # pyright: ignore[reportArgumentType]
        on_overflow=on_overflow,  # pyright: ignore[reportArgumentType]
    )


class Answer(msgspec.Struct):
    status: int
    headers: dict[bytes, bytes]
    body: bytes


async def ask(egress: Egress, origin: Origin, *, stream: bool = False, **changes: object) -> Answer:
    call = exchange(egress, origin, **changes)
    try:
        await call.start()
        body = b"".join([chunk async for chunk in call.chunks()]) if stream else await call.read(1 << 24)
        return Answer(call.status, dict(call.headers), body)
    finally:
        call.abort()


class Failed(msgspec.Struct):
    kind: str
    written: bool
    before: bytes
    detail: str


async def ask_in_vain(egress: Egress, origin: Origin, *, stream: bool = True, **changes: object) -> Failed:
    """The failure of a call that must fail, and the body bytes that came before it."""
    call = exchange(egress, origin, **changes)
    before = b""
    try:
        await call.start()
        if not stream:
            await call.read(1 << 24)
        async for chunk in call.chunks():
            before += chunk
    except UpstreamFailure as failure:
        return Failed(failure.kind, call.written, before, failure.detail)
    finally:
        call.abort()
    raise AssertionError(f"the call was answered: {call.status} {before!r}")


def within(**limits: float) -> Timeouts:
    """Patient in everything but what is named."""
    patient = Timeouts(connect_s=PATIENCE_S, first_byte_s=PATIENCE_S, idle_s=PATIENCE_S, total_s=PATIENCE_S)
    return msgspec.structs.replace(patient, **limits)
