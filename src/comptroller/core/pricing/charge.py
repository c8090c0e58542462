"""The exact charge: the one place where usage and rates become money."""

from __future__ import annotations

from comptroller.core.money import total_nanos
from comptroller.core.pricing.book import Rates
from comptroller.core.pricing.usage import Usage


def charge_nanos(usage: Usage, rates: Rates) -> int:
    """What this usage costs, in nano-USD, rounded up once.

    The cache convention is explicit: cached, written and audio tokens are *inside* the input total, so
    each is taken out of it and billed at its own rate. A part that is said to be larger than what is
    left of its whole (seen from faulty servers) is billed in full all the same.
    """
    cached, written, heard = usage.cached_tokens, usage.cache_write_tokens, usage.audio_input_tokens
    thought, spoken = usage.reasoning_tokens, usage.audio_output_tokens
    plain_input = max(0, usage.input_tokens - cached - written - heard)
    plain_output = max(0, usage.output_tokens - thought - spoken)
    return total_nanos(
        (
            (plain_input, rates.input),
            (cached, _or(rates.cache_read, rates.input)),
            (written, _or(rates.cache_write, rates.input)),
            (heard, _or(rates.audio_input, rates.input)),
            (plain_output, rates.output),
            (thought, _or(rates.reasoning, rates.output)),
            (spoken, _or(rates.audio_output, rates.output)),
        )
    )


def _or(rate: int | None, whole: int) -> int:
    return whole if rate is None else rate
