"""The tools that a request offers: which run at the provider, and what the client-side ones add to the prompt.

Sources, read in November 2026: the Anthropic pricing and tool use pages for the numbers; the anthropic SDK's
types for the names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from comptroller.wire.anthropic_messages.contents import Contents
from comptroller.wire.body import is_object, json_name, shown
from comptroller.wire.checks import is_whole_number

# Put before any tools. 804 is the largest published: Opus 4.7 with `tool_choice` any or tool; others have 264 to 675.
TOOL_PROMPT_TOKENS = 1_024

# Definitions that the provider keeps: tokens that a name in the body stands for, at the model that has the most.
CLIENT_TOOLS: Mapping[str, int] = {
    "bash_20241022": 325,
    "bash_20250124": 325,
    "text_editor_20241022": 700,
    "text_editor_20250124": 700,
    "text_editor_20250429": 700,
    "text_editor_20250728": 700,
    "computer_20241022": 735 + 499,  # the definition and a system prompt of its own
    "computer_20250124": 735 + 499,
    "computer_20251124": 735 + 499,
    "computer_toolset_20260801": 4_590,
    "browser_toolset_20260801": 6_670 + 880,  # the members that are on by themselves, and the four others
    "memory_20250818": 2_048,  # presumed: no number is published
}


class Offered(msgspec.Struct, frozen=True):
    """`server_side`: in words, with the limit that the request sets on it. `tokens`: beside the bytes in the body."""

    server_side: tuple[str, ...]
    tokens: int


def read_tools(tools: Sequence[object], contents: Contents) -> Offered | str:
    """What the tools of a request are; or what is wrong with the list."""
    server_side: dict[str, None] = {}
    tokens = TOOL_PROMPT_TOKENS if tools else 0
    for tool in tools:
        if not is_object(tool):
            return f"Every entry of `tools` must be an object, and one is a {json_name(tool)}."
        kind = tool.get("type")
        if not (kind is None or isinstance(kind, str)) or any(k != "type" and k.casefold() == "type" for k in tool):
            return 'Every entry of `tools` has at most one `type`, a string such as "custom".'
        if kind is not None and kind in CLIENT_TOOLS:
            tokens += CLIENT_TOOLS[kind]
        elif kind not in {None, "custom"}:  # those are the caller's own definitions, which are in the body
            server_side[_in_words(kind or "", tool.get("max_uses"))] = None
        contents.read_cache_control(tool.get("cache_control"))
        contents.read_cache_control(tool.get("caching"))
    return Offered(tuple(server_side), tokens)


def _in_words(kind: str, most: object) -> str:
    limit = f" (at most {most} uses)" if is_whole_number(most, 0) else ""
    return f"the provider's tool {shown(kind)}{limit}"
