"""Prices: what a model costs on a day, meter by meter, and where each price is from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import not_found
from comptroller.core.instant import to_datetime
from comptroller.core.money import format_usd
from comptroller.core.pricing.book import ALWAYS, REGISTRY, SERVER, Price
from comptroller.core.pricing.rates import FEES, METERS, hourly
from comptroller.core.problem import did_you_mean

_PER_HOUR = ("audio_hour",)
_NOT_MILLIONS = {*FEES, *_PER_HOUR}
_PER_THOUSAND = 1_000


class PriceRow(msgspec.Struct, frozen=True):
    """One line of the book. A meter that is not there is billed as its whole: cached input as input."""

    provider: str
    service_tier: str
    over_input_tokens: int  # for prompts longer than this
    usd_per_million: Mapping[str, str]  # tokens, by meter
    usd_per_thousand: Mapping[str, str]  # fees, by meter
    first_day: str | None  # null: as long as the source knows
    source: str
    usd_per_hour: Mapping[str, str] = {}  # audio that is billed by its length


class PriceSheet(msgspec.Struct, frozen=True):
    model: str
    day: str
    version: str  # of the whole book, as charges keep it
    shipped: str | None  # what the shipped part of it is from
    prices: Sequence[PriceRow]
    notes: Sequence[str]


def show_prices(office: Office, model: str, provider: str | None, day: date | None) -> PriceSheet:
    """Every price of a model on a day (today's, in UTC, if none is named)."""
    book = office.gate.registry.prices
    day = to_datetime(office.gate.clock.now_ns()).date() if day is None else day
    rows: list[PriceRow] = []
    notes: list[str] = []
    for name in _providers(office, model, provider):
        lines = book.lines(name, model, day)
        rows += [row for tier in sorted(lines, key=_tier_rank) for row in _rows(name, lines[tier])]
        if not lines:
            notes.append(f"No price on {name}: {_why_not(office, name, model)}.")
    registry = office.gate.registry
    if registry.model(model) is None and registry.tool(model) is None:
        notes.append("No entry of the registry serves this model: calls for it are refused.")
    shipped = book.shipped.version if book.shipped is not None else None
    return PriceSheet(model, day.isoformat(), book.version, shipped, rows, notes)


def _providers(office: Office, model: str, provider: str | None) -> Sequence[str]:
    """The one that was named; else those that serve the model; else all."""
    known = office.gate.model_providers
    if provider is not None:
        if provider not in known:
            raise not_found(f"There is no provider {provider!r} in comptroller.toml.", did_you_mean(provider, known))
        return [provider]
    if office.gate.registry.tool(model) is not None:
        return [SERVER + model.partition("/")[0]]
    entry = office.gate.registry.model(model)
    return sorted(known) if entry is None else entry.providers


def _why_not(office: Office, provider: str, model: str) -> str:
    shipped = office.gate.registry.prices.shipped
    below = f"; {shipped.why_not(provider, model)}" if shipped is not None else ""
    return f"no line of the registry is for it{below}"


def _rows(provider: str, lines: Sequence[Price]) -> Iterator[PriceRow]:
    for line in lines:
        rates = {meter: rate for meter in METERS if (rate := getattr(line.rates, meter)) is not None}
        yield PriceRow(
            provider=provider,
            service_tier=line.service_tier,
            over_input_tokens=line.over_input_tokens,
            usd_per_million={meter: format_usd(rate) for meter, rate in rates.items() if meter not in _NOT_MILLIONS},
            usd_per_thousand={meter: format_usd(rates[meter] // _PER_THOUSAND) for meter in FEES if meter in rates},
            usd_per_hour={meter: format_usd(hourly(rates[meter])) for meter in _PER_HOUR if meter in rates},
            first_day=None if line.first_day == ALWAYS else line.first_day.isoformat(),
            source=f"registry: {line.model}" if line.source == REGISTRY else line.source,
        )


def _tier_rank(tier: str) -> tuple[bool, str]:
    return (tier != "default", tier)
