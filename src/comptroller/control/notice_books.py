"""What the books keep of notices, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class Waiting(msgspec.Struct, frozen=True):
    """A notice that waits for one receiver."""

    id: str
    receiver: str
    name: str
    subject: str
    at_ns: int
    body: bytes
    since_ns: int  # from when it counts for how long it is tried
    tries: int
    next_at_ns: int
    error: str


class DeadLetter(msgspec.Struct, frozen=True):
    """A notice that was given up for one receiver."""

    id: str
    receiver: str
    name: str
    subject: str
    at_ns: int
    body: bytes
    tries: int
    error: str
    failed_at_ns: int


class NoticeBooks(Protocol):
    """The part of the books that is about notices."""

    async def waiting_notices(self) -> Sequence[Waiting]:
        """What is not delivered and not given up, the oldest first."""
        ...

    async def told(self, now_ns: int, most: int) -> Sequence[str]:
        """The keys under which something was told that may not be told again, the newest of them."""
        ...

    async def count_dead_letters(self) -> Mapping[str, int]:
        """By receiver."""
        ...

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        """Notices that were given up, newest first."""
        ...
