"""What is left of rates, in the headers that the ecosystem's clients read.

OpenAI: x-ratelimit-{limit,remaining,reset}-{requests,tokens}, the reset as a duration (6m0s). Anthropic:
anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}, the reset as RFC 3339. The limit is what may come before
it is used up, the reset when nothing of it is used any more (both providers' documentation of rate limits).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from comptroller.core.instant import format_instant

Headers = Sequence[tuple[bytes, bytes]]
_MS = 1_000_000
_NAMES = {"calls": "requests", "tokens": "tokens"}


class Told(NamedTuple):
    """What a caller is told of one rate."""

    unit: str  # calls or tokens
    limit: int
    remaining: int
    full_in_ns: int


def rate_headers(family: str, told: Sequence[Told], now_ns: int) -> Headers:
    """In the words of a family of APIs; none where it has no words for it."""
    match family:
        case "openai":
            return [
                (f"x-ratelimit-{what}-{_NAMES[each.unit]}".encode(), value.encode())
                for each in told
                for what, value in (*_numbers(each), ("reset", duration(each.full_in_ns)))
            ]
        case "anthropic":
            return [
                (f"anthropic-ratelimit-{_NAMES[each.unit]}-{what}".encode(), value.encode())
                for each in told
                for what, value in (*_numbers(each), ("reset", format_instant(now_ns + each.full_in_ns)))
            ]
        case _:
            return ()


def duration(span_ns: int) -> str:
    """A span as OpenAI writes it, rounded up to a millisecond: 20ms, 1.5s, 6m0s, 1h0m0s."""
    whole_ms = -(-span_ns // _MS)
    if whole_ms < 1000:
        return f"{whole_ms}ms"
    seconds, ms = divmod(whole_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    said = f"{seconds}.{ms:03d}".rstrip("0") + "s" if ms else f"{seconds}s"
    if hours:
        return f"{hours}h{minutes}m{said}"
    return f"{minutes}m{said}" if minutes else said


def _numbers(told: Told) -> tuple[tuple[str, str], ...]:
    return ("limit", str(told.limit)), ("remaining", str(told.remaining))
