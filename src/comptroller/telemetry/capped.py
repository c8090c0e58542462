"""Things by their labels, at most so many of them: whatever comes later is kept under labels that say `other`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

OTHER = "other"

K = TypeVar("K", bound=tuple[str, ...])
V = TypeVar("V")


class Capped(dict[K, V], Generic[K, V]):
    """Makes what is missing, until there are `most`; then `fold` says under which key it is kept.

    What `fold` returns comes on top, so it must have few values. A key that is there costs one look.
    """

    def __init__(self, most: int, make: Callable[[K], V], fold: Callable[[K], K]) -> None:
        super().__init__()
        self._most = most
        self._make = make
        self._fold = fold

    def __missing__(self, key: K) -> V:
        if len(self) >= self._most:
            key = self._fold(key)
            found = self.get(key)
            if found is not None:
                return found
        made = self[key] = self._make(key)
        return made
