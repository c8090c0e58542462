"""What a chat completions provider reports, in our meters.

The cache convention is explicit: `prompt_tokens` is the TOTAL input; cached and written tokens are inside
of it. Source: the OpenAI API reference, and what compatible servers were seen to send.
"""

from __future__ import annotations

from typing import Any

import msgspec

from comptroller.core.pricing.usage import Usage
from comptroller.wire.reported import Count


class _InputDetails(msgspec.Struct):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    audio_tokens: Count | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Count | None = None
    audio_tokens: Count | None = None


class _Reported(msgspec.Struct):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: Count | None = None  # DeepSeek
    cached_tokens: Count | None = None  # Moonshot
    reasoning_tokens: Count | None = None  # Perplexity


_NO_INPUT_DETAILS = _InputDetails()
_NO_OUTPUT_DETAILS = _OutputDetails()


def read_usage(reported: Any, service_tier: str | None) -> Usage | None:
    """The meters of a decoded `usage` object; None if a count is missing, negative, absurd or not a whole number."""
    try:
        usage = msgspec.convert(reported, _Reported)
    except (ValueError, RecursionError):
        return None
    inside = usage.prompt_tokens_details or _NO_INPUT_DETAILS
    made = usage.completion_tokens_details or _NO_OUTPUT_DETAILS
    cached = _first(inside.cached_tokens, usage.prompt_cache_hit_tokens, usage.cached_tokens)
    written = inside.cache_write_tokens or 0
    reasoning = _first(made.reasoning_tokens, usage.reasoning_tokens)
    input_tokens, output_tokens, reasoning = _totals(usage, cached + written, reasoning)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached,
        cache_write_tokens=written,
        audio_input_tokens=inside.audio_tokens or 0,
        reasoning_tokens=reasoning,
        audio_output_tokens=made.audio_tokens or 0,
        service_tier=service_tier,
    )


def _totals(usage: _Reported, cached: int, reasoning: int) -> tuple[int, int, int]:
    """(input, output, reasoning) with every token of the provider's own total in one of the first two.

    Some servers leave tokens out of both parts that are in the total: xAI its reasoning tokens, Gemini's
    OpenAI route its thinking without naming it. Others count cached tokens beside the prompt.
    """
    input_tokens, output_tokens = usage.prompt_tokens, usage.completion_tokens
    beside = (usage.total_tokens or 0) - input_tokens - output_tokens
    if beside <= 0:
        return input_tokens, output_tokens, reasoning
    if beside == reasoning:
        return input_tokens, output_tokens + beside, reasoning
    if beside == cached:
        return input_tokens + beside, output_tokens, reasoning
    return input_tokens, output_tokens + beside, reasoning or beside


def _first(*counts: int | None) -> int:
    """The first that was reported: an explicit zero stays zero."""
    return next((count for count in counts if count is not None), 0)
