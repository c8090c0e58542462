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


# Tools of the provider of which the request limits every use, and which do nothing else: `max_uses`. Not their later
# versions, which filter what they find by running code, as often as they like.
_LIMITED: Mapping[str, str] = {"web_search_20250305": "web_search", "web_fetch_20250910": "web_fetch"}

# Above this, a limit on uses bounds nothing that anybody could pay for.
MOST_USES = 1_000


class Offered(msgspec.Struct, frozen=True):
    """Tools of the provider are in words, with the limit that the request sets on them."""

    limited: tuple[str, ...]  # their uses are, by the request, and so is what they cost
    unlimited: tuple[str, ...]
    tokens: int  # beside the bytes in the body
    uses: int  # the most of all limited ones together
    searches: int  # of them on the web, which are billed by themselves
    kinds: tuple[str, ...]  # of all that is no definition of the caller's

    @property
    def may_limit(self) -> bool:
        """Whether it offers a tool whose uses a request can limit."""
        return any(kind in _LIMITED for kind in self.kinds)


def read_tools(tools: Sequence[object], contents: Contents) -> Offered | str:
    """What the tools of a request are; or what is wrong with the list."""
    limited: dict[str, None] = {}
    unlimited: dict[str, None] = {}
    kinds: dict[str, None] = {}
    tokens = TOOL_PROMPT_TOKENS if tools else 0
    uses = searches = 0
    for tool in tools:
        if not is_object(tool):
            return f"Every entry of `tools` must be an object, and one is a {json_name(tool)}."
        kind = tool.get("type")
        if not (kind is None or isinstance(kind, str)) or any(k != "type" and k.casefold() == "type" for k in tool):
            return 'Every entry of `tools` has at most one `type`, a string such as "custom".'
        contents.read_cache_control(tool.get("cache_control"))
        contents.read_cache_control(tool.get("caching"))
        if kind is None or kind == "custom":  # those are the caller's own definitions, which are in the body
            continue
        kinds[kind] = None
        most = tool.get("max_uses")
        if kind in CLIENT_TOOLS:
            tokens += CLIENT_TOOLS[kind]
        elif kind in _LIMITED and is_whole_number(most, 1) and most <= MOST_USES:
            limited[_in_words(kind, most)] = None
            uses += most
            searches += most if _LIMITED[kind] == "web_search" else 0
        else:
            unlimited[_in_words(kind, most)] = None
    return Offered(tuple(limited), tuple(unlimited), tokens, uses, searches, tuple(kinds))


def with_uses(tool: dict[str, object], most: int) -> dict[str, object]:
    """A tool of a request, with no more uses than this; the smaller limit counts."""
    if tool.get("type") not in _LIMITED:
        return tool
    said = tool.get("max_uses")
    return tool if is_whole_number(said, 1) and said <= most else {**tool, "max_uses": most}


def _in_words(kind: str, most: object) -> str:
    limit = f" (at most {most} uses)" if is_whole_number(most, 0) else " without `max_uses`" if kind in _LIMITED else ""
    return f"the provider's tool {shown(kind)}{limit}"
