"""The prompt of a response: the tools, the instructions, then item by item."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from comptroller.sandbox.prompt import IMAGE_TOKENS, MESSAGE_OVERHEAD_TOKENS, Segment
from comptroller.sandbox.responses.request import Item, Part, Read
from comptroller.sandbox.tokens import count_tokens

_CALLS = frozenset({"function_call", "custom_tool_call"})
_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})


def read_head(read: Read) -> tuple[Segment, ...]:
    """The segments that stand before a conversation: they are those of this request alone."""
    return tuple(_head(read))


def read_input(read: Read) -> tuple[Segment, ...]:
    """The segments of what a request adds to a conversation."""
    return tuple(_input(read))


def _head(read: Read) -> Iterator[Segment]:
    request = read.request
    if request.tools:
        tools = [bytes(tool) for tool in request.tools]
        yield Segment(b"\0".join(tools), sum(count_tokens(tool.decode()) for tool in tools))
    if request.instructions:
        yield Segment(b"instructions" + request.instructions.encode(), count_tokens(request.instructions))


def _input(read: Read) -> Iterator[Segment]:
    request = read.request
    if isinstance(request.input, str):
        yield Segment(b"user" + request.input.encode(), MESSAGE_OVERHEAD_TOKENS + count_tokens(request.input))
    for item, raw in read.items:
        yield Segment(msgspec.json.format(raw, indent=-1), _item_tokens(item, raw))


def _item_tokens(item: Item, raw: bytes) -> int:
    if item.type == "message":
        return MESSAGE_OVERHEAD_TOKENS + count_tokens(item.role or "") + _content_tokens(item.content)
    if item.type in _CALLS:
        texts = (item.name, item.arguments, item.input)
        return MESSAGE_OVERHEAD_TOKENS + sum(count_tokens(text or "") for text in texts)
    if item.type in _OUTPUTS:
        return MESSAGE_OVERHEAD_TOKENS + _content_tokens(item.output)
    return count_tokens(raw.decode())


def _content_tokens(content: str | list[Part] | None) -> int:
    if isinstance(content, list):
        return sum(_part_tokens(part) for part in content)
    return count_tokens(content or "")


def _part_tokens(part: Part) -> int:
    return IMAGE_TOKENS if part.type == "input_image" else count_tokens(part.text or part.refusal or "")
