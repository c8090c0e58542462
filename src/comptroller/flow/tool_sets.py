"""Sets of tools that were offered to models, by the digest of their definitions; in memory, and bounded."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from comptroller.core.refusal import Refusal

SETS_KEPT = 500  # of more, those that were offered longest ago are forgotten


class ToolSet(msgspec.Struct, frozen=True, gc=False):
    """The functions behind one digest."""

    digest: str
    names: tuple[str, ...]
    said_ns: int  # when the journal was told of them


class No(msgspec.Struct, frozen=True, gc=False):
    """A function that stands for a tool which a caller may not call, and why."""

    function: str
    tool: str
    refusal: Refusal


class Noes(msgspec.Struct, frozen=True, gc=False):
    """Those of one set, for one session and version of the registry."""

    of: tuple[No, ...]
    until_ns: int  # when they are looked for anew


class ToolSets:
    """Those that were offered lately."""

    def __init__(self, most: int = SETS_KEPT) -> None:
        self._most = most
        self._sets = OrderedDict[str, ToolSet]()
        self._noes = OrderedDict[tuple[str, str, int], Noes]()

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

    def noes(self, key: tuple[str, str, int]) -> Noes | None:
        """What was found of a set, by its digest, a session and a version of the registry."""
        return self._noes.get(key)

    def keep_noes(self, key: tuple[str, str, int], noes: Noes) -> None:
        """It was found just now."""
        self._noes[key] = noes
        self._noes.move_to_end(key)
        if len(self._noes) > 2 * self._most:
            self._noes.popitem(last=False)
