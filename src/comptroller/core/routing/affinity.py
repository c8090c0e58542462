"""Affinity: which routes hold a session for want of budget, so that it does not go to and fro between two models.

A provider's prompt cache belongs to a model: whoever changes the model at every call pays for every prompt in full.
"""

from __future__ import annotations

NOTHING: frozenset[str] = frozenset()
_MOST = 50_000  # sessions; the oldest are forgotten, which costs them one change too many


class Affinity:
    """The routes that hold each session, by the names of their rules. A start knows none."""

    def __init__(self) -> None:
        self._held: dict[str, frozenset[str]] = {}

    def holding(self, session: str) -> frozenset[str]:
        """What holds a session since its last call."""
        return self._held.get(session, NOTHING)

    def hold(self, session: str, rules: frozenset[str]) -> None:
        """What holds it from now on."""
        if not rules:
            self._held.pop(session, None)
            return
        if session not in self._held and len(self._held) >= _MOST:
            del self._held[next(iter(self._held))]
        self._held[session] = rules
