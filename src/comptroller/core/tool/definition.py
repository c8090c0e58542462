"""A tool as its server describes it: what of that is pinned, and the digest by which it is known.

Read strictly: what two parsers could read differently has no digest that means anything, and is never accepted.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import cast

import msgspec

from comptroller.core.tool.canonical import canonical

FIELDS = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
"""What tells a model, or whoever shows a tool to a person, what a tool is. The rest (icons, `_meta`) is not pinned."""

DEFINITION_BYTES = 65_536  # the largest that we met has 12,000
NAME_CHARACTERS = 128  # as the protocol has it
_MOST_LEVELS = 64


class Definition(msgspec.Struct, frozen=True):
    """One definition. `text`: its pinned fields in one spelling (canonical.py); empty where there is a fault."""

    name: str
    digest: str  # SHA-256 of `text`, or of the raw bytes where there is a fault; 64 hexadecimal digits
    text: str
    fault: str = ""  # why nobody can accept it

    @property
    def fields(self) -> dict[str, object]:
        return read_fields(self.text)


def read_definition(name: str, raw: bytes) -> Definition:
    """The definition in one member of a list of tools. Does not raise: what cannot be read says so."""
    try:
        fields = _read(name, raw)
    except (ValueError, RecursionError) as error:
        return Definition(name, sha256(raw).hexdigest(), "", str(error) or "it nests too deep")
    text = canonical(msgspec.json.encode(fields))
    return Definition(name, sha256(text).hexdigest(), text.decode())


def read_fields(text: str) -> dict[str, object]:
    """The pinned fields, as `Definition.text` has them."""
    return msgspec.json.decode(text, type=dict[str, object]) if text else {}


def _read(name: str, raw: bytes) -> dict[str, object]:
    if len(raw) > DEFINITION_BYTES:
        raise ValueError(f"it has {len(raw):,} bytes, and at most {DEFINITION_BYTES:,} are kept")
    if len(name) > NAME_CHARACTERS:
        raise ValueError(f"its name has {len(name):,} characters, and at most {NAME_CHARACTERS} are kept")
    json.loads(raw, object_pairs_hook=_each_once, parse_constant=_no_number)
    value = cast("object", msgspec.json.decode(raw))  # strict where `json` is not: UTF-8, surrogates
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    found = cast("dict[str, object]", value)
    if found.get("name") != name:
        raise ValueError("it has another name than it was listed by")
    if _levels(found) > _MOST_LEVELS:
        raise ValueError(f"it nests deeper than {_MOST_LEVELS} levels")
    return {field: found[field] for field in FIELDS if field in found}


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one of its objects")
    return found


def _no_number(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def _levels(value: object) -> int:
    """How deep it nests. Level by level, for what nests deep must not be walked by calls."""
    levels, here = 0, [value]
    while here:
        levels += 1
        below: list[object] = []
        for each in here:
            if isinstance(each, dict):
                below += cast("dict[str, object]", each).values()
            elif isinstance(each, list):
                below += cast("list[object]", each)
        here = below
    return levels
