"""Rounds: which states of ours clients have sent back (elicit.py), so that each is good once."""

from __future__ import annotations

from collections import OrderedDict

USED_MOST = 10_000


class UsedStates:
    """States that were sent back since the start. Bounded: one that is forgotten still lets nothing through."""

    def __init__(self, most: int = USED_MOST) -> None:
        self._most = most
        self._used = OrderedDict[str, None]()

    def take(self, nonce: str) -> bool:
        """Whether this is its first use."""
        if nonce in self._used:
            return False
        self._used[nonce] = None
        if len(self._used) > self._most:
            self._used.popitem(last=False)
        return True
