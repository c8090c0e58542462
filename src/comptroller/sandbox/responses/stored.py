"""Responses that are stored, each under the key that it was made with: whoever has the key has them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from comptroller.sandbox.prompt import Segment
from comptroller.sandbox.responses.request import Read


@dataclass(frozen=True, slots=True)
class Entry:
    """One response that is stored, from the moment in which it is begun."""

    whole: Callable[[], bytes]
    conversation: tuple[Segment, ...]
    """What a further request goes on with."""
    items: tuple[object, ...]
    """Its input."""


class Stored:
    """The youngest responses of every key."""

    def __init__(self, most: int = 1_000) -> None:
        self._most = most
        self._entries: dict[tuple[str, str], Entry] = {}

    def keep(self, key: str, name: str, entry: Entry) -> None:
        """Store it; the oldest makes room."""
        self._entries[key, name] = entry
        if len(self._entries) > self._most:
            del self._entries[next(iter(self._entries))]

    def find(self, key: str, name: str) -> Entry | None:
        """What is stored under a name, for this key."""
        return self._entries.get((key, name))

    def forget(self, key: str, name: str) -> None:
        """Delete it."""
        self._entries.pop((key, name), None)

    def names(self) -> list[str]:
        """The ids of all that is stored, the oldest first."""
        return [name for _, name in self._entries]


def listed(read: Read) -> tuple[object, ...]:
    """The input of a request, item by item, as OpenAI lists it."""
    given = read.request.input
    if isinstance(given, str):
        content = [{"type": "input_text", "text": given}]
        return ({"id": "msg_0", "type": "message", "role": "user", "content": content},)
    items = (msgspec.json.decode(raw) for _, raw in read.items)
    return tuple({"id": f"msg_{number}", "type": "message", **item} for number, item in enumerate(items))
