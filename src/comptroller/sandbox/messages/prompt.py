"""The prompt of a Messages request: the tools, the system prompt, then block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec

from comptroller.sandbox.errors import invalid
from comptroller.sandbox.messages.blocks import Block, CacheControl, block_content, block_tokens
from comptroller.sandbox.messages.request import MessagesRequest, Tool
from comptroller.sandbox.prompt import MESSAGE_OVERHEAD_TOKENS, Keep, Segment
from comptroller.sandbox.tokens import count_tokens

_MOST_MARKS = 4


def read_segments(request: MessagesRequest, tools: list[Tool]) -> tuple[Segment, ...]:
    """The segments of a request's prompt, each with its mark. Raises ApiError (400) for marks that cannot be."""
    segments = [*_tools(request, tools), *_system(request), *_messages(request)]
    if request.cache_control is not None:
        segments[-1] = replace(segments[-1], keep=_keep(request.cache_control))
    marks = [segment.keep for segment in segments if segment.keep is not None]
    if len(marks) > _MOST_MARKS:
        raise invalid(f"A maximum of {_MOST_MARKS} blocks with cache_control may be provided. Found {len(marks)}.")
    if sorted(marks) != marks:  # "1h" is before "5m" in the alphabet, too
        raise invalid("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block.")
    return tuple(segments)


def _tools(request: MessagesRequest, tools: list[Tool]) -> Iterator[Segment]:
    for raw, tool in zip(request.tools or (), tools, strict=True):
        text = bytes(raw)
        unmarked = {name: value for name, value in msgspec.json.decode(text).items() if name != "cache_control"}
        yield Segment(msgspec.json.encode(unmarked), count_tokens(text.decode()), keep=_keep(tool.cache_control))


def _system(request: MessagesRequest) -> Iterator[Segment]:
    for block in _blocks(request.system or []):
        yield Segment(b"system" + block_content(block), block_tokens(block), keep=_keep(block.cache_control))


def _messages(request: MessagesRequest) -> Iterator[Segment]:
    for message in request.messages:
        frame = MESSAGE_OVERHEAD_TOKENS + count_tokens(message.role)
        head = message.role.encode()
        for block in _blocks(message.content):
            keep = _keep(block.cache_control)
            yield Segment(head + block_content(block), frame + block_tokens(block), keep=keep)
            frame, head = 0, b""


def _blocks(content: str | list[Block]) -> list[Block]:
    return [Block("text", text=content)] if isinstance(content, str) else content


def _keep(control: CacheControl | None) -> Keep | None:
    return None if control is None else control.ttl or "5m"
