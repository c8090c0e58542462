"""Calls that wait for an answer: who is woken by what."""

from __future__ import annotations

import asyncio


class Waiting:
    """The calls of one process that wait for tickets. They hold nothing."""

    def __init__(self) -> None:
        self._calls: dict[str, set[asyncio.Event]] = {}  # by ticket

    def join(self, ticket: str) -> asyncio.Event:
        """Wait for a ticket. Set once it is decided, or something else may have changed the answer."""
        woken = asyncio.Event()
        self._calls.setdefault(ticket, set()).add(woken)
        return woken

    def leave(self, ticket: str, woken: asyncio.Event) -> None:
        """It waits no more."""
        calls = self._calls.get(ticket, set())
        calls.discard(woken)
        if not calls:
            self._calls.pop(ticket, None)

    def wake(self, ticket: str) -> None:
        """Whoever waits for this ticket looks again."""
        for woken in self._calls.get(ticket, ()):
            woken.set()

    def wake_all(self) -> None:
        for calls in self._calls.values():
            for woken in calls:
                woken.set()
