"""From one model of genai-prices to lines of our book, exactly or not at all.

Its table has a price for each meter (`input_mtok`: USD per million tokens), perhaps another for longer prompts
(`TieredPrices`), from a date or at hours of the day (`ConditionalPrice`), and overrides for a service tier, a
batch or a speed (`PriceVariant`). Its own `get_prices` resolves them; this asks it for every day and tier at
which the answer changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal

import msgspec
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from comptroller.core.money import NANOS_PER_USD
from comptroller.core.pricing.book import ALWAYS, Price
from comptroller.core.pricing.rates import DEFAULT_TIER, Rates, per_hour

# Its price keys, ours, and how many of its units make a million of ours.
_METERS: Mapping[str, tuple[str, int]] = {
    "input_mtok": ("input", 1),
    "output_mtok": ("output", 1),
    "cache_read_mtok": ("cache_read", 1),
    "cache_write_mtok": ("cache_write", 1),
    "cache_write_1h_mtok": ("cache_write_1h", 1),
    "input_audio_mtok": ("audio_input", 1),
    "output_audio_mtok": ("audio_output", 1),
    "cache_audio_read_mtok": ("cache_read_audio", 1),
    "input_image_mtok": ("image_input", 1),
    "output_image_mtok": ("image_output", 1),
    "cache_image_read_mtok": ("cache_read_image", 1),
    "input_video_mtok": ("video_input", 1),
    "output_reasoning_mtok": ("reasoning", 1),
    "requests_kcount": ("request", 1_000),
    "web_searches_kcount": ("web_search", 1_000),
    "storage_searches_kcount": ("file_search", 1_000),
    "input_mchars": ("character", 1),
    "input_audio_hours": ("audio_hour", 1),
    "audio_hours": ("audio_hour", 1),
}

# Models that take something else than tokens have no price for those.
_OTHER_INPUT = frozenset({"input_mchars", "input_audio_hours", "audio_hours"})

_BySize = dict[int, dict[str, int]]  # rates by meter, by the size of prompt above which they apply


class Unusable(Exception):
    """The table knows the model, and its price cannot be used; the message says why."""


def price_lines(model: ModelInfo, name: str, source: str, *, own: bool) -> tuple[Price, ...]:
    """All lines of a model, under the name that it was asked for by. Raises Unusable.

    `own`: it was found under the provider itself. Variants do not hold for models that others resell.
    """
    variants = (model.price_variants or []) if own else []
    lines: list[Price] = []
    for tier, context in _tiers(variants).items():
        before: _BySize | None = None
        for day in _days(model, variants):
            if tier != DEFAULT_TIER and not any(_holds(one, context, day) for one in variants):
                continue
            sizes = _dearest_of_day(model, context if own else {}, day)
            if sizes != before:
                lines += _lines(name, day, tier, sizes, source)
                before = sizes
    return tuple(lines)


def _tiers(variants: Sequence[PriceVariant]) -> Mapping[str, Mapping[str, str]]:
    """Every tier that has a price of its own, and what the table calls it."""
    found: dict[str, Mapping[str, str]] = {DEFAULT_TIER: {"service_tier": DEFAULT_TIER}}
    for variant in variants:
        match list(variant.when.items()):
            case [("service_tier", tier)]:
                found[tier] = variant.when
            case [("processing", "batch")] | [("speed", "fast")]:
                found[next(iter(variant.when.values()))] = variant.when
            case _:
                raise Unusable(f"it is priced by {' and '.join(variant.when)}, which no answer tells us")
    return found


def _days(model: ModelInfo, variants: Sequence[PriceVariant]) -> Sequence[date]:
    """The days on which a price begins."""
    starts = {each.start_date for each in _constraints(model, variants) if isinstance(each, StartDateConstraint)}
    return [ALWAYS, *sorted(starts)]


def _constraints(
    model: ModelInfo, variants: Sequence[PriceVariant]
) -> Iterator[StartDateConstraint | TimeOfDateConstraint | None]:
    for each in (*_conditional(model), *variants):
        yield each.constraint


def _conditional(model: ModelInfo) -> Sequence[ConditionalPrice]:
    return model.prices if isinstance(model.prices, list) else ()


def _holds(variant: PriceVariant, context: Mapping[str, str], day: date) -> bool:
    begun = not isinstance(variant.constraint, StartDateConstraint) or variant.constraint.start_date <= day
    return variant.when == context and begun


def _dearest_of_day(model: ModelInfo, context: Mapping[str, str], day: date) -> _BySize:
    """The rates of a day. Where they change with the hour, each is the dearest: our lines are for whole days."""
    found: _BySize = {}
    for hour in _hours(model):
        for over, rates in _sizes(model.get_prices(datetime.combine(day, hour, UTC), context)).items():
            so_far = found.setdefault(over, {})
            so_far.update({meter: max(rate, so_far.get(meter, 0)) for meter, rate in rates.items()})
    return found


def _hours(model: ModelInfo) -> set[time]:
    found = {time(0)}
    for each in _constraints(model, model.price_variants or ()):
        if isinstance(each, TimeOfDateConstraint):
            found |= {each.start_time.replace(tzinfo=None), each.end_time.replace(tzinfo=None)}
    return found


def _sizes(price: ModelPrice) -> _BySize:
    said: dict[str, Decimal | TieredPrices] = {key: value for key, value in vars(price).items() if value is not None}
    if _OTHER_INPUT.isdisjoint(said) and "input_mtok" not in said:
        raise Unusable("it has no price for input tokens there")
    strange = sorted(said.keys() - _METERS.keys() or (said.keys() & _OTHER_INPUT if "input_mtok" in said else ()))
    if strange:
        raise Unusable(f"it is also priced by {', '.join(strange)}, which no answer tells us")
    sizes = {0, *(tier.start for value in said.values() if isinstance(value, TieredPrices) for tier in value.tiers)}
    return {over: _rates(said, over) for over in sorted(sizes)}


def _rates(said: Mapping[str, Decimal | TieredPrices], over: int) -> dict[str, int]:
    """The rates of a prompt that is just larger than this. A model without a price for output makes none."""
    found = {"input": 0, "output": 0}
    for key, value in said.items():
        meter, millions = _METERS[key]
        rate = _exact(key, _usd(value, over), millions)
        found[meter] = max(found.get(meter, 0), per_hour(rate) if meter == "audio_hour" else rate)
    return found


def _usd(value: Decimal | TieredPrices, over: int) -> Decimal:
    if isinstance(value, Decimal):
        return value
    reached = [tier.price for tier in value.tiers if tier.start <= over]
    return reached[-1] if over and reached else value.base


def _exact(key: str, usd: Decimal, millions: int) -> int:
    """Nano-USD per million units, if it is a whole number of them."""
    numerator, denominator = usd.as_integer_ratio()
    rate, rest = divmod(numerator * NANOS_PER_USD * millions, denominator)
    if rest or rate < 0:
        raise Unusable(f"its price {key} = {usd} is not a whole number of nano-USD")
    return rate


def _lines(name: str, day: date, tier: str, sizes: _BySize, source: str) -> Iterator[Price]:
    for over, rates in sizes.items():
        exact = msgspec.convert(rates, Rates)
        yield Price(name, day, exact, service_tier=tier, over_input_tokens=over, source=source)
