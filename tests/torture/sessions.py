"""The sessions that clients share: a credential each, renewed when it is spent or was ended."""

import asyncio
import json
from collections.abc import Awaitable, Callable

Mint = Callable[[str], Awaitable[str]]


class Sessions:
    """One slot for each session; several clients use the same one at once."""

    def __init__(self, identities: tuple[str, ...], mint: Mint) -> None:
        self._identities = identities
        self._mint = mint
        self._credentials: list[str | None] = [None] * len(identities)
        self._locks = [asyncio.Lock() for _ in identities]
        self.minted = 0

    async def credential(self, slot: int, *, renew: bool = False) -> str:
        """The slot's credential; a fresh one if it has none, or if a new session is wanted."""
        if renew:
            self._credentials[slot] = None
        credential = self._credentials[slot]
        while credential is None:
            async with self._locks[slot]:
                credential = self._credentials[slot]
                if credential is None:
                    credential = self._credentials[slot] = await self._mint(self._identities[slot])
                    self.minted += 1
        return credential

    def forget(self, slot: int) -> None:
        """The session was ended: the next caller gets a new one."""
        self._credentials[slot] = None


async def post(port: int, path: str, body: object, bearer: str) -> tuple[int, bytes]:
    """A JSON request on the admin plane, on a connection of its own."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {bearer}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.encode() + content)
        answer = await reader.read()
    finally:
        writer.transport.abort()
    first, _, rest = answer.partition(b"\r\n")
    if not first:
        raise ConnectionResetError("the admin plane said nothing")
    return int(first.split(b" ", 2)[1]), rest.partition(b"\r\n\r\n")[2]
