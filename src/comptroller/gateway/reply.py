"""The reply to a caller, over ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from comptroller.gateway.channel import Channel


class AsgiReply:
    """Implements flow.door.Reply."""

    __slots__ = ("_channel", "_send", "finished", "started")

    def __init__(self, channel: Channel, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]) -> None:
        self._channel = channel
        self._send = send
        self.started = False
        self.finished = False

    async def respond(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        if self._channel.respond(status, headers, body):
            self.started = self.finished = True
        else:
            await self.start(status, headers)
            await self.finish(body)

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        self.started = True

    async def send(self, chunk: bytes) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def finish(self, chunk: bytes = b"") -> None:
        self.finished = True
        await self._send({"type": "http.response.body", "body": chunk, "more_body": False})

    def drop(self) -> None:
        self.finished = True
        self._channel.drop()
