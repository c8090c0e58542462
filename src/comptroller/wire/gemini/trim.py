"""A generateContent request with fewer contents, or with shorter responses of functions."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.wire.body import is_array, is_object
from comptroller.wire.gemini.contents import CONTENT, PART, RESPONSE
from comptroller.wire.parts import size
from comptroller.wire.shorten import shortened

_ENCODER = msgspec.json.Encoder()
_KEYS = ("output", "error")  # that the API knows in the response of a function


def shorten(content: Mapping[str, object], most_bytes: int, by: str) -> Mapping[str, object]:
    """The content, with responses of functions that are too long made shorter."""
    parts = CONTENT.spelled(content, "parts")
    given = content.get(parts)
    if not is_array(given):
        return content
    return {**content, parts: [_part(each, most_bytes, by) for each in given]}


def _part(part: object, most_bytes: int, by: str) -> object:
    key = PART.spelled(part, "functionResponse") if is_object(part) else ""
    result = part.get(key) if is_object(part) else None
    if not is_object(part) or not is_object(result):
        return part
    name = RESPONSE.spelled(result, "response")
    told, beside = result.get(name), size(result.get("parts"))
    if size(told) + beside <= most_bytes or told is None:
        return part
    return {**part, key: {**result, name: _shorten(told, max(0, most_bytes - beside), by)}}


def _shorten(told: object, most_bytes: int, by: str) -> dict[str, object]:
    """A response with one text stays what it is; of any other, what it is as JSON becomes the text of one."""
    key, text = "output", _ENCODER.encode(told).decode()
    if is_object(told) and len(told) == 1:
        ((only, value),) = told.items()
        if isinstance(value, str):
            key, text = only, value
    elif is_object(told) and told.get("error"):
        key = "error"
    room = most_bytes
    while True:
        found: dict[str, object] = {key: shortened(text, room, by)}
        over = size(found) - most_bytes
        if over <= 0 or room <= 0:
            return found
        room = max(0, room - over)
