"""A second price table, made by other people: LiteLLM's (data/second_table.json says from which version)."""

import json
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

from comptroller.core.pricing.book import PriceBook
from comptroller.shipped import ShippedBook

DAY = date(2026, 11, 22)  # both tables were taken over in that month
TABLES = ("openai", "anthropic", "google")

Prices = dict[str, Fraction]  # USD per million tokens, by meter


@dataclass(frozen=True)
class Row:
    provider: str
    model: str
    over: int | None  # input tokens above which the long prices hold
    us_times: Fraction | None
    fast_times: Fraction | None
    web_search_per_thousand: Fraction | None
    prices: dict[str, Prices]  # by tier; `TIER long` for long prompts

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}"


def _row(raw: dict[str, Any]) -> Row:
    def maybe(name: str) -> Fraction | None:
        return Fraction(raw[name]) if name in raw else None

    return Row(
        provider=raw["provider"],
        model=raw["model"],
        over=raw.get("over"),
        us_times=maybe("us_times"),
        fast_times=maybe("fast_times"),
        web_search_per_thousand=maybe("web_search_per_thousand"),
        prices={tier: {m: Fraction(usd) for m, usd in p.items()} for tier, p in raw["usd_per_million"].items()},
    )


_RAW = json.loads((Path(__file__).parent / "data" / "second_table.json").read_text(encoding="utf-8"))
ROWS = {row.name: row for row in map(_row, _RAW["prices"])}
BOOK = PriceBook((), "test", ShippedBook({table: table for table in TABLES}))


def nanos(usd: Fraction) -> int:
    """Rounded up, once."""
    return -(-usd.numerator * 10**9 // usd.denominator)
