"""Calls that are only planned: what the shortest request of each API asks for, so that a plan is read as a call is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.wire.anthropic_messages import AnthropicMessages
from comptroller.wire.gemini.dialect import GeminiGenerate
from comptroller.wire.head import Head
from comptroller.wire.openai_chat import OpenAIChat
from comptroller.wire.openai_responses import OpenAIResponses

Dialects = OpenAIChat | OpenAIResponses | AnthropicMessages | GeminiGenerate


class PlannedApi:
    """One API in which calls can be planned."""

    def __init__(
        self, whole: Dialects, streaming: Dialects, body: Callable[[str, int | None, bool], dict[str, Any]]
    ) -> None:
        self.dialect = whole
        self.streaming = streaming
        self._body = body

    def asked(self, model: str, input_tokens: int, output_limit: int | None, *, stream: bool) -> Asked | Refusal:
        """What a request of text alone asks for, with this bound on its input."""
        dialect = self.streaming if stream else self.dialect
        body = {name: value for name, value in self._body(model, output_limit, stream).items() if value is not None}
        read = dialect.read_request(msgspec.json.encode(body), Head(named=model, query=b"alt=sse" if stream else b""))
        if isinstance(read, Refusal):
            return read
        return msgspec.structs.replace(read.asked, text_tokens=input_tokens, prompt=None)


def _chat(model: str, output_limit: int | None, stream: bool) -> dict[str, Any]:
    said = [{"role": "user", "content": ""}]
    return {"model": model, "messages": said, "max_completion_tokens": output_limit, "stream": stream}


def _responses(model: str, output_limit: int | None, stream: bool) -> dict[str, Any]:
    return {"model": model, "input": "", "max_output_tokens": output_limit, "stream": stream, "store": False}


def _messages(model: str, output_limit: int | None, stream: bool) -> dict[str, Any]:
    said = [{"role": "user", "content": ""}]
    return {"model": model, "messages": said, "max_tokens": output_limit, "stream": stream}


def _generate(model: str, output_limit: int | None, stream: bool) -> dict[str, Any]:
    limited = None if output_limit is None else {"maxOutputTokens": output_limit}
    return {"contents": [{"parts": [{"text": ""}]}], "generationConfig": limited}


_CHAT, _RESPONSES, _MESSAGES = OpenAIChat(), OpenAIResponses(), AnthropicMessages()
PLANNED = (
    PlannedApi(_CHAT, _CHAT, _chat),
    PlannedApi(_RESPONSES, _RESPONSES, _responses),
    PlannedApi(_MESSAGES, _MESSAGES, _messages),
    PlannedApi(GeminiGenerate("v1beta"), GeminiGenerate("v1beta", stream=True), _generate),
)
"""What makes text by a model, the most common first."""
