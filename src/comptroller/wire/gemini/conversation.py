"""Contents as a conversation: who speaks, which functions are called, and which responses answer which calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from comptroller.core.work.conversation import Call, Entry, Part, Result
from comptroller.wire.body import is_array, is_object
from comptroller.wire.gemini.contents import CONTENT, PART, RESPONSE
from comptroller.wire.parts import size, text_of

_ENCODER = msgspec.json.Encoder()

# Who says nothing is a user; responses came under a role of their own once.
_PARTS: Mapping[object, Part] = {"": "user", "user": "user", "model": "model", "function": "tool"}


def contents_of(fields: Mapping[str, msgspec.Raw]) -> list[object]:
    """The contents of a request; the API takes one for an array of one."""
    given = fields.get("contents")
    value = None if given is None else cast("object", msgspec.json.decode(given))
    return value if is_array(value) else [value]


def read_entries(contents: Sequence[object]) -> list[Entry]:
    """One for each content."""
    return [_entry(each) if is_object(each) else Entry("unknown") for each in contents]


def _entry(given: Mapping[str, object]) -> Entry:
    content = CONTENT.read(given)
    role, held = content.get("role") or "", content.get("parts")
    part = _PARTS.get(role, "unknown") if isinstance(role, str) else "unknown"
    parts = [PART.read(each) for each in (held if is_array(held) else (held,)) if is_object(each)]
    calls = tuple(_call(each) for one in parts if is_object(each := one.get("functionCall")))
    results = tuple(_result(each) for one in parts if is_object(each := one.get("functionResponse")))
    return Entry(
        "tool" if part == "user" and results else part,
        texts=tuple(each for one in parts if isinstance(each := one.get("text"), str)) if part == "user" else (),
        calls=calls if part == "model" else (),
        results=results,
        images=sum(_has_image(one) for one in parts),
    )


def _call(call: Mapping[str, object]) -> Call:
    """Calls may have no id: responses name the function then, and come in the next content."""
    name = text_of(call.get("name"))
    return Call(text_of(call.get("id")) or name, name, call.get("args"))


def _result(given: Mapping[str, object]) -> Result:
    result = RESPONSE.read(given)
    told = result.get("response")
    call = text_of(result.get("id")) or text_of(result.get("name"))
    failed = is_object(told) and bool(told.get("error"))
    return Result(call, size(told) + size(result.get("parts")), tuple(_texts(told)), failed or None)


def _texts(told: object) -> list[str]:
    if not is_object(told):
        return []
    return [each for each in told.values() if isinstance(each, str)] or [_ENCODER.encode(told).decode()]


def _has_image(part: Mapping[str, object]) -> bool:
    blob = part.get("inlineData", part.get("fileData"))
    kind = blob.get("mimeType", blob.get("mime_type")) if is_object(blob) else None
    return isinstance(kind, str) and kind.startswith("image/")
