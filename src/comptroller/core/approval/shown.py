"""What whoever answers may see of a tool's arguments: enough to know what they approve, and no secrets.

It is for people: an approval is bound to the digest of all of the arguments, whatever of them is shown.
"""

from __future__ import annotations

import json
from typing import cast

import msgspec

from comptroller.core.tool.secrets import MASKED, is_secret_name, masked

PARSED_MOST = 1024 * 1024  # bytes of arguments that are looked into
_STRING_MOST = 1000  # characters of one string
_ITEMS_MOST = 100  # of one array or object
_DEEPEST = 32


def shown(arguments: bytes, most: int) -> str:
    """Arguments as JSON of at most so many characters, secrets masked. Nothing in it acts on a terminal or turns text
    around. Empty: none are shown.
    """
    if most <= 0:
        return ""
    if len(arguments) > PARSED_MOST:
        return _cut(f"[{len(arguments)} bytes: more than is looked into]", most)
    try:
        value = _masked(msgspec.json.decode(arguments), 0)
    except (msgspec.DecodeError, RecursionError):
        return _cut("[no JSON that can be shown]", most)
    return _cut(visible(json.dumps(value, ensure_ascii=False)), most)


def visible(text: str) -> str:
    """Text in which every character that is not seen, or that moves others, is written as an escape."""
    return text if text.isprintable() else "".join(map(_seen, text))


def _masked(value: object, depth: int) -> object:
    if isinstance(value, str):
        text = masked(value[: 2 * _STRING_MOST])
        if len(value) <= _STRING_MOST:
            return text
        return f"{text[:_STRING_MOST]} [{len(value)} characters, of which the first {_STRING_MOST} are shown]"
    if isinstance(value, list):
        if depth >= _DEEPEST:
            return "[...]"
        items = cast("list[object]", value)
        found = [_masked(each, depth + 1) for each in items[:_ITEMS_MOST]]
        return found if len(items) <= _ITEMS_MOST else [*found, f"[{len(items) - _ITEMS_MOST} more]"]
    if isinstance(value, dict):
        if depth >= _DEEPEST:
            return "{...}"
        members = list(cast("dict[str, object]", value).items())
        named = {name[:_STRING_MOST]: _of_name(name, each, depth) for name, each in members[:_ITEMS_MOST]}
        return named if len(members) <= _ITEMS_MOST else named | {"...": f"[{len(members) - _ITEMS_MOST} more]"}
    return value


def _of_name(name: str, value: object, depth: int) -> object:
    is_secret = isinstance(value, str) and value and is_secret_name(name)
    return MASKED if is_secret else _masked(value, depth + 1)


def _seen(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} [{len(text)} characters, of which the first {most} are shown]"
