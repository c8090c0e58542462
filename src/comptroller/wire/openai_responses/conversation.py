"""The items of an input as a conversation: who speaks, which tools are called, which results answer which calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from comptroller.core.work.conversation import Call, Entry, Part, Result
from comptroller.wire.body import is_array, is_object
from comptroller.wire.openai_responses.items import REFERENCE
from comptroller.wire.parts import count, size, text_of, texts_in

_PARTS: Mapping[object, Part] = {"system": "system", "developer": "system", "user": "user", "assistant": "model"}
# Items that a caller's side adds as the result of a call, and where their text is.
_RESULTS: Mapping[str, str] = {
    "function_call_output": "output",
    "custom_tool_call_output": "output",
    "computer_call_output": "output",
    "local_shell_call_output": "output",
    "shell_call_output": "output",
    "apply_patch_call_output": "output",
    "tool_search_output": "tools",
    "mcp_approval_response": "reason",
    "program_output": "result",
}
# Items of the model, and where what they ask for is.
CALLS: Mapping[str, str] = {
    "function_call": "arguments",
    "custom_tool_call": "input",
    "computer_call": "action",
    "local_shell_call": "action",
    "shell_call": "action",
    "apply_patch_call": "operation",
    "tool_search_call": "arguments",
    "mcp_approval_request": "arguments",
    "mcp_call": "arguments",
    "program": "code",
    "web_search_call": "action",
    "file_search_call": "queries",
    "code_interpreter_call": "code",
    "image_generation_call": "action",
}
# Items that change what the rest of the input means: tools, settings, and a summary of what was before.
_LASTING = frozenset(
    {"compaction", "configuration_update", "additional_tools", "tool_search_call", "tool_search_output"}
    | {"mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "compaction_trigger"}
)
_IMAGES = frozenset({"input_image", "image_url", "image", "computer_screenshot"})


def input_items(fields: Mapping[str, msgspec.Raw]) -> list[object]:
    """The items of an `input`; one that is a text is short for a message of the user."""
    given = fields.get("input")
    value = None if given is None else cast("object", msgspec.json.decode(given))
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    return value if is_array(value) else []


def read_entries(items: Sequence[object]) -> list[Entry]:
    """One for each item."""
    return [_entry(each) if is_object(each) else Entry("unknown") for each in items]


def result_key(item: Mapping[str, object]) -> str | None:
    """Where an item has what came of a call; None: it is no result."""
    kind = item.get("type")
    return _RESULTS.get(kind) if isinstance(kind, str) else None


def _entry(item: Mapping[str, object]) -> Entry:
    kind = item.get("type")
    if kind is None:
        kind = "message" if "role" in item or "content" in item else REFERENCE
    if not isinstance(kind, str):
        return Entry("unknown")
    if kind == "message":
        return _message(item)
    if kind in _RESULTS:
        return _result(item, kind)
    lasting = kind in _LASTING
    if kind in CALLS:
        name = text_of(item.get("name")) or kind
        # The request for an approval is answered by its own id, every other call by the id of the call.
        call = Call(text_of(item.get("call_id")) or text_of(item.get("id")), name, item.get(CALLS[kind]))
        return Entry("model", calls=(call,), images=int(kind == "image_generation_call"), kept=lasting)
    if kind == "reasoning":
        return Entry("model", starts=True)
    if kind == REFERENCE:
        return Entry("model", reference=True)
    return Entry("system" if lasting else "unknown", kept=lasting)


def _message(item: Mapping[str, object]) -> Entry:
    content, role = item.get("content"), item.get("role")
    part = _PARTS.get(role, "unknown") if isinstance(role, str) else "unknown"
    images = 0 if isinstance(content, str) else count(content, _is_image)
    return Entry(part, texts=texts_in(content) if part == "user" else (), images=images)


def _result(item: Mapping[str, object], kind: str) -> Entry:
    told = item.get(_RESULTS[kind])
    call = text_of(item.get("call_id")) or text_of(item.get("approval_request_id"))
    failed = True if text_of(item.get("status")) in {"failed", "incomplete"} else None
    images = 0 if isinstance(told, str) else count(told, _is_image)
    result = Result(call, size(told), texts_in(told), failed)
    return Entry("tool", results=(result,), images=images, kept=kind in _LASTING)


def _is_image(part: Mapping[str, object]) -> bool:
    return text_of(part.get("type")) in _IMAGES or "image_url" in part
