"""What differs between two definitions of a tool, said so that a person sees all of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import msgspec

from comptroller.core.tool.definition import FIELDS
from comptroller.core.tool.lint import one_line, visible

_ABSENT = object()


class Difference(msgspec.Struct, frozen=True):
    """One member that is not as it was. Texts stand as they are, everything else as JSON; None: it is not there.

    What nobody would see in them is written out (lint.visible).
    """

    path: str
    old: str | None
    new: str | None


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> Sequence[Difference]:
    """From one definition to the other, in the order of the fields; all of `new` where `old` is empty."""
    found: list[Difference] = []
    for field in FIELDS:
        found += _between(field, old.get(field, _ABSENT), new.get(field, _ABSENT))
    return found


def lines_of(difference: Difference) -> Iterator[str]:
    """A difference as lines: the path, then what went (`-`) and what came (`+`), and what stays beside that."""
    yield difference.path
    old, new = _lines(difference.old), _lines(difference.new)
    if not old or not new:
        yield from (f"  - {line}" for line in old)
        yield from (f"  + {line}" for line in new)
        return
    # After a head of two lines each is marked by what it begins with: @ is a place, the rest are texts.
    for line in list(difflib.unified_diff(old, new, n=1, lineterm=""))[2:]:
        if not line.startswith("@"):
            yield f"  {line[0]} {line[1:]}"


def _lines(text: str | None) -> list[str]:
    return [] if text is None else text.split("\n")


def _between(path: str, old: object, new: object) -> Iterator[Difference]:
    if old is new or (type(old) is type(new) and old == new and _said(old) == _said(new)):
        return
    before, after = _members(old), _members(new)
    if before is not None and after is not None:
        for key in [*before, *(each for each in after if each not in before)]:
            yield from _between(f"{path}.{key}", before.get(key, _ABSENT), after.get(key, _ABSENT))
    elif _has_objects(old) and _has_objects(new):
        befores, afters = cast("list[object]", old), cast("list[object]", new)
        for index in range(max(len(befores), len(afters))):
            yield from _between(f"{path}.{index}", _at(befores, index), _at(afters, index))
    else:
        as_json = old is not _ABSENT and new is not _ABSENT and type(old) is not type(new)  # "1" is not 1
        yield Difference(one_line(path), _said(old, as_json=as_json), _said(new, as_json=as_json))


def _members(value: object) -> dict[str, object] | None:
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def _has_objects(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(each, dict) for each in cast("list[object]", value))


def _at(values: list[object], index: int) -> object:
    return values[index] if index < len(values) else _ABSENT


def _said(value: object, *, as_json: bool = False) -> str | None:
    if value is _ABSENT:
        return None
    if isinstance(value, str) and not as_json:
        return visible(value)
    return visible(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
