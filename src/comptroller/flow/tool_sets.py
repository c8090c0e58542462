"""Sets of tools that were offered to models, by the digest of their definitions; in memory, and bounded."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

SETS_KEPT = 500  # of more, those that were offered longest ago are forgotten


class ToolSet(msgspec.Struct, frozen=True, gc=False):
    """The functions behind one digest."""

    digest: str
    names: tuple[str, ...]
    said_ns: int  # when the journal was told of them


class ToolSets:
    """Those that were offered lately."""

    def __init__(self, most: int = SETS_KEPT) -> None:
        self._most = most
        self._sets = OrderedDict[str, ToolSet]()

    def get(self, digest: str) -> ToolSet | None:
        """One of them."""
        found = self._sets.get(digest)
        if found is not None:
            self._sets.move_to_end(digest)
        return found

    def keep(self, tools: ToolSet) -> None:
        """It was offered just now."""
        self._sets[tools.digest] = tools
        if len(self._sets) > self._most:
            self._sets.popitem(last=False)
