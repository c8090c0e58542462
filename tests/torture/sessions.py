"""The sessions that clients share: a credential each, renewed when it is spent or was ended."""

import asyncio
from collections.abc import Awaitable, Callable

Mint = Callable[[str], Awaitable[str]]


class Sessions:
    """One slot for each session; several clients use the same one at once."""

    def __init__(self, identities: tuple[str, ...], mint: Mint) -> None:
        self._identities = identities
        self._mint = mint
        self._credentials: list[str | None] = [None] * len(identities)
        self._locks = [asyncio.Lock() for _ in identities]

    def __len__(self) -> int:
        return len(self._identities)

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
        return credential

    def forget(self, slot: int) -> None:
        """The session was ended: the next caller gets a new one."""
        self._credentials[slot] = None
