"""What calls add to the sums that reports read: a pure function of their rows.

    rollup = Rollup()
    rollup.take_away(contribution(row))   # as the call stood before
    rollup.add(contribution(row))         # as it stands now

A fold does that for every row that it writes, in its own transaction. So the sums always are the sums over
the rows, whatever the events were: corrections, second attempts and presumed ends need no rule of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from comptroller.core.instant import DAY_NS, QUARTER_HOUR_NS
from comptroller.store import attempts
from comptroller.store.attempts import Attempt
from comptroller.store.rows import CallRow

Dimensions = tuple[str, str, str, str, str, str, str, str, str, str, str, str]
"""In the order of schema.SPEND_DIMENSIONS."""

_ALWAYS, _LATER = 9, 11  # dimensions that stood in a key before: it is the same for a call without the others


class Place(NamedTuple):
    """The finest sum that a call is part of."""

    start_ns: int  # of the quarter of an hour in which it was made, or the attempt held, however late it was settled
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
    posted_tool_calls: int = 0
    posted_result_bytes: int = 0

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
        self.posted_tool_calls += other.posted_tool_calls * times
        self.posted_result_bytes += other.posted_result_bytes * times


Contribution = tuple[Place, Sums]

_NOTHING = Sums()


def contribution(row: CallRow) -> Sequence[Contribution]:
    """What one call adds, and where: a charge stands with the provider that billed it, when its attempt was made."""
    tried = attempts.unpack(row.tried)
    if not tried:
        return (_of_call(row),)
    last = tried[-1]
    named = last.model or "" if last.charge_nanos or last.charge_tokens else ""
    tool = row.tool or "" if last.charge_nanos or last.charge_tool_calls else ""
    place, sums = _place(row, row.at_ns, row.provider, named, row.model_class, tool), _sums(row)
    sums.charge_nanos = sums.presumed_nanos = sums.posted_tokens = sums.posted_calls = 0
    sums.posted_tool_calls = sums.posted_result_bytes = 0
    return ((place, sums), *(_of_attempt(row, each) for each in tried))


def _of_call(row: CallRow) -> Contribution:
    # Callers may ask for any name, and an entry like "gpt-*" takes any: one that came to nothing makes no line.
    model = row.model or "" if row.charge_nanos or row.charge_tokens else ""
    tool = row.tool or "" if row.charge_nanos or row.charge_tool_calls else ""
    return _place(row, row.at_ns, row.provider, model, row.model_class, tool), _sums(row)


def _of_attempt(row: CallRow, each: Attempt) -> Contribution:
    model = each.model or "" if each.charge_nanos or each.charge_tokens else ""
    sums = Sums(
        charge_nanos=0 if each.presumed else each.charge_nanos,
        presumed_nanos=each.charge_nanos if each.presumed else 0,
        posted_tokens=each.charge_tokens,
        posted_calls=each.charge_calls,
        posted_tool_calls=each.charge_tool_calls,
        posted_result_bytes=each.charge_result_bytes,
    )
    tool = row.tool or "" if each.charge_nanos or each.charge_tool_calls else ""
    return _place(row, each.taken_at_ns, each.provider, model, each.model_class, tool), sums


def _sums(row: CallRow) -> Sums:
    refused = row.state == "refused"
    posted = row.charge_nanos or 0
    presumed = row.state == "presumed" and not row.corrected
    return Sums(
        calls=0 if refused else 1,
        refused=1 if refused else 0,
        overruns=1 if row.overrun else 0,
        input_tokens=row.input_tokens or 0,
        output_tokens=row.output_tokens or 0,
        charge_nanos=0 if presumed else posted,
        presumed_nanos=posted if presumed else 0,
        posted_tokens=row.charge_tokens or 0,
        posted_calls=row.charge_calls or 0,
        posted_tool_calls=row.charge_tool_calls or 0,
        posted_result_bytes=row.charge_result_bytes or 0,
    )


def _place(row: CallRow, at_ns: int, provider: str | None, model: str, model_class: str | None, tool: str) -> Place:
    return Place(
        at_ns // QUARTER_HOUR_NS * QUARTER_HOUR_NS,
        row.session,
        (
            row.organization,
            row.team,
            row.owner,
            row.environment,
            row.kind,
            row.identity,
            provider or "",
            model,
            model_class or "",
            row.above or "",
            row.billed_team or "",
            tool,
        ),
    )


class Rollup:
    """Sums of what a run of events changes, by place."""

    def __init__(self) -> None:
        self._sums: dict[Place, Sums] = {}

    def add(self, contributed: Iterable[Contribution]) -> None:
        """The sums are ours from here on."""
        for place, sums in contributed:
            so_far = self._sums.get(place)
            if so_far is None:
                self._sums[place] = sums
            else:
                so_far.add(sums)

    def take_away(self, contributed: Iterable[Contribution]) -> None:
        for place, sums in contributed:
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
    said = dimensions if any(dimensions[_LATER:]) else dimensions[:_LATER]
    said = said if any(said[_ALWAYS:]) else said[:_ALWAYS]
    return blake2b(msgspec.json.encode(said), digest_size=16).digest()
