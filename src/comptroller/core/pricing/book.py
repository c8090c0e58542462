"""The price book: dated unit prices per model and service tier, those of the registry over the shipped ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Protocol

import msgspec

from comptroller.core.pricing.rates import DEFAULT_TIER, Rates, Size
from comptroller.core.pricing.tariff import Tariff

__all__ = ["ALWAYS", "DEFAULT_TIER", "REGISTRY", "Price", "PriceBook", "Rates", "Shipped"]

ALWAYS = date.min
REGISTRY = "registry"
SERVER = "mcp/"
"""Names of providers that are MCP servers begin so: what they have is tools, by full names."""
_MOST_KEPT = 10_000  # answers; model names come from callers


class Price(msgspec.Struct, frozen=True):
    """One line of the book: from this day (UTC) on, this model in this tier costs this.

    Lines that differ in nothing but `over_input_tokens` belong together: one without it, and one for each
    size of prompt from which on the price is another. A later day replaces all of them at once.
    """

    model: str  # a name or a pattern with * and ?
    first_day: date
    rates: Rates
    provider: str | None = None
    service_tier: str = DEFAULT_TIER
    over_input_tokens: int = 0
    source: str = REGISTRY


class Shipped(Protocol):
    """Prices that come with the gateway. Asked for one model at a time, because there are thousands."""

    @property
    def version(self) -> str:
        """Where they are from, in which version."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever an answer of `prices` can."""
        ...

    def knows(self, provider: str) -> bool:
        """Whether any model of this provider of ours can have a price."""
        ...

    def prices(self, provider: str, model: str) -> Sequence[Price]:
        """The lines for a model of one of our providers; none if it is not known."""
        ...

    def why_not(self, provider: str, model: str) -> str:
        """Why there are none, in a sentence."""
        ...


NO_NAMES: Mapping[tuple[str, str], str] = MappingProxyType({})


class PriceBook:
    """Looks prices up. `version` names this exact set of prices on every charge."""

    def __init__(
        self,
        prices: Iterable[Price],
        version: str,
        shipped: Shipped | None = None,
        names: Mapping[tuple[str, str], str] = NO_NAMES,
        tools: Iterable[Price] = (),
    ) -> None:
        """`names`: what providers call our models, by provider and model, where it is another name.

        `tools`: the lines for tools; their `model` is the full name of one, or a pattern.
        """
        self.version = version
        self._names = names
        self.shipped = shipped
        self._prices = tuple(prices)
        self._tools = tuple(tools)
        self._found: dict[tuple[str, str, date], Tariff] = {}

    def rates(self, provider: str, model: str, day: date) -> Tariff:
        """The rates in force on a day by service tier; empty where the book knows no price."""
        key = (provider, model, day)
        found = self._found.get(key)
        if found is None:
            if len(self._found) > _MOST_KEPT:
                self._found.clear()
            lines = self.lines(provider, model, day)
            found = self._found[key] = Tariff({tier: _joined(some) for tier, some in lines.items()})
        return found

    def lines(self, provider: str, model: str, day: date) -> Mapping[str, Sequence[Price]]:
        """The lines behind `rates`, by tier: the one of any prompt first, then those of longer ones.

        A tier that the registry prices is the registry's alone; the closest line wins there: one that names
        the provider, then an exact or longer model, then the latest first day.
        """
        if provider.startswith(SERVER):
            return _closest(self._tools, provider, model, day)
        shipped, named = () if self.shipped is None else self.shipped.prices(provider, model), model
        other = self._names.get((provider, model))
        if not shipped and other is not None and self.shipped is not None:
            shipped, named = self.shipped.prices(provider, other), other
        return {**_closest(shipped, provider, named, day), **_closest(self._prices, provider, model, day)}


def _closest(prices: Iterable[Price], provider: str, model: str, day: date) -> dict[str, list[Price]]:
    best: dict[str, tuple[tuple[bool, bool, int, date, str], list[Price]]] = {}
    for price in prices:
        if price.first_day > day or price.provider not in {None, provider} or not fnmatchcase(model, price.model):
            continue
        rank = _closeness(price)
        rival = best.get(price.service_tier)
        if rival is None or rank > rival[0]:
            best[price.service_tier] = (rank, [price])
        elif rank == rival[0]:
            rival[1].append(price)
    return {tier: sorted(lines, key=lambda line: line.over_input_tokens) for tier, (_, lines) in best.items()}


def _closeness(price: Price) -> tuple[bool, bool, int, date, str]:
    exact = not any(mark in price.model for mark in "*?[")
    return (price.provider is not None, exact, len(price.model), price.first_day, price.model)


def _joined(lines: Sequence[Price]) -> Rates:
    """The rates of a tier from its lines. Without a line for any prompt the first one stands for all."""
    first, *longer = lines
    if not longer:
        return first.rates
    sizes = tuple(Size(line.over_input_tokens, line.rates) for line in longer)
    return msgspec.structs.replace(first.rates, sizes=sizes)
