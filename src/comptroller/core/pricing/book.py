"""The price book: dated unit prices per model and service tier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from fnmatch import fnmatchcase

import msgspec

DEFAULT_TIER = "default"
# What some providers call the tier that everybody gets.
TIER_ALIASES: Mapping[str, str] = {"standard": DEFAULT_TIER, "on_demand": DEFAULT_TIER, "auto": DEFAULT_TIER}


class Rates(msgspec.Struct, frozen=True):
    """Prices in nano-USD per million tokens. A part without a price of its own is billed as its whole."""

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    audio_input: int | None = None
    reasoning: int | None = None
    audio_output: int | None = None

    @property
    def dearest_input(self) -> int:
        """The most that one text or image token of input can cost."""
        return max(self.input, self.cache_read or 0, self.cache_write or 0)

    @property
    def dearest_output(self) -> int:
        """The most that one text token of output can cost."""
        return max(self.output, self.reasoning or 0)


class Price(msgspec.Struct, frozen=True):
    """One line of the book: from this day (UTC) on, this model in this tier costs this."""

    model: str  # a name or a pattern with * and ?
    first_day: date
    rates: Rates
    provider: str | None = None
    service_tier: str = DEFAULT_TIER


class PriceBook:
    """Looks prices up. `version` names this exact set of prices on every charge."""

    def __init__(self, prices: Iterable[Price], version: str) -> None:
        self.version = version
        self._prices = tuple(prices)
        self._found: dict[tuple[str, str, date], Mapping[str, Rates]] = {}

    def rates(self, provider: str, model: str, day: date) -> Mapping[str, Rates]:
        """The rates in force on a day by service tier; empty where the book knows no price.

        The closest line wins per tier: one that names the provider, then the longest model pattern, then
        the latest first day.
        """
        key = (provider, model, day)
        found = self._found.get(key)
        if found is None:
            if len(self._found) > 10_000:
                self._found.clear()
            found = self._found[key] = self._search(provider, model, day)
        return found

    def _search(self, provider: str, model: str, day: date) -> Mapping[str, Rates]:
        best: dict[str, Price] = {}
        for price in self._prices:
            if price.first_day > day or price.provider not in {None, provider} or not fnmatchcase(model, price.model):
                continue
            rival = best.get(price.service_tier)
            if rival is None or _closeness(price) > _closeness(rival):
                best[price.service_tier] = price
        return {tier: price.rates for tier, price in best.items()}


def _closeness(price: Price) -> tuple[bool, bool, int, date]:
    exact = not any(mark in price.model for mark in "*?[")
    return (price.provider is not None, exact, len(price.model), price.first_day)
