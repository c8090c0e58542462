"""Price lines: an exact charge taken apart, as an invoice would.

The lines are core/pricing/charge.py's. They are shown only where they add up to what was charged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from comptroller.control.call_record import CallRecord
from comptroller.core.instant import to_datetime
from comptroller.core.money import format_usd
from comptroller.core.pricing.book import PriceBook
from comptroller.core.pricing.charge import charge_lines, charge_nanos
from comptroller.core.pricing.rates import DEFAULT_TIER

WORDS: Mapping[str, str] = {
    "input": "input",
    "output": "output",
    "cache_read": "cached input",
    "cache_write": "input written to the cache",
    "cache_write_1h": "input written to the cache for an hour or longer",
    "audio_input": "audio input",
    "audio_output": "audio output",
    "image_input": "image input",
    "image_output": "image output",
    "video_input": "video input",
    "cache_read_audio": "cached audio input",
    "cache_read_image": "cached image input",
    "reasoning": "reasoning",
    "request": "request",
    "web_search": "web searches",
    "file_search": "file searches",
    "image": "images",
    "character": "characters",
    "audio_hour": "audio by its length",
    "result_unit": "units of the result",
}
"""What a person calls each meter."""


class PriceLine(msgspec.Struct, frozen=True):
    meter: str
    tokens: int  # of a fee: how many times; of other meters: characters, milliseconds
    usd_per_million: str  # of a fee: for a million times; of audio by its length: for a million milliseconds


def price_lines(record: CallRecord, book: PriceBook) -> Sequence[PriceLine]:
    """The lines of a posted charge; none where the book has changed since or they would not add up."""
    facts, usage, charge, end = record.facts, record.usage, record.charge, record.state
    if record.tried:  # what was reported is of the last one
        charge, end = record.tried[-1].charge, record.tried[-1].end
    if end != "posted" or usage is None or charge is None or record.corrected:
        return ()
    name = facts.model or facts.tool
    if facts.provider is None or name is None or facts.price_version != book.version:
        return ()
    rates = book.rates(facts.provider, name, to_datetime(facts.at_ns).date()).get(record.service_tier or DEFAULT_TIER)
    if rates is None:
        return ()
    if charge_nanos(usage, rates) != charge.usd:
        return ()
    return [PriceLine(WORDS[line.meter], line.units, format_usd(line.rate)) for line in charge_lines(usage, rates)]
