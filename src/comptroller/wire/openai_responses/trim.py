"""An input with fewer items, or with shorter results of tools."""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.wire.openai_responses.conversation import result_key
from comptroller.wire.parts import size
from comptroller.wire.shorten import shorten_content


def shorten(item: Mapping[str, object], most_bytes: int, by: str) -> Mapping[str, object]:
    """The item, with a result of a tool that is too long made shorter."""
    key = result_key(item)
    if key is None or size(item.get(key)) <= most_bytes:
        return item
    return {**item, key: shorten_content(item[key], most_bytes, by)}
