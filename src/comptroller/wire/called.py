"""The tool calls of an answer, put together from the pieces in which a stream brings them; bounded.

What is read here goes on record and steers nothing: whatever cannot be read is left out, and nothing raises. What a
client makes of an answer is its own affair; a tool that is called through the gateway is judged there.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable

from comptroller.core.work.conversation import Call

_VERSION = re.compile(r"(?:_preview)?(?:_\d{8}|_\d{4}_\d{2}_\d{2})?$")
MOST_CALLS = 64  # of one answer
MOST_ARGUMENTS = 262_144  # characters of all arguments of one answer
_MOST_NAME = 256  # no API takes a name that is longer


class CallsInPieces:
    """The calls of one stream, by whatever its pieces are known by."""

    __slots__ = ("_arguments", "_names", "_room")

    def __init__(self) -> None:
        self._names: dict[Hashable, str] = {}
        self._arguments: dict[Hashable, list[str] | None] = {}  # None: too long to be kept
        self._room = MOST_ARGUMENTS

    def begin(self, key: Hashable, name: object) -> None:
        """A call; what is known of it already stays."""
        if len(self._names) < MOST_CALLS:
            self._names.setdefault(key, name[:_MOST_NAME] if isinstance(name, str) else "")
            self._arguments.setdefault(key, [])

    def more(self, key: Hashable, text: object) -> None:
        """A piece of its arguments."""
        pieces = self._arguments.get(key)
        if pieces is None or not isinstance(text, str):
            return
        self._room -= len(text)
        if self._room < 0:
            self._arguments[key] = None
        else:
            pieces.append(text)

    def whole(self) -> tuple[Call, ...]:
        """All that came so far, in the order in which they began."""
        return tuple(
            Call("", name, None if pieces is None else "".join(pieces))
            for name, pieces in zip(self._names.values(), self._arguments.values(), strict=True)
        )


def first_calls(calls: Iterable[Call]) -> tuple[Call, ...]:
    """The calls of a whole answer, as many as are looked at. One that says nothing of arguments has none."""
    return tuple(
        Call("", call.name, "" if call.arguments is None else call.arguments)
        for call, _ in zip(calls, range(MOST_CALLS), strict=False)
    )


def provider_tool(family: str, kind: str) -> str:
    """What a tool that an API defines itself is called here, whatever its version: FAMILY/TOOL."""
    return f"{family}/{_VERSION.sub('', kind)[:_MOST_NAME]}"
