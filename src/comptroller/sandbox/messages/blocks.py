"""The content blocks of a Messages request, and their tokens."""

from __future__ import annotations

from typing import Literal

import msgspec

from comptroller.sandbox.errors import invalid
from comptroller.sandbox.prompt import IMAGE_TOKENS
from comptroller.sandbox.tokens import count_tokens

DOCUMENT_TOKENS = 1_500

# Each kind, and the field without which it is nothing.
_KINDS = {
    "text": "text",
    "image": "source",
    "document": "source",
    "thinking": "thinking",
    "redacted_thinking": "data",
    "tool_use": "input",
    "tool_result": "tool_use_id",
}


_NOTHING = msgspec.Raw()


class CacheControl(msgspec.Struct):
    """Everything up to here is worth keeping."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Source(msgspec.Struct):
    """What an image or a document is made of; an address is never fetched."""

    type: str
    data: str | None = None


class Block(msgspec.Struct):
    """One block; fields not named here are accepted and ignored."""

    type: str
    text: str | None = None
    source: Source | None = None
    thinking: str | None = None
    data: str | None = None
    tool_use_id: str | None = None
    name: str | None = None
    input: msgspec.Raw = _NOTHING
    content: str | list[Block] | None = None
    cache_control: CacheControl | None = None


def check_block(block: Block, where: str) -> None:
    """Refuse a kind that is not known, or one that is empty. Raises ApiError (400)."""
    field = _KINDS.get(block.type)
    if field is None:
        raise invalid(f"{where}.type: Input should be one of {', '.join(_KINDS)}.", param=f"{where}.type")
    if getattr(block, field) in (None, _NOTHING):
        raise invalid(f"{where}.{block.type}.{field}: Field required", param=f"{where}.{field}")
    if isinstance(block.content, list):
        for index, inner in enumerate(block.content):
            check_block(inner, f"{where}.content.{index}")


def block_tokens(block: Block) -> int:
    """Tokens of a block: at most the bytes of its text, and a number of their own for images and documents."""
    if block.type == "image":
        return IMAGE_TOKENS
    if block.type == "document":
        source = block.source
        return count_tokens(source.data or "") if source is not None and source.type == "text" else DOCUMENT_TOKENS
    texts = (block.text, block.thinking, block.data, block.name)
    tokens = sum(count_tokens(text) for text in texts if text is not None)
    tokens += count_tokens(bytes(block.input).decode())
    if isinstance(block.content, list):
        return tokens + sum(map(block_tokens, block.content))
    return tokens + count_tokens(block.content or "")


def block_content(block: Block) -> bytes:
    """What tells a block from others: all of it, but not whether it is kept."""
    return msgspec.json.encode(msgspec.structs.replace(block, cache_control=None))
