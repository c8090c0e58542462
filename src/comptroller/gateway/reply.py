"""The reply to a caller, over ASGI."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

DROP_EXTENSION = "comptroller.drop"  # put into the scope by gateway/protocol.py


class AsgiReply:
    """Implements flow.door.Reply."""

    def __init__(
        self, scope: MutableMapping[str, Any], send: Callable[[MutableMapping[str, Any]], Awaitable[None]]
    ) -> None:
        self._scope = scope
        self._send = send
        self.started = False
        self.finished = False

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
        drop = self._scope.get("extensions", {}).get(DROP_EXTENSION)
        if drop is not None:
            drop()
