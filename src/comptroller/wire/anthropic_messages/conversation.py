"""Messages as a conversation: who speaks, which tools are called, and which results answer which calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from comptroller.core.work.conversation import Call, Entry, Part, Result
from comptroller.wire.body import is_array, is_object
from comptroller.wire.parts import count, size, text_of, texts_in

_PARTS: Mapping[object, Part] = {"system": "system", "user": "user", "assistant": "model"}
# Blocks that change what the rest of the conversation means: tools that come and go, and a summary of what was before.
_LASTING = frozenset(
    {"compaction", "tool_addition", "tool_removal", "tool_reference", "tool_search_tool_result", "mcp_tool_listing"}
)
RESULTS = frozenset({"tool_result", "mcp_tool_result"})
_CALLS = frozenset({"tool_use", "mcp_tool_use", "server_tool_use"})


def read_entries(messages: Sequence[object]) -> list[Entry]:
    """One for each message."""
    return [_entry(each) if is_object(each) else Entry("unknown") for each in messages]


def _entry(message: Mapping[str, object]) -> Entry:
    content, role = message.get("content"), message.get("role")
    part = _PARTS.get(role, "unknown") if isinstance(role, str) else "unknown"
    if isinstance(content, str):
        return Entry(part, texts=(content,) if part == "user" else (), kept=part == "system")
    blocks = [block for block in (content if is_array(content) else (content,)) if is_object(block)]
    results = tuple(_result(block) for block in blocks if text_of(block.get("type")) in RESULTS)
    images = count(content, _is_image) + sum(count(block.get("content"), _is_image) for block in blocks)
    return Entry(
        "tool" if part == "user" and results else part,
        texts=texts_in(content) if part == "user" else (),
        calls=tuple(_calls(blocks)) if part == "model" else (),
        results=results,
        images=images,
        kept=part == "system" or any(_lasts(block) for block in blocks),
    )


def _calls(blocks: Iterable[Mapping[str, object]]) -> Iterable[Call]:
    for block in blocks:
        if text_of(block.get("type")) in _CALLS:
            yield Call(text_of(block.get("id")), text_of(block.get("name")), block.get("input"))


def _result(block: Mapping[str, object]) -> Result:
    content = block.get("content")
    failed = block.get("is_error")
    failed = failed if isinstance(failed, bool) else None
    return Result(text_of(block.get("tool_use_id")), size(content), texts_in(content), failed)


def _lasts(block: Mapping[str, object]) -> bool:
    content = block.get("content")
    inner = content if is_array(content) else ()
    kinds = [text_of(each.get("type")) for each in (block, *inner) if is_object(each)]
    return not _LASTING.isdisjoint(kinds)


def _is_image(block: Mapping[str, object]) -> bool:
    return block.get("type") == "image"
