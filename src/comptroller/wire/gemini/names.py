"""The two spellings of a field: Google's JSON takes `maxOutputTokens` and `max_output_tokens` for the same.

What both spellings say at once, and what only some parsers would take for a field, is refused: a body that is
bounded by one reading could be billed by another. Source: the JSON mapping of protocol buffers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from comptroller.wire.body import shown
from comptroller.wire.checks import Invalid

V = TypeVar("V")
_CAPITAL = re.compile(r"[A-Z]")


class Names:
    """The fields of one kind of object, by their usual spelling."""

    def __init__(self, usual: Iterable[str]) -> None:
        self.usual = frozenset(usual)
        self._spellings = {spelling: name for name in self.usual for spelling in (name, snake(name))}
        self._folded = {_folded(name) for name in self.usual}

    def read(self, given: Mapping[str, V], where: str = "") -> dict[str, V]:
        """The same object with its known fields spelled as usual; raises Invalid for one that is not clear."""
        found: dict[str, V] = {}
        for name, value in given.items():
            usual = self._spellings.get(name)
            if usual is None:
                if _folded(name) in self._folded:
                    raise _misspelt(name, where)
                usual = name
            if usual in found:
                raise Invalid(f"`{where}{usual}` stands twice, in two spellings.", f"{where}{usual}", "Send it once.")
            found[usual] = value
        return found

    def spelled(self, given: Iterable[str], usual: str) -> str:
        """How an object that was read spells a field; as usual if it has none."""
        other = snake(usual)
        return other if other in given else usual


def snake(name: str) -> str:
    """A name in lower case with underscores."""
    return _CAPITAL.sub(lambda capital: f"_{capital[0].lower()}", name)


def _folded(name: str) -> str:
    return name.replace("_", "").casefold()


def _misspelt(name: str, where: str) -> Invalid:
    hint = "Write it in camelCase: some servers read other spellings as the same field, and others do not."
    return Invalid(f"The field {shown(name)} is not written as the API writes it.", f"{where}{name[:64]}", hint)
