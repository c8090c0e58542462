"""What a Gemini provider reports, in our meters.

The conventions are explicit. Input: `promptTokenCount` has the cached tokens inside, and what tools of the provider
read (`toolUsePromptTokenCount`) stands beside it. Output: thoughts stand beside the candidates. A count that is left
out is zero, as in all JSON of protocol buffers, but no call is without a prompt.

Sources: the Gemini API and Vertex AI references; recorded answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from comptroller.core.pricing.rates import DEFAULT_TIER
from comptroller.core.pricing.usage import Usage
from comptroller.wire.reported import MOST_TOKENS, Count, read_name

# Vertex AI says with a word for traffic what the Gemini API says with a tier.
_TRAFFIC: Mapping[str, str] = {
    "on_demand": DEFAULT_TIER,
    "on_demand_priority": "priority",
    "on_demand_flex": "flex",
}


class _Modality(msgspec.Struct, rename="camel"):
    modality: str | None = None
    token_count: Count = 0


_Details = list[_Modality] | None


class _Reported(msgspec.Struct, rename="camel"):
    prompt_token_count: Count
    candidates_token_count: Count | None = None
    thoughts_token_count: Count | None = None
    tool_use_prompt_token_count: Count | None = None
    cached_content_token_count: Count | None = None
    total_token_count: Count | None = None
    prompt_tokens_details: _Details = None
    prompt_token_details: _Details = None  # of embeddings
    tool_use_prompt_tokens_details: _Details = None
    cache_tokens_details: _Details = None
    candidates_tokens_details: _Details = None
    service_tier: Any = None
    traffic_type: Any = None


def read_usage(reported: Any) -> Usage | None:
    """The meters of a decoded `usageMetadata`; None if a count is missing, negative, absurd or not a whole number."""
    try:
        usage = msgspec.convert(reported, _Reported)
    except (ValueError, RecursionError):
        return None
    cached, thoughts = usage.cached_content_token_count or 0, usage.thoughts_token_count or 0
    input_tokens = usage.prompt_token_count + (usage.tool_use_prompt_token_count or 0)
    output_tokens = (usage.candidates_token_count or 0) + thoughts
    # Whatever is in the provider's own total and in none of the parts: at the dearer price.
    output_tokens += max(0, (usage.total_token_count or 0) - input_tokens - output_tokens)
    if input_tokens + output_tokens > MOST_TOKENS:
        return None
    read, made = _by_modality(usage.cache_tokens_details), _by_modality(usage.candidates_tokens_details)
    heard, seen, watched = _media(usage)
    if usage.cache_tokens_details is None:
        read = _cached_media(heard, seen, watched, cached, input_tokens)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached,
        audio_input_tokens=heard,
        reasoning_tokens=thoughts,
        audio_output_tokens=made.get("AUDIO", 0),
        service_tier=_tier(usage),
        image_input_tokens=seen,
        image_output_tokens=made.get("IMAGE", 0),
        # There is no meter for cached video: it is billed as any cached token, so it is taken out here.
        video_input_tokens=max(0, watched - read.get("VIDEO", 0)),
        cached_audio_tokens=min(heard, read.get("AUDIO", 0)),
        cached_image_tokens=min(seen, read.get("IMAGE", 0)),
    )


def _media(usage: _Reported) -> tuple[int, int, int]:
    """Tokens of audio, images and video in the input, from the cache or not."""
    prompt = _by_modality(usage.prompt_tokens_details or usage.prompt_token_details)
    tools = _by_modality(usage.tool_use_prompt_tokens_details)
    heard, seen, watched = (prompt.get(kind, 0) + tools.get(kind, 0) for kind in ("AUDIO", "IMAGE", "VIDEO"))
    return heard, seen, watched


def _by_modality(details: _Details) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in details or ():
        kind = each.modality or ""
        found[kind] = found.get(kind, 0) + each.token_count
    return found


def _cached_media(heard: int, seen: int, watched: int, cached: int, input_tokens: int) -> dict[str, int]:
    """How much of the media came from the cache where no report says it: as little as lets all parts fit.

    Less from the cache is never cheaper, so the charge errs to the dear side, inside of the hold.
    """
    left = min(cached, max(0, heard + seen + watched + cached - input_tokens))
    found: dict[str, int] = {}
    for kind, tokens in (("VIDEO", watched), ("IMAGE", seen), ("AUDIO", heard)):
        found[kind] = min(tokens, left)
        left -= found[kind]
    return found


def _tier(usage: _Reported) -> str | None:
    """As the price book says it; None where the response says nothing about it."""
    said = (read_name(usage.service_tier) or "").lower().removeprefix("service_tier_")
    if said and said != "unspecified":
        return said
    traffic = (read_name(usage.traffic_type) or "").lower()
    return _TRAFFIC.get(traffic, traffic) if traffic and traffic != "traffic_type_unspecified" else None
