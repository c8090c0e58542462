"""A listener on a real socket with any application behind it, and a caller who says bytes."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from comptroller.gateway.serving import Listener

PATIENCE_S = 30.0
DRIP_S = 0.03


@asynccontextmanager
async def listening(app: Callable[..., Awaitable[None]]) -> AsyncIterator[int]:
    listener = Listener(app, "127.0.0.1", 0, head_bytes=4096, stalled_s=PATIENCE_S)
    await listener.start()
    try:
        yield listener.port
    finally:
        await listener.stop()


class Caller:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()

    async def answer(self) -> tuple[bytes, Any]:
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
        return head[:12], json.loads(await self._reader.readexactly(length))

    async def everything(self) -> bytes:
        """All that comes until the gateway hangs up."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.read()

    async def closed(self) -> None:
        """Until the gateway hangs up; the test fails if it does not."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while await self._reader.read(65_536):
                    pass
            except ConnectionError:
                pass

    async def drip(self, piece: bytes) -> None:
        """Say the same again and again until the gateway hangs up."""
        ended = asyncio.ensure_future(self.closed())
        while not ended.done():
            try:
                await self.say(piece)
            except ConnectionError:
                break
            await asyncio.sleep(DRIP_S)  # sleep: the drip of a slow caller
        await ended


@asynccontextmanager
async def calling(port: int) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()
