"""What the table leaves out: multiples that providers publish of prices it has, and fees that it does not have.

Each multiple is here because without it a hold would not be an upper bound, or a charge could not be made. A
second table bears them out for every model that it knows (tests/pricing). A model whose fee is not there is not
priced at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from comptroller.core.pricing.book import Price
from comptroller.core.pricing.rates import DEFAULT_TIER, FEES, METERS, Rates

# A cache write that OpenAI keeps for 12 hours costs twice one for 30 minutes; the table has the latter alone.
_LONG_WRITE = 2

# Models that search unasked, by parts of their names, and the fee without which they have no price: OpenAI's search
# models and Perplexity's with every call, and no report counts it; those that research as often as they like.
_SEARCH_UNASKED = {
    **dict.fromkeys(("search-preview", "search-api", "sonar", "-online"), "request"),
    "deep-research": "web_search",
}

# Anthropic: US-only inference costs 1.1 times every token price, from the 4.6 models on. Those before:
_US_TENTHS = 11
_NO_US_PRICE = frozenset(
    "claude-v1 claude-2 claude-3-haiku claude-3-sonnet claude-3-opus-latest claude-3-5-haiku-latest claude-3-5-sonnet "
    "claude-3-7-sonnet-latest claude-sonnet-4-0 claude-opus-4-0 claude-opus-4-1 claude-sonnet-4-5 claude-haiku-4-5 "
    "claude-opus-4-5".split()
)


def lacks_a_fee(model: str, lines: Sequence[Price]) -> bool:
    """Whether a model searches unasked and a line of it has no price for that."""
    fees = [fee for part, fee in _SEARCH_UNASKED.items() if part in model]
    return any(getattr(line.rates, fee) is None for line in lines for fee in fees)


def supplemented(table: str, model: str, lines: Sequence[Price]) -> tuple[Price, ...]:
    """The lines with what is missing. `table` and `model` as genai-prices names them."""
    if table == "openai":
        return tuple(_with_long_writes(line) for line in lines)
    if table == "anthropic" and model not in _NO_US_PRICE:
        return (*lines, *_us_only(lines))
    return tuple(lines)


def _with_long_writes(line: Price) -> Price:
    rates = line.rates
    if rates.cache_write is None or rates.cache_write_1h is not None:
        return line
    more = msgspec.structs.replace(rates, cache_write_1h=rates.cache_write * _LONG_WRITE)
    return msgspec.structs.replace(line, rates=more)


def _us_only(lines: Sequence[Price]) -> Iterator[Price]:
    """The names of the tiers are those of wire/anthropic_messages/tiers.py."""
    for line in lines:
        tier = "us" if line.service_tier == DEFAULT_TIER else f"{line.service_tier}-us"
        yield msgspec.structs.replace(
            line, service_tier=tier, rates=_times(line.rates), source=f"{line.source} (US-only: 1.1 times)"
        )


def _times(rates: Rates) -> Rates:
    """Every token price times 1.1, rounded up where that is not a whole nano-USD per million."""
    dearer = {
        meter: -(-rate * _US_TENTHS // 10)
        for meter in METERS
        if meter not in FEES and (rate := getattr(rates, meter)) is not None
    }
    return msgspec.structs.replace(rates, **dearer)
