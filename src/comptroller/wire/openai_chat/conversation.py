"""Chat messages as a conversation: who speaks, which tools are called, and which results answer which calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from comptroller.core.work.conversation import Call, Entry, Part, Result
from comptroller.wire.body import is_array, is_object
from comptroller.wire.parts import count, size, text_of, texts_in

_PARTS: Mapping[object, Part] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "model",
    "tool": "tool",
    "function": "tool",
}
_IMAGES = frozenset({"image_url", "input_image", "image"})
_FUNCTION = "function:"  # calls of the API before `tool_calls` have a name and no id


def read_entries(messages: Sequence[object]) -> list[Entry]:
    """One for each message."""
    return [_entry(each) if is_object(each) else Entry("unknown") for each in messages]


def is_result(message: Mapping[str, object]) -> bool:
    """Whether it brings what came of a call."""
    role = message.get("role")
    return isinstance(role, str) and _PARTS.get(role) == "tool"


def _entry(message: Mapping[str, object]) -> Entry:
    content, role = message.get("content"), message.get("role")
    part = _PARTS.get(role, "unknown") if isinstance(role, str) else "unknown"
    images = 0 if isinstance(content, str) else count(content, _is_image)
    match part:
        case "user":
            return Entry(part, texts=texts_in(content), images=images)
        case "model":
            return Entry(part, calls=tuple(_calls(message)), images=images)
        case "tool":
            name = message.get("name") if role == "function" else None
            call = text_of(message.get("tool_call_id")) if name is None else f"{_FUNCTION}{name}"
            return Entry(part, results=(Result(call, size(content), texts_in(content)),), images=images)
        case _:
            return Entry(part, images=images)


def _calls(message: Mapping[str, object]) -> Iterable[Call]:
    calls = message.get("tool_calls")
    for call in calls if is_array(calls) else ():
        if is_object(call):
            told = call.get("function", call.get("custom"))
            told = told if is_object(told) else {}
            yield Call(text_of(call.get("id")), text_of(told.get("name")), told.get("arguments", told.get("input")))
    old = message.get("function_call")
    if is_object(old):
        yield Call(f"{_FUNCTION}{old.get('name')}", text_of(old.get("name")), old.get("arguments"))


def _is_image(part: Mapping[str, object]) -> bool:
    return text_of(part.get("type")) in _IMAGES or "image_url" in part
