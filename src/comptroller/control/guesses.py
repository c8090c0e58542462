"""How often secrets were guessed wrongly: the bound on trying."""

from __future__ import annotations

import asyncio

from comptroller.core.instant import NANOS_PER_SECOND

MOST_GUESSES = 10  # of one secret ...
GUESS_WINDOW_S = 60  # ... in so long
MOST_LOOKS = 2  # at once: each takes one of the few threads in which names of providers are resolved, too


class Guesses:
    """How often a secret was guessed wrongly in the last minute. Only of secrets that there are, so they are few."""

    def __init__(self) -> None:
        self._wrong: dict[str, list[int]] = {}
        self.looking = asyncio.Semaphore(MOST_LOOKS)

    def wrong(self, secret_id: str, now_ns: int) -> None:
        self._wrong[secret_id] = [*self._recent(secret_id, now_ns), now_ns]

    def too_many(self, secret_id: str, now_ns: int) -> bool:
        return len(self._recent(secret_id, now_ns)) >= MOST_GUESSES

    def _recent(self, secret_id: str, now_ns: int) -> list[int]:
        return [at for at in self._wrong.get(secret_id, ()) if now_ns - at < GUESS_WINDOW_S * NANOS_PER_SECOND]
