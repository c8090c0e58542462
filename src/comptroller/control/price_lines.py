"""Price lines: an exact charge taken apart, as an invoice would.

The charge itself is core/pricing/charge.py's. These lines are shown only where they add up to it; they are
an account of what was charged, never its source.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comptroller.control.interfaces import CallRecord
from comptroller.core.instant import to_datetime
from comptroller.core.money import format_usd, total_nanos
from comptroller.core.pricing.book import DEFAULT_TIER, PriceBook, Rates
from comptroller.core.pricing.usage import Usage


class PriceLine(msgspec.Struct, frozen=True):
    meter: str
    tokens: int
    usd_per_million: str


def price_lines(record: CallRecord, book: PriceBook) -> Sequence[PriceLine]:
    """The lines of a posted charge; none where the book has changed since or they would not add up."""
    facts, usage, charge = record.facts, record.usage, record.charge
    if record.state != "posted" or usage is None or charge is None or record.corrected:
        return ()
    if facts.provider is None or facts.model is None or facts.price_version != book.version:
        return ()
    rates = book.rates(facts.provider, facts.model, to_datetime(facts.at_ns).date()).get(
        record.service_tier or DEFAULT_TIER
    )
    if rates is None:
        return ()
    lines = [line for line in _lines(usage, rates) if line[1]]
    if total_nanos((tokens, rate) for _, tokens, rate in lines) != charge.usd:
        return ()
    return [PriceLine(meter, tokens, format_usd(rate)) for meter, tokens, rate in lines]


def _lines(usage: Usage, rates: Rates) -> Sequence[tuple[str, int, int]]:
    """(meter, tokens, rate): the parts with a price of their own, and the rest of each whole."""
    parts_in = (
        ("cached input", usage.cached_tokens, rates.cache_read),
        ("input written to the cache", usage.cache_write_tokens, rates.cache_write),
        ("audio input", usage.audio_input_tokens, rates.audio_input),
    )
    parts_out = (
        ("reasoning", usage.reasoning_tokens, rates.reasoning),
        ("audio output", usage.audio_output_tokens, rates.audio_output),
    )
    return (
        *_split("input", usage.input_tokens, rates.input, parts_in),
        *_split("output", usage.output_tokens, rates.output, parts_out),
    )


def _split(
    whole: str, tokens: int, rate: int, parts: Sequence[tuple[str, int, int | None]]
) -> Sequence[tuple[str, int, int]]:
    rest = max(0, tokens - sum(count for _, count, _ in parts))
    return ((whole, rest, rate), *((name, count, rate if own is None else own) for name, count, own in parts))
