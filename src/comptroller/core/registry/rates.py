"""Rates in a registry: the fields of their entries, and what is built of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from comptroller.core.budget.budget import Mode, Visibility
from comptroller.core.budget.scope import Attribute
from comptroller.core.problem import Fault, Problem, join
from comptroller.core.rate.rate import MOST, Rate, default_burst, parse_pace
from comptroller.core.registry.entries import Entry, scope_of, string
from comptroller.core.registry.fields import Field, count

LONGEST_WAIT_MS = 60_000


def _pace(raw: object) -> str:
    return str(parse_pace(raw))


RATE = (
    Field("limit", _pace, mandatory=True),
    Field("burst", count(1, MOST)),
    Field("wait_ms", count(0, LONGEST_WAIT_MS)),
)
"""Beside what every limit on a scope has."""


def check_rate(entry: Entry, place: str) -> Iterator[Problem]:
    """What no single field can know."""
    try:
        pace = parse_pace(entry.get("limit"))
    except Fault:  # it was said where the field was read
        return
    if pace.unit == "at_once" and "burst" in entry:
        hint = "Leave it out: calls at once have no burst."
        yield Problem(join(place, "burst"), f"{pace} is a limit by itself.", hint)


def build_rate(key: str, entry: Entry) -> Rate:
    """The rate of an entry. Raises Fault for an entry that was not read from a file."""
    pace = parse_pace(entry["limit"])
    scope = cast("Mapping[Attribute, list[str]]", scope_of(entry))
    burst, wait_ms = entry.get("burst"), entry.get("wait_ms")
    return Rate(
        name=key,
        scope={attribute: tuple(values) for attribute, values in scope.items()},
        pace=pace,
        burst=burst if isinstance(burst, int) else default_burst(pace),
        per=cast("Attribute | None", entry.get("per")),
        mode=cast("Mode", string(entry, "mode")),
        visible=cast("Visibility", string(entry, "visible")),
        wait_ms=wait_ms if isinstance(wait_ms, int) else 0,
    )
