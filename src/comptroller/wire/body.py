"""Strict JSON for bodies that strangers send: what we read is what every other parser reads, or it is refused.

Parsers differ on duplicate keys (first or last wins), NaN, broken UTF-8 and depth. A body that another
parser could read differently would be bounded by one reading and billed by another.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import Any, TypeGuard, cast

import msgspec

from comptroller.core.refusal import Refusal

MOST_LEVELS = 100  # no dialect comes near; common parsers give up between 128 and 1,000

# What reading costs grows with the values in a body, not with the length of its texts. Measured: 10 MB of the worst
# that passes cost 0.2 to 0.3 s. Honest: an agent's body of 88 KB has 3,000 marks; a thousand messages have 10,000.
MOST_MARKS = 100_000  # braces and brackets that open, and commas; not those inside of texts
MOST_NUMBER_BYTES = 500_000  # all numbers together (true, false and null with them): parsing many digits is slow

_SHOWN_CHARACTERS = 64  # of a caller's own text in a sentence

_CONTAINERS = frozenset({dict, list})
_DECODER = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()


def read_object(body: bytes) -> dict[str, object] | Refusal:
    """The JSON object in a request body, or why it is none.

    Refused (`request_invalid`): invalid UTF-8, malformed JSON, NaN and Infinity, numbers that no double or
    4,300 digits hold, lone surrogates, more than 100 levels, a key that stands twice in one object at any
    depth, anything but an object; and before it is parsed: more values or digits than are worth the reading.
    """
    costly = _too_costly(body)
    if costly is not None:
        return costly
    try:
        value = cast("object", _DECODER.decode(body))
    except RecursionError:
        return _too_deep()
    except ValueError as error:
        return _malformed(body, error)
    if not is_object(value):
        return invalid(f"The request body is a JSON {json_name(value)}, and an object was expected.")
    # Fewer brackets than levels cannot be too deep; those inside of strings only cost us the exact look.
    if body.count(b"{") + body.count(b"[") > MOST_LEVELS and _levels_exceed(value):
        return _too_deep()
    twice = None if _surely_unique(body, value) else _duplicate_key(body)
    if twice is not None:
        return invalid(
            f"The key {shown(twice)} stands twice in one object of the request body.",
            "Send every key once: parsers differ on which of the two counts.",
            param=twice[:_SHOWN_CHARACTERS],
        )
    return value


_MEND = "Correct that in the request, and send it again."


def invalid(sentence: str, hint: str = "", param: str | None = None) -> Refusal:
    """A refusal of the request itself. Where there is no better hint, the sentence says what to mend."""
    return Refusal(code="request_invalid", sentence=sentence, hint=hint or _MEND, param=param)


def is_object(value: object) -> TypeGuard[dict[str, object]]:
    """Whether a decoded JSON value is an object; its keys are strings then."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[object]]:
    """Whether a decoded JSON value is an array."""
    return isinstance(value, list)


def json_name(value: object) -> str:
    """What JSON calls the type of a decoded value."""
    names: dict[type, str] = {type(None): "null", bool: "boolean", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "number")


def shown(text: str) -> str:
    """A caller's own text, quoted and short enough for a sentence."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")


def _too_costly(body: bytes) -> Refusal | None:
    if len(body) <= MOST_MARKS or (len(body) <= MOST_NUMBER_BYTES and _marks(body) <= MOST_MARKS):
        return None  # it cannot have more marks than bytes
    outside = _outside_of_texts(body)
    if outside is None or _marks(outside) > MOST_MARKS:
        return invalid(
            f"The request body has more than {MOST_MARKS:,} values (braces, brackets and commas outside of texts).",
            "Send data as text, in one string, or leave out what the model does not need.",
        )
    if len(outside) > MOST_NUMBER_BYTES and len(outside.translate(None, b"{}[]:, \t\r\n")) > MOST_NUMBER_BYTES:
        return invalid(
            f"The request body has more than {MOST_NUMBER_BYTES:,} bytes of numbers.",
            "Send them as text, in one string, or with fewer digits.",
        )
    return None


def _marks(text: bytes) -> int:
    return text.count(b"{") + text.count(b"[") + text.count(b",")


def _outside_of_texts(body: bytes) -> bytes | None:
    """A JSON body without its strings; None if those alone are too many. A body that is no JSON gives anything."""
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    # Of the values that two marks part, each has at most two strings: itself and its key.
    if unescaped.count(b'"') > 4 * (MOST_MARKS + 1):
        return None
    return b"".join(unescaped.split(b'"')[::2])


def _malformed(body: bytes, error: ValueError) -> Refusal:
    try:
        body.decode()
    except UnicodeDecodeError as broken:
        return invalid(f"The request body is not valid UTF-8 at byte {broken.start}.")
    detail = str(error).removeprefix("JSON is malformed: ")
    return invalid(f"The request body is not valid JSON: {detail}.")


def _too_deep() -> Refusal:
    return invalid(f"The request body is nested deeper than {MOST_LEVELS} levels.")


def _levels_exceed(value: object) -> bool:
    """Level by level, so that no depth can exhaust our own stack."""
    level: list[Any] = [value]
    for _ in range(MOST_LEVELS):
        inside = chain.from_iterable([each.values() if each.__class__ is dict else each for each in level])
        level = [each for each in inside if each.__class__ in _CONTAINERS]
        if not level:
            return False
    return True


def _surely_unique(body: bytes, value: dict[str, object]) -> bool:
    """A proof that no key stands twice, of about a tenth of the cost of looking at every object.

    `value` is made of dicts, so its encoding holds every key once. If that encoding is the body itself, with
    or without the white space between its tokens, the body holds every key once. Most clients send compact
    JSON and need only the first comparison; a body that spells a string or number in another way proves nothing.
    """
    encoded = _ENCODER.encode(value)
    return encoded == body or (len(encoded) < len(body) and encoded == msgspec.json.format(body, indent=-1))


class _Duplicate(Exception):
    pass


def _check_pairs(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) == len(pairs):
        return
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _Duplicate(key)
        seen.add(key)


_EVERY_OBJECT = json.JSONDecoder(object_pairs_hook=_check_pairs, parse_int=str, parse_float=str)


def _duplicate_key(body: bytes) -> str | None:
    """The first key that stands twice in one object. The body is known to be JSON of bounded depth."""
    try:
        _EVERY_OBJECT.decode(body.decode())
    except _Duplicate as twice:
        return str(twice.args[0])
    return None
