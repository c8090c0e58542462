"""A chat request with fewer messages, or with shorter results of tools."""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.wire.openai_chat.conversation import is_result
from comptroller.wire.parts import size
from comptroller.wire.shorten import shorten_content


def shorten(message: Mapping[str, object], most_bytes: int, by: str) -> Mapping[str, object]:
    """The message, with a result of a tool that is too long made shorter."""
    content = message.get("content")
    if not is_result(message) or size(content) <= most_bytes:
        return message
    return {**message, "content": shorten_content(content, most_bytes, by)}
