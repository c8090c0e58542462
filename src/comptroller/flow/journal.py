"""The border to the journal: what the story needs from whoever keeps its events.

`store/journal.py` implements it. Order of `append` and `commit` calls is the order on disk.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from comptroller.flow.records import Event


class LedgerUnavailableError(Exception):
    """An event could not be made durable: disk full, store locked, writer gone, or another owner."""


class Journal(Protocol):
    @property
    def epoch(self) -> int:
        """The fencing epoch of this owner of the store."""
        ...

    def commit(self, event: Event) -> asyncio.Future[None]:
        """Queue an event; the future is done once it is durable, or raises LedgerUnavailableError.

        An event whose future raised is not on disk and never will be.
        """
        ...

    def append(self, event: Event) -> None:
        """Queue an event that must reach the disk but that nobody waits for; it is kept and retried until it does."""
        ...

    def offer(self, event: Event) -> None:
        """Queue an event that may be dropped and counted when the writer cannot keep up (refusals)."""
        ...
