"""The prompt of a Gemini request: the tools, the system instruction, then content by content."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from comptroller.sandbox.gemini.request import Content, GenerateRequest, Part
from comptroller.sandbox.prompt import AUDIO_BYTES_PER_TOKEN, IMAGE_TOKENS, MESSAGE_OVERHEAD_TOKENS, Segment
from comptroller.sandbox.tokens import count_tokens


def read_segments(request: GenerateRequest) -> tuple[Segment, ...]:
    """The segments of a request's prompt."""
    functions = [msgspec.json.encode(function) for function in request.functions]
    tools = Segment(b"\0".join(functions), sum(count_tokens(each.decode()) for each in functions))
    system = [request.system_instruction] if request.system_instruction is not None else []
    return (*([tools] if functions else []), *content_segments((*system, *request.contents)))


def content_segments(contents: Iterable[Content]) -> tuple[Segment, ...]:
    """One segment a content."""
    return tuple(_segment(content) for content in contents)


def _segment(content: Content) -> Segment:
    tokens = MESSAGE_OVERHEAD_TOKENS + sum(map(_part_tokens, content.parts))
    return Segment(msgspec.json.encode(content), tokens, sum(map(_audio_tokens, content.parts)))


def _part_tokens(part: Part) -> int:
    if part.inline_data is not None:
        return _audio_tokens(part) or IMAGE_TOKENS
    call = part.function_call if part.function_call is not None else part.function_response
    return count_tokens(part.text or "") + (0 if call is None else count_tokens(msgspec.json.encode(call).decode()))


def _audio_tokens(part: Part) -> int:
    if part.inline_data is None or not part.inline_data.mime_type.startswith("audio/"):
        return 0
    return -(-len(part.inline_data.data) // AUDIO_BYTES_PER_TOKEN)
