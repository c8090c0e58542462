"""Calls that wait for an answer: who is woken by what."""

from __future__ import annotations

import asyncio

WAITING_MOST = 1_000  # of everybody: each is a connection that stays open, and all look again when a grant is given
WAITING_OF_ONE = 100  # and of one identity, so that one that parks its calls leaves room for the others


class Waiting:
    """The calls of one process that wait for tickets. They hold nothing."""

    def __init__(self) -> None:
        self._calls: dict[str, set[asyncio.Event]] = {}  # by ticket
        self._of: dict[asyncio.Event, str] = {}  # whose they are: an identity each

    def join(self, ticket: str, identity: str) -> asyncio.Event | None:
        """Wait for a ticket. Set once it is decided, or something else may have changed the answer. None: too many
        wait already.
        """
        if len(self._of) >= WAITING_MOST or list(self._of.values()).count(identity) >= WAITING_OF_ONE:
            return None
        woken = asyncio.Event()
        self._of[woken] = identity
        self._calls.setdefault(ticket, set()).add(woken)
        return woken

    def leave(self, ticket: str, woken: asyncio.Event) -> None:
        """It waits no more."""
        self._of.pop(woken, None)
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
