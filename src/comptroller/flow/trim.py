"""Trim: a request with fewer of its messages, and with shorter results of tools, so that it fits."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.core.registry.contexts import Cap
from comptroller.core.work.conversation import Entry
from comptroller.core.work.trim import Piece, cut, pieces
from comptroller.flow.dialect import DialectRequest, Outlined

_ENCODER = msgspec.json.Encoder()
_NOT_ENOUGH = "Trimming cannot bring it there: what systems say, the first messages and the newest ones stay."


@runtime_checkable
class Trimmable(Outlined, Protocol):
    """A request that can be made shorter, and is one of its dialect again."""

    def entries(self) -> Sequence[Entry]: ...
    def messages(self) -> Sequence[msgspec.Raw]: ...
    def with_messages(self, messages: Sequence[msgspec.Raw]) -> bytes: ...
    def shortened(self, message: msgspec.Raw, most_bytes: int, by: str) -> object: ...


class Trimmed(msgspec.Struct, frozen=True, gc=False):
    """A shorter request: read again, and what was done to it in a few words."""

    body: bytes
    request: DialectRequest
    detail: str


def trim(
    request: Trimmable,
    cap: Cap,
    read: Callable[[bytes], DialectRequest | Refusal],
    fits: Callable[[Trimmable, bytes], bool],
) -> Trimmed | str:
    """The request with as little left out as brings it within the cap; a sentence on why it cannot be.

    `read`: what a body asks for. `fits`: whether a request and its body are within the cap. Reads and writes all of it
    several times: call it beside the event loop.
    """
    messages, entries = list(request.messages()), request.entries()
    if len(messages) != len(entries):
        return "There is nothing in it that could be left out."
    shortened = _shorten(request, messages, entries, cap)
    found = pieces(entries, [len(bytes(each)) for each in messages], cap.keep_first)
    if found is None:
        return "It has messages of a kind that this gateway does not know, so nothing is left out of it."

    def without(count: int) -> Trimmed | None:
        body = request.with_messages(_left(messages, found[:count]))
        shorter = read(body)
        if not isinstance(shorter, Trimmable) or not fits(shorter, body):
            return None
        left_out = sum(len(piece.places) for piece in found[:count])
        return Trimmed(body, shorter, _said(left_out, len(messages), shortened))

    least = bisect_left(range(len(found) + 1), True, key=lambda count: without(count) is not None)
    fitting = without(least) if least <= len(found) else None
    if fitting is None:
        return _NOT_ENOUGH
    # A few more than need be, if that cuts the next turns at the same place.
    more = cut(found, least, len(fitting.body))
    return fitting if more == least else without(more) or fitting


def _shorten(request: Trimmable, messages: list[msgspec.Raw], entries: Sequence[Entry], cap: Cap) -> int:
    """Put shorter results of tools in place of longer ones, where the cap says how long they may be; how many."""
    most = cap.limits.tool_result_bytes
    if most is None:
        return 0
    count = 0
    for place, entry in enumerate(entries):
        over = sum(result.bytes > most for result in entry.results)
        if over:
            count += over
            messages[place] = msgspec.Raw(_ENCODER.encode(request.shortened(messages[place], most, cap.name)))
    return count


def _left(messages: Sequence[msgspec.Raw], without: Sequence[Piece]) -> list[msgspec.Raw]:
    gone = {place for piece in without for place in piece.places}
    return [message for place, message in enumerate(messages) if place not in gone]


def _said(left_out: int, messages: int, shortened: int) -> str:
    """What was done, as an effect says it."""
    parts = [f"{left_out} of {messages} messages left out"] if left_out else []
    if shortened:
        parts.append(f"{shortened} tool result{'s' if shortened > 1 else ''} shortened")
    return ", ".join(parts)
