"""The shipped prices of our providers, looked up one model at a time and kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from comptroller.core.pricing.book import Price
from comptroller.core.problem import Problem, did_you_mean, join
from comptroller.shipped.supplements import lacks_a_fee, supplemented

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

_PACKAGE = "genai-prices"
_MOST_KEPT = 10_000  # answers; model names come from callers


class _Found(NamedTuple):
    lines: Sequence[Price]
    why_not: str


class ShippedBook:
    """genai-prices' table for our providers. Implements core/pricing/book.py's `Shipped`.

    The table is a Python module of thousands of models: it is loaded at the first question (or by `check`),
    which takes about half a second, and each model is read when it is asked for. Nothing here opens a
    connection: the package's own updater is never started.
    """

    def __init__(self, tables: Mapping[str, str]) -> None:
        """`tables`: for each of our providers the id of one in genai-prices, or the URL to know it by."""
        self.version = f"{_PACKAGE} {version(_PACKAGE)}"
        self.fingerprint = msgspec.json.encode((self.version, sorted(tables.items()))).decode()
        self._tables = dict(tables)
        self._providers: dict[str, Provider | None] = {}
        self._found: dict[tuple[str, str], _Found] = {}

    def check(self) -> tuple[Problem, ...]:
        """Load the table, and say which providers' `price_provider` is not in it."""
        if not self._tables:
            return ()
        known = [provider.id for provider in _providers()]
        return tuple(
            Problem(
                f"{join('providers', name)}.price_provider",
                f"The shipped price book knows no provider {table!r}.",
                did_you_mean(table, known),
            )
            for name, table in self._tables.items()
            if not _is_url(table) and table not in known
        )

    def knows(self, provider: str) -> bool:
        return self._provider(provider) is not None

    def prices(self, provider: str, model: str) -> Sequence[Price]:
        return self._look_up(provider, model).lines

    def why_not(self, provider: str, model: str) -> str:
        return self._look_up(provider, model).why_not

    def _look_up(self, provider: str, model: str) -> _Found:
        key = (provider, model)
        found = self._found.get(key)
        if found is None:
            if len(self._found) > _MOST_KEPT:
                self._found.clear()
            found = self._found[key] = self._read(provider, model)
        return found

    def _read(self, provider: str, model: str) -> _Found:
        table = self._provider(provider)
        if table is None:
            return _Found((), f"{provider} has no table in the shipped price book")
        found = table.find_model(model, all_providers=_providers())
        if found is None:
            return _Found((), f"the shipped price book does not know the model under {table.id}")
        return self._convert(table, found, model)

    def _convert(self, table: Provider, model: ModelInfo, name: str) -> _Found:
        from comptroller.shipped.lines import Unusable, price_lines

        own = any(each is model for each in table.models)
        known = f"the shipped price book knows the model under {table.id}"
        source = f"{self.version}, {table.id}: {model.id}"
        try:
            lines = price_lines(model, name, source, own=own)
        except Unusable as reason:
            return _Found((), f"{known}, but {reason}")
        if lacks_a_fee(f"{name} {model.id}", lines):
            return _Found((), f"{known}, but it searches unasked, and the fee for that is not there")
        return _Found(supplemented(table.id, model.id, lines) if own else lines, "")

    def _provider(self, name: str) -> Provider | None:
        if name not in self._tables:
            return None
        if name not in self._providers:
            self._providers[name] = _find(self._tables[name])
        return self._providers[name]


def _providers() -> list[Provider]:
    """The bundled table; never the one that an updater may have fetched."""
    from genai_prices.data import providers

    return providers


def _find(table: str) -> Provider | None:
    if _is_url(table):
        return next((each for each in _providers() if re.match(each.api_pattern, table)), None)
    return next((each for each in _providers() if each.id == table), None)


def _is_url(table: str) -> bool:
    return "://" in table
