"""Deferred work: what a provider goes on with after its answer, such as a response in the background, or a batch.

A `Deferral` is all that is needed to see its end and to charge it, after a restart too. What the provider then says is
a `Report`; what it used comes as lines, one for a response, one for each request of a batch, each priced by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from comptroller.core.pricing.charge import charge_nanos
from comptroller.core.pricing.terms import Terms
from comptroller.core.pricing.usage import COUNTS, Usage


class Deferral(msgspec.Struct, frozen=True, gc=False):
    """What is known of deferred work. Whose it is, where and in which dialect stands with its hold."""

    object_id: str  # what the provider keeps it under
    sent_as: str  # what the provider calls the model
    since_ns: int
    gives_up_at_ns: int  # an end that was not seen by then is presumed
    terms: Mapping[str, Terms]  # by the model that a line names
    bounded: bool = True  # the hold was an upper bound: more is an overrun
    fees: bool = False  # something is billed beside what will be reported
    sized: bool = False  # the object is as many tokens as it reports: a context for requests that go on from it
    instead: Terms | None = None  # of the model that it would have gone to, where a rule led it to another


class Line(msgspec.Struct, frozen=True, gc=False):
    """What a piece of the work used. One that was not made, or that nothing is taken for, is no line."""

    model: str  # a key of `Deferral.terms`; any other: the dearest of them
    usage: Usage | None  # None: the provider does not say, or says what cannot be


DeferredEnd = Literal["completed", "cancelled", "expired", "provider_error"]


class Pending(msgspec.Struct, frozen=True, gc=False):
    """It goes on."""


class Ended(msgspec.Struct, frozen=True, gc=False):
    """It has ended. Without lines, and without results that have some, nobody says what was used.

    Work that used nothing at all says so by a line of zeros.
    """

    outcome: DeferredEnd
    lines: tuple[Line, ...] = ()  # that stand in the report itself
    results: tuple[str, ...] = ()  # the paths of what has the others, to be fetched in pieces
    detail: str = ""
    served_model: str | None = None
    told: str = ""  # what the provider says of it, as JSON, for lists; empty where there are none
    files: tuple[str, ...] = ()  # the ids of files that came of it
    answered: int = 0  # as many lines at the least the provider says it has made: fewer are a doubt
    items: str = ""  # the ids of what it came to, with spaces between them


Report = Pending | Ended
Doubt = tuple[str, str]  # the code of a finding, and what it is about, in words


class Charged:
    """What the lines of ended work come to, one after another. All counts add up to `usage`."""

    def __init__(self, terms: Mapping[str, Terms]) -> None:
        self._terms = terms
        self.lines = 0
        self.nanos = 0
        self.tier: str | None = None  # of the last line
        self.doubt: Doubt | None = None  # why `nanos` is not all of it
        self._counts = dict.fromkeys(COUNTS, 0)

    @property
    def usage(self) -> Usage | None:
        """None if nobody said."""
        return msgspec.structs.replace(Usage(0, 0, service_tier=self.tier), **self._counts) if self.lines else None

    @property
    def priced(self) -> bool:
        """Whether any price is known."""
        return any(each.rates for each in self._terms.values())

    def add(self, line: Line) -> None:
        usage = line.usage
        if usage is None:
            self.doubt = self.doubt or ("usage_missing", "")
            return
        self.lines += 1
        for name in COUNTS:
            self._counts[name] += getattr(usage, name)
        known = self._terms.get(line.model)
        priced = [self._priced(usage, each) for each in ([known] if known is not None else self._terms.values())]
        doubt = next((each for _, _, each in priced if each is not None), None)
        self.doubt = self.doubt or doubt
        nanos, self.tier, _ = max(priced, key=lambda each: each[0])
        self.nanos += nanos

    def _priced(self, usage: Usage, terms: Terms) -> tuple[int, str, Doubt | None]:
        tier, rates = terms.billed(usage)
        if not terms.rates:
            return 0, tier, None
        if rates is None:
            return 0, tier, ("tier_unpriced", tier)
        what = terms.unpriced(usage, rates)
        return charge_nanos(usage, rates), tier, ("usage_unpriced", " and ".join(what)) if what else None
