"""Which messages of a conversation can be left out, so that what stays is a conversation again.

A *turn* is what a user says (however many messages in a row) and all that follows until a user speaks again. Inside of
it a *group* is what the model said without being interrupted, with the results of the tools that it called. Whole
turns are left out, oldest first; of the first turns and of the last one only groups. What stays of a turn is what the
user said and the last group: so roles alternate as they did, and no call is without its result.

Kept whatever it takes: what systems and developers say; a turn with something in it that changes the meaning of the
rest (a summary, tools that come and go); one with a result whose call nobody sees. A result and its call stay or go
together, however far apart they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import msgspec

from comptroller.core.work.conversation import Entry

_STEPS = 4  # cuts move on by about this share of what fits: a cache of the prompt is good for some turns then


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Messages that can be left out, and only together: their places, in order."""

    places: tuple[int, ...]
    bytes: int


class _Unit(msgspec.Struct, frozen=True, gc=False):
    places: tuple[int, ...]
    stays: bool


class _Turn:
    """`said`: the places of what the user said. `groups`: those of what followed."""

    def __init__(self) -> None:
        self.said: list[int] = []
        self.groups: list[list[int]] = []
        self.stays = False  # all of it


def pieces(entries: Sequence[Entry], sizes: Sequence[int], keep_first: int) -> list[Piece] | None:
    """What can be left out, oldest first. None: there is a message of a kind that nobody here knows.

    `sizes`: bytes of the messages. `keep_first`: of so many turns from the beginning no more than groups go.
    """
    if any(entry.part == "unknown" for entry in entries):
        return None
    bonds, fixed = _bonds(entries)
    units = list(_units(_turns(entries, fixed), keep_first))
    return [
        Piece(places, sum(sizes[place] for place in places))
        for places, stays in _bound_together(units, bonds)
        if not stays
    ]


def cut(found: Sequence[Piece], least: int, fitting_bytes: int) -> int:
    """How many pieces to leave out where `least` of them must go, so that the next turns are cut at the same place.

    `fitting_bytes`: what may stay, about.
    """
    dropped = [0, *accumulate(piece.bytes for piece in found)]
    step = 1 << max(0, (fitting_bytes // _STEPS).bit_length() - 1)
    wanted = -(-dropped[least] // step) * step
    return next((count for count in range(least, len(found) + 1) if dropped[count] >= wanted), least)


def _turns(entries: Sequence[Entry], fixed: frozenset[int]) -> list[_Turn]:
    reasons = any(entry.starts for entry in entries)
    turns, before, spoken = [_Turn()], "", False
    for place, entry in enumerate(entries):
        if entry.part == "system":
            turns[-1].stays = turns[-1].stays or entry.kept
            continue
        if entry.part == "user" and before != "user" and spoken:
            turns.append(_Turn())
        turn = turns[-1]
        if entry.part == "user" or not spoken:
            turn.said.append(place)
        else:
            begins = entry.part == "model" and before == "tool" and (entry.starts or not reasons)
            if begins or not turn.groups:
                turn.groups.append([])
            turn.groups[-1].append(place)
        turn.stays = turn.stays or entry.kept or place in fixed
        spoken, before = spoken or entry.part == "user", entry.part
    return turns


def _units(turns: Sequence[_Turn], keep_first: int) -> Iterator[_Unit]:
    """What goes only as a whole, in order."""
    for number, turn in enumerate(turns):
        if turn.stays or keep_first <= number < len(turns) - 1:
            places = (*turn.said, *(place for group in turn.groups for place in group))
            yield _Unit(places, turn.stays)
            continue
        yield _Unit(tuple(turn.said), stays=True)
        for group in turn.groups:
            yield _Unit(tuple(group), stays=group is turn.groups[-1])


def _bonds(entries: Sequence[Entry]) -> tuple[list[tuple[int, int]], frozenset[int]]:
    """The places of calls with those of their results; and the places that stay, for what they belong to does.

    Those are results whose calls nobody sees, and what has its call or its result in a message of a system, which is in
    no unit. A reference may stand for any call.
    """
    calls: dict[str, int] = {}
    reference: int | None = None
    bonds: list[tuple[int, int]] = []
    fixed: set[int] = set()
    for place, entry in enumerate(entries):
        for result in entry.results:
            made = calls.get(result.call, reference) if result.call else reference
            if made is None or entries[made].part == "system":
                fixed.add(place)
            elif entry.part == "system":
                fixed.add(made)
            else:
                bonds.append((made, place))
        calls.update((call.id, place) for call in entry.calls if call.id)
        if entry.reference and reference is None:
            reference = place
    return bonds, frozenset(fixed)


def _bound_together(units: Sequence[_Unit], bonds: Sequence[tuple[int, int]]) -> Iterator[tuple[tuple[int, ...], bool]]:
    """The units, those that a bond spans as one; with whether they stay."""
    unit_of = {place: number for number, unit in enumerate(units) for place in unit.places}
    reach = list(range(len(units)))
    for made, answered in bonds:
        first, last = unit_of[made], unit_of[answered]
        reach[first] = max(reach[first], last)
    number = 0
    while number < len(units):
        end = number
        begin = number
        while number <= end:
            end = max(end, reach[number])
            number += 1
        spanned = units[begin:number]
        yield tuple(place for unit in spanned for place in unit.places), any(unit.stays for unit in spanned)
