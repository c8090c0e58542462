"""What a message holds, looked at without its meaning: a text, or parts of which some are text; and how large it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec

from comptroller.wire.body import is_array, is_object

_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


def texts_in(content: object) -> tuple[str, ...]:
    """The texts of a content: of a string, of a part or of an array of parts that have a `text`."""
    if isinstance(content, str):
        return (content,)
    parts = content if is_array(content) else (content,)
    found: list[str] = []
    for part in parts:
        text = part.get("text") if is_object(part) else part
        if isinstance(text, str):
            found.append(text)
    return tuple(found)


def count(content: object, is_one: Callable[[dict[str, object]], bool]) -> int:
    """How many parts of a content, at its first level, are of a kind."""
    return sum(is_one(part) for part in (content if is_array(content) else (content,)) if is_object(part))


def array_of(raw: msgspec.Raw | None) -> list[object]:
    """The values of a field as it came; none where it is no array."""
    value = None if raw is None else cast("object", msgspec.json.decode(raw))
    return value if is_array(value) else []


def raws_of(raw: msgspec.Raw | None) -> list[msgspec.Raw]:
    """The values of a field, each as it came."""
    return [] if raw is None or not bytes(raw).startswith(b"[") else _RAWS.decode(raw)


def bytes_of(raw: msgspec.Raw | None) -> int:
    """Bytes of a field as it came."""
    return 0 if raw is None else len(bytes(raw))


def size(value: object) -> int:
    """Bytes of a decoded value: of a text those of the text, of anything else those of its JSON."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode())
    return 0 if value is None else len(_ENCODER.encode(value))


def text_of(value: object) -> str:
    """A text, or nothing."""
    return value if isinstance(value, str) else ""
