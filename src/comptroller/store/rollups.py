"""What calls add to the sums that reports read: a pure function of their rows.

    rollup = Rollup()
    rollup.take_away(contribution(row))   # as the call stood before
    rollup.add(contribution(row))         # as it stands now

A fold does that for every row that it writes, in its own transaction. So the sums always are the sums over
the rows, whatever the events were: corrections, second attempts and presumed ends need no rule of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from comptroller.core.instant import DAY_NS, QUARTER_HOUR_NS
from comptroller.store.rows import CallRow

Dimensions = tuple[str, str, str, str, str, str, str, str, str, str, str]
"""In the order of schema.SPEND_DIMENSIONS."""

_ALWAYS = 9  # dimensions that stood in a key from the first: it is the same for a call without the others


class Place(NamedTuple):
    """The finest sum that a call is part of."""

    start_ns: int  # of the quarter of an hour in which it was made, however late it was settled
    session: str
    dimensions: Dimensions


class Sums(msgspec.Struct, gc=False):
    """In the order of schema.SPEND_SUMS."""

    calls: int = 0
    refused: int = 0
    overruns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    charge_nanos: int = 0
    presumed_nanos: int = 0
    posted_tokens: int = 0
    posted_calls: int = 0

    def add(self, other: Sums, times: int = 1) -> None:
        self.calls += other.calls * times
        self.refused += other.refused * times
        self.overruns += other.overruns * times
        self.input_tokens += other.input_tokens * times
        self.output_tokens += other.output_tokens * times
        self.charge_nanos += other.charge_nanos * times
        self.presumed_nanos += other.presumed_nanos * times
        self.posted_tokens += other.posted_tokens * times
        self.posted_calls += other.posted_calls * times


_NOTHING = Sums()


def contribution(row: CallRow) -> tuple[Place, Sums]:
    """What one call adds, and where."""
    refused = row.state == "refused"
    posted = row.charge_nanos or 0
    presumed = row.state == "presumed" and not row.corrected
    # Callers may ask for any name, and an entry like "gpt-*" takes any: one that came to nothing makes no line.
    model = row.model or "" if row.charge_nanos or row.charge_tokens else ""
    place = Place(
        row.at_ns // QUARTER_HOUR_NS * QUARTER_HOUR_NS,
        row.session,
        (
            row.organization,
            row.team,
            row.owner,
            row.environment,
            row.kind,
            row.identity,
            row.provider or "",
            model,
            row.model_class or "",
            row.above or "",
            row.billed_team or "",
        ),
    )
    sums = Sums(
        calls=0 if refused else 1,
        refused=1 if refused else 0,
        overruns=1 if row.overrun else 0,
        input_tokens=row.input_tokens or 0,
        output_tokens=row.output_tokens or 0,
        charge_nanos=0 if presumed else posted,
        presumed_nanos=posted if presumed else 0,
        posted_tokens=row.charge_tokens or 0,
        posted_calls=row.charge_calls or 0,
    )
    return place, sums


class Rollup:
    """Sums of what a run of events changes, by place."""

    def __init__(self) -> None:
        self._sums: dict[Place, Sums] = {}

    def add(self, contributed: tuple[Place, Sums]) -> None:
        """The sums are ours from here on."""
        place, sums = contributed
        so_far = self._sums.get(place)
        if so_far is None:
            self._sums[place] = sums
        else:
            so_far.add(sums)

    def take_away(self, contributed: tuple[Place, Sums]) -> None:
        place, sums = contributed
        self._sums.setdefault(place, Sums()).add(sums, -1)

    def changes(self) -> Mapping[Place, Sums]:
        """What is not zero."""
        return {place: sums for place, sums in self._sums.items() if sums != _NOTHING}


def by_day(changes: Iterable[tuple[Place, Sums]]) -> Mapping[tuple[int, Dimensions], Sums]:
    """The same without sessions, by day in UTC."""
    found: dict[tuple[int, Dimensions], Sums] = {}
    for place, sums in changes:
        day = (place.start_ns // DAY_NS * DAY_NS, place.dimensions)
        so_far = found.get(day)
        if so_far is None:
            so_far = found[day] = Sums()
        so_far.add(sums)
    return found


def key_of(dimensions: Dimensions) -> bytes:
    """The id of these dimensions: a digest, so that no fold has to look one up. 128 bits do not meet by chance."""
    said = dimensions if any(dimensions[_ALWAYS:]) else dimensions[:_ALWAYS]
    return blake2b(msgspec.json.encode(said), digest_size=16).digest()
