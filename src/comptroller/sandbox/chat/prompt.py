"""The prompt of a chat completion: the tools, then message by message."""

from __future__ import annotations

import msgspec

from comptroller.sandbox.chat.request import ChatRequest, Message, Part
from comptroller.sandbox.prompt import AUDIO_BYTES_PER_TOKEN, IMAGE_TOKENS, MESSAGE_OVERHEAD_TOKENS, Segment
from comptroller.sandbox.tokens import count_tokens


def read_segments(request: ChatRequest) -> tuple[Segment, ...]:
    """The segments of a request's prompt."""
    segments: list[Segment] = []
    if request.tools:
        tools = [bytes(tool) for tool in request.tools]
        segments.append(Segment(b"\0".join(tools), sum(count_tokens(tool.decode()) for tool in tools)))
    segments += [
        Segment(msgspec.json.encode(message), _message_tokens(message), _audio_tokens(message))
        for message in request.messages
    ]
    return tuple(segments)


def _message_tokens(message: Message) -> int:
    tokens = MESSAGE_OVERHEAD_TOKENS + count_tokens(message.role) + count_tokens(message.name or "")
    tokens += sum(count_tokens(bytes(call).decode()) for call in message.tool_calls or ())
    if isinstance(message.content, list):
        return tokens + sum(_part_tokens(part) for part in message.content)
    return tokens + count_tokens(message.content or "")


def _part_tokens(part: Part) -> int:
    if part.type == "image_url":
        return IMAGE_TOKENS
    if part.type == "input_audio":
        return _part_audio_tokens(part)
    return count_tokens(part.text or part.refusal or "")


def _audio_tokens(message: Message) -> int:
    if not isinstance(message.content, list):
        return 0
    return sum(_part_audio_tokens(part) for part in message.content)


def _part_audio_tokens(part: Part) -> int:
    if part.type != "input_audio" or part.input_audio is None:
        return 0
    return -(-len(part.input_audio.data) // AUDIO_BYTES_PER_TOKEN)
