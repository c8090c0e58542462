"""What an Anthropic provider reports, in our meters.

The cache convention is explicit: `input_tokens` is only what was neither read from nor written to the cache;
our total is the three together. `iterations` tells the rounds of one call apart. The counts beside it are the
sum of the rounds that made the answer; a compaction is NOT in them, nor is an advisor, nor the try of a model
that declined before another took over. Everything was billed, so everything is in our total.

Sources: the API reference; the pricing page; the anthropic SDK's types; recorded answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from comptroller.core.pricing.usage import Usage
from comptroller.wire.anthropic_messages.tiers import tier_name
from comptroller.wire.body import is_object
from comptroller.wire.reported import MOST_TOKENS, Count, read_name

_INPUT_COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_COUNTS = (*_INPUT_COUNTS, "output_tokens", "cache_creation")

# Rounds that the counts beside `iterations` hold, or may hold: of a fallback they hold only the last.
_IN_THE_COUNTS = frozenset({"message", "fallback_message"})


class Iteration(msgspec.Struct, frozen=True):
    """One round of a call. Its tokens are in the call's usage; another `model` than the one asked has other prices."""

    kind: str  # message, compaction, advisor_message, fallback_message, or what comes next
    model: str | None
    usage: Usage


class Reported(msgspec.Struct, frozen=True):
    """All that a report says."""

    usage: Usage
    server_tool_use: Mapping[str, int] = {}  # how often each server-side tool ran, as named by the provider
    iterations: tuple[Iteration, ...] = ()


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: Count | None = None
    ephemeral_1h_input_tokens: Count | None = None


class _Counts(msgspec.Struct):
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_creation: _CacheCreation | None = None


class _Round(_Counts):
    type: Any = None
    model: Any = None


class _OutputDetails(msgspec.Struct):
    thinking_tokens: Count | None = None


class _Report(_Counts):
    output_tokens_details: _OutputDetails | None = None
    iterations: list[_Round] | None = None
    server_tool_use: Any = None
    service_tier: Any = None
    speed: Any = None
    inference_geo: Any = None


class _Tokens(NamedTuple):
    plain: int
    read: int
    written: int
    hour: int  # part of written
    made: int


_NO_TOKENS = _Tokens(0, 0, 0, 0, 0)


def merge(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Two reports of one stream as one: field by field the later one stands, for reports are running totals.

    Two exceptions. A report with `iterations` speaks for itself: what came before may be the count of a round
    that it lists. A report whose input counts are all zero says nothing of the input: no call has none.
    """
    said = {name: value for name, value in later.items() if value is not None}
    if said.get("iterations"):
        earlier = {name: value for name, value in earlier.items() if name not in _COUNTS}
    elif not any(said.get(name) for name in _INPUT_COUNTS):
        said = {name: value for name, value in said.items() if name not in _INPUT_COUNTS}
    return {**earlier, **said}


def read_usage(reported: Any, hour_cache: bool = False) -> Reported | None:
    """The meters of a decoded `usage` object; None if a count is missing, negative, absurd or not a whole number.

    `hour_cache`: the request may write to the hour's cache, so writes of a lifetime that nobody tells count as that.
    """
    try:
        report = msgspec.convert(reported, _Report)
    except (ValueError, RecursionError):
        return None
    rounds = report.iterations or []
    if (report.input_tokens is None or report.output_tokens is None) and not rounds:
        return None
    total = _tokens(report, hour_cache)
    if rounds:
        inside = _sum(_tokens(each, hour_cache) for each in rounds if read_name(each.type) in _IN_THE_COUNTS)
        beside = _sum(_tokens(each, hour_cache) for each in rounds if read_name(each.type) not in _IN_THE_COUNTS)
        total = _sum((_Tokens(*map(max, total, inside)), beside))
    if sum(total) - total.hour > MOST_TOKENS:
        return None
    tier = _tier(report)
    details, tools = report.output_tokens_details, _tool_use(report.server_tool_use)
    thinking = (details.thinking_tokens or 0) if details else 0
    return Reported(
        usage=_usage(total, tier, thinking, tools.get("web_search_requests", 0)),
        server_tool_use=tools,
        iterations=tuple(
            Iteration(read_name(each.type) or "", read_name(each.model), _usage(_tokens(each, hour_cache), tier))
            for each in rounds
        ),
    )


def says_zero(reported: Mapping[str, Any]) -> bool:
    """Whether a report says that nothing was used at all: that is known usage, and no count that is still to come."""
    return reported.get("input_tokens") == 0 and reported.get("output_tokens") == 0


def read_input(reported: Any, hour_cache: bool = False) -> Usage | None:
    """The input side of the report at the head of a stream, whose output has only begun; None if it has none.

    Some servers tell cache writes at the end only: until they are told, all that can have been written counts as that.
    """
    try:
        report = msgspec.convert(reported, _Report)
    except (ValueError, RecursionError):
        return None
    if report.input_tokens is None:
        return None
    usage = _usage(_tokens(report, hour_cache)._replace(made=0), _tier(report))
    told = report.cache_creation_input_tokens is not None or report.cache_creation is not None
    return usage if told else usage.all_written(long=hour_cache)


def _tokens(counts: _Counts, hour_cache: bool) -> _Tokens:
    creation = counts.cache_creation or _CacheCreation()
    hour = creation.ephemeral_1h_input_tokens or 0
    told = hour + (creation.ephemeral_5m_input_tokens or 0)
    written = max(counts.cache_creation_input_tokens or 0, told)
    if hour or hour_cache:
        hour += written - told
    return _Tokens(
        plain=counts.input_tokens or 0,
        read=counts.cache_read_input_tokens or 0,
        written=written,
        hour=hour,
        made=counts.output_tokens or 0,
    )


def _sum(rounds: Iterable[_Tokens]) -> _Tokens:
    total = _NO_TOKENS
    for each in rounds:
        total = _Tokens(*map(int.__add__, total, each))
    return total


def _usage(tokens: _Tokens, tier: str | None, thinking: int = 0, searches: int = 0) -> Usage:
    return Usage(
        input_tokens=tokens.plain + tokens.read + tokens.written,
        output_tokens=tokens.made,
        cached_tokens=tokens.read,
        cache_write_tokens=tokens.written,
        reasoning_tokens=thinking,
        service_tier=tier,
        cache_write_1h_tokens=tokens.hour,
        web_search_requests=searches,
    )


def _tier(report: _Report) -> str | None:
    """None where the response says nothing about it at all."""
    capacity, speed, geography = map(read_name, (report.service_tier, report.speed, report.inference_geo))
    if capacity is None and speed is None and geography is None:
        return None
    return tier_name(capacity, speed, geography)


def _tool_use(reported: Any) -> dict[str, int]:
    if not is_object(reported):
        return {}
    return {
        name: uses
        for name, uses in reported.items()
        if read_name(name) is not None and type(uses) is int and 0 < uses <= MOST_TOKENS
    }
