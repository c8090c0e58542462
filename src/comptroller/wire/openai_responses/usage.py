"""What a Responses provider reports, in our meters.

The cache convention is explicit: `input_tokens` is the TOTAL input; cached and written tokens are inside of it, as
reasoning is inside of `output_tokens`. The names are others than in Chat Completions and the conventions are the
same, and so are the ways in which compatible servers depart from them. Calls of the provider's tools are billed
beside the tokens; where the report does not count them, the answer's items do.

Sources: the OpenAI API reference and its pricing page; the openai SDK's types; recorded answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from comptroller.core.pricing.usage import Usage
from comptroller.wire.body import is_object
from comptroller.wire.openai_chat.usage import read_usage as read_completion_usage
from comptroller.wire.reported import Count

# Other actions of a search open a page that was found, or look into it: those are not billed.
_FREE_ACTIONS = frozenset({"open_page", "find_in_page", "find"})


class _Written(msgspec.Struct):
    ttl_12h_tokens: Count | None = None


class _InputDetails(msgspec.Struct):
    cache_write_tokens_details: _Written | None = None


class _Reported(msgspec.Struct):
    input_tokens_details: _InputDetails | None = None


class _WebSearch(msgspec.Struct):
    num_requests: Count


class _ToolUsage(msgspec.Struct):
    web_search: _WebSearch


class Searches(msgspec.Struct, frozen=True, gc=False):
    """Calls of the provider's tools that are billed by the call."""

    web: int = 0
    file: int = 0


NO_SEARCHES = Searches()


def read_usage(
    reported: Any, service_tier: str | None, long_cache: bool = False, searched: Searches = NO_SEARCHES
) -> Usage | None:
    """The meters of a decoded `usage` object; None if a count is missing, negative, absurd or not a whole number.

    `long_cache`: the request may write to a cache of an hour or longer; where the report does not tell those writes
    apart, all of them count as that.
    """
    if not is_object(reported):
        return None
    try:
        details = msgspec.convert(reported, _Reported).input_tokens_details
    except (ValueError, RecursionError):
        return None
    renamed = {
        "prompt_tokens": reported.get("input_tokens"),
        "completion_tokens": reported.get("output_tokens"),
        "total_tokens": reported.get("total_tokens"),
        "prompt_tokens_details": reported.get("input_tokens_details"),
        "completion_tokens_details": reported.get("output_tokens_details"),
    }
    usage = read_completion_usage(renamed, service_tier, long_cache)
    if usage is None:
        return None
    written = details.cache_write_tokens_details if details is not None else None
    lasting = usage.cache_write_1h_tokens
    if written is not None and written.ttl_12h_tokens is not None:
        lasting = min(written.ttl_12h_tokens, usage.cache_write_tokens)
    return msgspec.structs.replace(
        usage,
        cache_write_1h_tokens=lasting,
        web_search_requests=searched.web,
        file_search_requests=searched.file,
    )


def read_searches(tool_usage: Any, items: Iterable[Any]) -> Searches:
    """How often the provider searched: as it counts itself, else one for each search among the items of its answer."""
    web = file = 0
    for item in items:
        kind = item.get("type") if is_object(item) else None
        if kind == "web_search_call":
            action = item.get("action")
            web += not is_object(action) or action.get("type") not in _FREE_ACTIONS
        elif kind == "file_search_call":
            file += 1
    return Searches(_counted(tool_usage, web), file)


def _counted(tool_usage: Any, otherwise: int) -> int:
    """Web searches as the provider counts them; older reports do not."""
    try:
        return msgspec.convert(tool_usage, _ToolUsage).web_search.num_requests
    except (ValueError, RecursionError):
        return otherwise
