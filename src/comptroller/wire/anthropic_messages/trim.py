"""A Messages request with fewer messages, or with shorter results of tools."""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.wire.anthropic_messages.conversation import RESULTS
from comptroller.wire.body import is_array, is_object
from comptroller.wire.parts import size, text_of
from comptroller.wire.shorten import shorten_content


def shorten(message: Mapping[str, object], most_bytes: int, by: str) -> Mapping[str, object]:
    """The message, with results of tools that are too long made shorter."""
    blocks = message.get("content")
    if not is_array(blocks):
        return message
    return {**message, "content": [_block(each, most_bytes, by) for each in blocks]}


def _block(block: object, most_bytes: int, by: str) -> object:
    if not is_object(block) or text_of(block.get("type")) not in RESULTS or size(block.get("content")) <= most_bytes:
        return block
    return {**block, "content": shorten_content(block["content"], most_bytes, by)}
