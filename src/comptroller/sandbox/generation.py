"""Generation in time: tokens are made at their pace, and billed at the moment they are made."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from comptroller.sandbox.bill import Line
from comptroller.sandbox.compose import Answer


class Pausing(Protocol):
    """Whoever an answer is made for: may leave."""

    @property
    def closed(self) -> bool: ...
    async def pause(self, delay_s: float) -> None:
        """Sleep; returns early when they leave during it."""
        ...


class Nobody:
    """In their place, where nobody waits: never leaves."""

    closed = False

    async def pause(self, delay_s: float) -> None:
        """Sleep."""
        await asyncio.sleep(delay_s)


class Generation:
    """The making of one answer. `position` is where delivery has come to; what is made runs `ahead` of it."""

    def __init__(
        self, answer: Answer, line: Line, link: Pausing, *, tokens_per_s: float, ahead: int, abort_stops: bool
    ) -> None:
        self.position = 0
        self._total = answer.output_tokens
        self._reasoning = answer.reasoning_tokens
        self._line = line
        self._link = link
        self._tokens_per_s = tokens_per_s
        self._ahead = ahead
        self._abort_stops = abort_stops
        self._started = time.monotonic()

    @property
    def stopped(self) -> bool:
        """Whether the client has left and that ends the work."""
        return self._link.closed and self._abort_stops

    async def pause(self, delay_s: float) -> bool:
        """Do nothing for a while; False when the client left and that ends the work."""
        until = time.monotonic() + delay_s
        while not self.stopped and (left := until - time.monotonic()) > 0:
            await self._link.pause(left)
        self._started = time.monotonic()
        return not self.stopped

    async def reach(self, position: int) -> bool:
        """Make and bill every token up to `position`; False when the client left and that ends the work."""
        target = min(position, self._total)
        while self.position < target:
            if self.stopped:
                return False
            if await self._wait_for_next():
                continue
            self._advance(1 if self._tokens_per_s else target - self.position)
        return not self.stopped

    async def finish(self) -> bool:
        """Make and bill the rest."""
        return await self.reach(self._total)

    async def _wait_for_next(self) -> bool:
        """Wait until the next token is due; says whether there was a wait (the client may have left in it)."""
        if not self._tokens_per_s:
            return False
        left = self._started + (self.position + 1) / self._tokens_per_s - time.monotonic()
        if left <= 0:
            return False
        await self._link.pause(left)
        return True

    def _advance(self, tokens: int) -> None:
        self.position += tokens
        made = min(self._total, self.position + self._ahead)
        self._line.generated(made, min(made, self._reasoning))
