"""The functions that a generateContent request offers, and the tools that an answer calls.

Source: the Gemini API reference and the google-genai SDK's types; recorded answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

import msgspec

from comptroller.core.work.conversation import Call
from comptroller.wire.body import is_array, is_object
from comptroller.wire.called import first_calls
from comptroller.wire.checks import Invalid
from comptroller.wire.gemini.fields import OWN_TOOLS, REQUEST, TOOLS
from comptroller.wire.gemini.names import snake
from comptroller.wire.parts import text_of

_ENCODER = msgspec.json.Encoder()
_CANDIDATES = msgspec.json.Decoder(list[dict[str, Any]])


def definitions(fields: Mapping[str, msgspec.Raw]) -> bytes:
    """What a request says of its tools, as it came; nothing where it has none."""
    return bytes(fields["tools"]) if "tools" in fields else b""


def functions(fields: Mapping[str, msgspec.Raw]) -> tuple[str, ...]:
    """The names of the functions that it offers."""
    return tuple(text_of(each.get("name")) for tool in _tools(fields) for each in _declared(tool))


def without(fields: Mapping[str, msgspec.Raw], names: Set[str]) -> dict[str, msgspec.Raw]:
    """The same request without these functions. What made the model call one of them leaves it the choice."""
    left, kept = dict(fields), list(_kept(fields, names))
    if kept:
        left["tools"] = msgspec.Raw(_ENCODER.encode(kept))
    else:
        left.pop("tools", None)
    config = REQUEST.spelled(fields, "toolConfig")
    if config in left and (not kept or any(f'"{name}"'.encode() in bytes(left[config]) for name in names)):
        del left[config]
    return left


def calls_in(candidates: msgspec.Raw) -> tuple[Call, ...]:
    """The tools that a whole answer calls. Never raises."""
    text = bytes(candidates)
    if b'"functionCall"' not in text and b'"executableCode"' not in text:
        return ()
    try:
        found = _CANDIDATES.decode(text)
    except (ValueError, RecursionError):
        return ()
    contents = (each.get("content") for each in found)
    parts = (each.get("parts") for each in contents if is_object(each))
    return first_calls(filter(None, (call_of(part) for each in parts if is_array(each) for part in each)))


def call_of(part: object) -> Call | None:
    """The call that a part of an answer is."""
    if not is_object(part):
        return None
    call, code = part.get("functionCall"), part.get("executableCode")
    if is_object(call):
        args = call.get("args")
        return Call("", text_of(call.get("name")), {} if args is None else args)
    return Call("", "gemini/code_execution", code) if is_object(code) else None


def _tools(fields: Mapping[str, msgspec.Raw]) -> list[dict[str, object]]:
    """The entries of `tools`; the API takes one for an array of one."""
    given = fields.get("tools")
    value: object = None if given is None else msgspec.json.decode(given)
    return [each for each in (value if is_array(value) else (value,)) if is_object(each)]


def _declared(tool: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    try:
        declared = TOOLS.read(tool).get(OWN_TOOLS)
    except Invalid:
        return
    yield from (each for each in (declared if is_array(declared) else (declared,)) if is_object(each))


def _kept(fields: Mapping[str, msgspec.Raw], names: Set[str]) -> Iterator[object]:
    for tool in _tools(fields):
        left = [each for each in _declared(tool) if text_of(each.get("name")) not in names]
        rest = {key: value for key, value in tool.items() if key not in {OWN_TOOLS, snake(OWN_TOOLS)}}
        if left:
            yield {**rest, TOOLS.spelled(tool, OWN_TOOLS): left}
        elif rest:
            yield rest
