"""[[prices]] of tools: the fields of their entries, and the lines of the book that are built of them.

Unlike fees of models, which price lists give for a thousand, these are for one call and for one unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

from comptroller.core.money import UNITS_PER_PRICE, parse_usd
from comptroller.core.pricing.book import Price
from comptroller.core.pricing.rates import Rates
from comptroller.core.problem import Problem
from comptroller.core.registry import fields
from comptroller.core.registry.entries import Entry, string
from comptroller.core.registry.fields import Field
from comptroller.core.registry.tool_entries import tool_pattern

TOOL_PRICE = (
    Field("tool", tool_pattern, mandatory=True),
    Field("from", fields.day, mandatory=True),
    Field("request", fields.price),
    Field("result_unit", fields.price),
)


def is_tool_price(raw: object) -> bool:
    """Whether a table of [[prices]] is for a tool."""
    return isinstance(raw, Mapping) and "tool" in raw


def check_tool_price(entry: Entry, place: str) -> Iterator[Problem]:
    """What no single field can know."""
    if "request" not in entry and "result_unit" not in entry:
        hint = "Add `request`, in USD for each call, or `result_unit`, in USD for each unit of its result."
        yield Problem(place, "This price of a tool has no amount.", hint)


def build_tool_price(entry: Entry) -> Price:
    """The line of the book. Its rates are in nano-USD per million, as all rates."""
    given = {
        name: parse_usd(string(entry, name)) * UNITS_PER_PRICE for name in ("request", "result_unit") if name in entry
    }
    rates = Rates(0, 0, request=given.get("request"), result_unit=given.get("result_unit"))
    return Price(string(entry, "tool"), date.fromisoformat(string(entry, "from")), rates)
