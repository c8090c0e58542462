"""The tools that a request offers: which run at the provider, and what those of the caller add to the prompt.

Sources: the OpenAI API reference and its pricing page; the openai SDK's types for the names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from comptroller.core.work.stored import Named
from comptroller.wire.body import is_array, is_object, json_name, shown
from comptroller.wire.openai_chat.contents import names_in
from comptroller.wire.openai_responses.items import Items

# Definitions that the provider keeps: tokens that a name in the body stands for. Presumed: no number is published.
OWN_TOOLS: Mapping[str, int] = {
    "function": 0,
    "custom": 0,
    "namespace": 0,
    "local_shell": 1_024,
    "apply_patch": 1_024,
    "computer": 2_048,
    "computer_use_preview": 2_048,
}
_DEFINED = frozenset({"function", "custom", "namespace"})  # by the caller
_CLIENT_SEARCH = 1_024  # presumed, as above
_LOCAL_SHELL = 1_024

# Tools of the provider that are billed by the call, and whose calls `max_tool_calls` limits. Not the search that was
# there before, as its calls cost more with some models; not MCP, which that limit is not said to hold for.
_WEB_SEARCHES = frozenset({"web_search", "web_search_2025_08_26"})
_FILE_SEARCH = "file_search"
_TOOL_SEARCH = "tool_search"  # free, but each of its calls is a further round
_LIMITED = _WEB_SEARCHES | {_FILE_SEARCH, _TOOL_SEARCH}

# Above this, a limit on calls bounds nothing that anybody could pay for.
MOST_TOOL_CALLS = 1_000


class Offered(msgspec.Struct, frozen=True):
    """`limited`, `unlimited`: the provider's tools in words, by whether a limit on calls bounds what they cost."""

    limited: tuple[str, ...]
    unlimited: tuple[str, ...]
    web_search: bool
    file_search: bool
    kinds: tuple[str, ...]  # of all that is no definition of the caller's
    tokens: int  # beside the bytes in the body


def read_tools(tools: Sequence[object], items: Items) -> Offered | str:
    """What the tools of a request are; or what is wrong with the list."""
    kinds: list[str] = []
    named: dict[str, None] = {}
    tokens = 0
    waiting = list(tools)
    for tool in waiting:
        if not is_object(tool):
            return f"Every entry of `tools` must be an object, and one is a {json_name(tool)}."
        kind = tool.get("type", "function")
        if not isinstance(kind, str) or any(key != "type" and key.casefold() == "type" for key in tool):
            return 'Every entry of `tools` must have one `type`, a string such as "function".'
        items.read_cache_marks(tool)
        of_caller = _tokens(kind, tool)
        if kind not in _DEFINED:
            named[kind] = None
        if of_caller is None or kind == "shell":
            # They are read by tools, a piece at a time: the context holds what these find.
            items.named += [Named(each.id, each.kind, "tools", context=False) for each in names_in(tool)]
        if of_caller is None:
            kinds.append(kind)
        tokens += of_caller or 0
        if kind == "namespace":
            inner = tool.get("tools")
            waiting += inner if is_array(inner) else ()
    found = set(kinds)
    words = {kind: f"the provider's tool {shown(kind)}" for kind in kinds}
    return Offered(
        limited=tuple(words[kind] for kind in words if kind in _LIMITED),
        unlimited=tuple(words[kind] for kind in words if kind not in _LIMITED),
        web_search=not _WEB_SEARCHES.isdisjoint(found),
        file_search=_FILE_SEARCH in found,
        kinds=tuple(named),
        tokens=tokens,
    )


def _tokens(kind: str, tool: Mapping[str, object]) -> int | None:
    """What a tool that the caller runs adds to the prompt; None for one that the provider runs."""
    if kind == "shell":
        environment = tool.get("environment")
        return _LOCAL_SHELL if is_object(environment) and environment.get("type") == "local" else None
    if kind == _TOOL_SEARCH:
        return _CLIENT_SEARCH if tool.get("execution") == "client" else None
    return OWN_TOOLS.get(kind)
