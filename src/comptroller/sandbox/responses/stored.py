"""Responses that are stored, each under the key that it was made with: whoever has the key has them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from comptroller.sandbox.prompt import Segment
from comptroller.sandbox.responses.request import Read
from comptroller.sandbox.wire import Exchange


class Work(Protocol):
    """The making of a response in the background (background.py)."""

    def whole(self) -> bytes: ...
    def cancel(self) -> None: ...
    async def follow(self, exchange: Exchange, after: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One response that is stored, from the moment in which it is begun."""

    whole: Callable[[], bytes]
    conversation: tuple[Segment, ...]
    """What a further request goes on with."""
    items: tuple[object, ...]
    """Its input."""
    work: Work | None = None
    """Who makes it, in the background."""


class Stored:
    """The youngest responses of every key."""

    def __init__(self, most: int = 1_000) -> None:
        self._most = most
        self._entries: dict[tuple[str, str], Entry] = {}

    def work_on(self, key: str, name: str, work: Work) -> None:
        """What is stored under a name is still being made."""
        entry = self._entries[key, name]
        self._entries[key, name] = replace(entry, whole=work.whole, work=work)

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
