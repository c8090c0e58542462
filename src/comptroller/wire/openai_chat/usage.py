"""What a chat completions provider reports, in our meters.

The cache convention is explicit: `prompt_tokens` is the TOTAL input; cached and written tokens are inside
of it. Source: the OpenAI API reference, and what compatible servers were seen to send.
"""

from __future__ import annotations

from typing import Any

import msgspec

from comptroller.core.pricing.usage import Usage
from comptroller.wire.body import is_object
from comptroller.wire.reported import Count


class _InputDetails(msgspec.Struct):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: Count | None = None
    audio_tokens: Count | None = None
    image_tokens: Count | None = None  # OpenRouter


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


def read_usage(reported: Any, service_tier: str | None, long_cache: bool = False) -> Usage | None:
    """The meters of a decoded `usage` object; None if a count is missing, negative, absurd or not a whole number.

    `long_cache`: the request may write to a cache of an hour or longer. No report tells those writes apart, so all
    of them count as that.
    """
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
    audio, images = inside.audio_tokens or 0, inside.image_tokens or 0
    cached_audio, cached_images = _cached_media(audio, images, cached, cached + written - input_tokens)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached,
        cache_write_tokens=written,
        audio_input_tokens=audio,
        reasoning_tokens=reasoning,
        audio_output_tokens=made.audio_tokens or 0,
        service_tier=service_tier,
        cache_write_1h_tokens=written if long_cache else 0,
        image_input_tokens=images,
        image_output_tokens=made.image_tokens or 0,
        cached_audio_tokens=cached_audio,
        cached_image_tokens=cached_images,
    )


def tells_writes(reported: Any) -> bool:
    """Whether a report says how much was written to the cache, though it be nothing."""
    details = reported.get("prompt_tokens_details") if is_object(reported) else None
    return is_object(details) and details.get("cache_write_tokens") is not None


def _cached_media(audio: int, images: int, cached: int, over: int) -> tuple[int, int]:
    """How much audio and how many images were read from the cache: as little as lets all parts fit into the input.

    No report says it. Less from the cache is never cheaper, so the charge errs to the dear side, inside of the hold.
    `over`: cached and written tokens less the input.
    """
    if not audio and not images:
        return 0, 0
    shared = min(cached, max(0, audio + images + over))
    return min(audio, max(0, shared - images)), min(images, shared)


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
