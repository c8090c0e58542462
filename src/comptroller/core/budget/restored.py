"""The windows of a store that was brought back from a backup: what they may lack, and what is posted for it.

Between the backup and the restore money may have been spent that the backup does not know. Where the store
that is replaced can still be read, it is known after all; where not, a limit is the most that can have been
spent in its window, as a hold is the most that a call can have cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from comptroller.core.budget.budget import Budget
from comptroller.core.budget.hold import EVERY, NOTHING, Amounts, WindowKey, in_unit
from comptroller.core.budget.window import Span, span_at

UnknownSpend = Literal["presume", "accept"]
"""What to do about spend that nobody knows: count it as the whole limit, or go on without it."""

Postings = Mapping[WindowKey, Amounts]


class Missing(msgspec.Struct, frozen=True):
    """An open window that may have been spent from since the backup. `instance` is EVERY for all others of a budget."""

    budget: Budget
    key: WindowKey
    span: Span
    posted: int  # that is known

    @property
    def most(self) -> int:
        """The most that is missing, as far as the limit held."""
        return max(0, self.budget.limit - self.posted)


def carried(settled: Postings, present: Postings) -> dict[WindowKey, Amounts]:
    """What to add to windows that show `settled`, so that none shows less than the store that goes on from it did."""
    found: dict[WindowKey, Amounts] = {}
    for key in settled.keys() | present.keys():
        everybody = WindowKey(key.budget, EVERY, key.start_ns)
        ours, theirs = settled.get(key, NOTHING), present.get(key, NOTHING)
        if key.instance != EVERY:  # what is posted for everybody is a part of it, in each of the two
            ours_of_all, theirs_of_all = settled.get(everybody, NOTHING), present.get(everybody, NOTHING)
            theirs = theirs.plus(theirs_of_all).less(ours_of_all.most(theirs_of_all))
            least = ours.plus(ours_of_all).less(ours_of_all.most(theirs_of_all))
            lacks = least.most(theirs).less(ours)
        else:
            lacks = ours.most(theirs).less(ours)
        if lacks != NOTHING:
            found[key] = lacks
    return found


def missing(budgets: Iterable[Budget], posted: Postings, now_ns: int) -> list[Missing]:
    """The windows of hard budgets that are open now, known ones and those of everybody who is not known yet.

    Sessions end with a restore and new ones have spent nothing, so a budget `per` session lacks nothing.
    """
    found: list[Missing] = []
    for budget in budgets:
        if budget.mode != "hard" or budget.per == "session":
            continue
        span = span_at(budget.window, budget.zone, now_ns)
        own = {
            key.instance: amounts.of(budget.unit)
            for key, amounts in posted.items()
            if key.budget == budget.key and key.start_ns == span.start_ns
        }
        everybody = own.pop(EVERY, 0)
        if budget.per is None:
            own.setdefault("", 0)
        else:
            found.append(Missing(budget, WindowKey(budget.key, EVERY, span.start_ns), span, everybody))
        for instance, amount in sorted(own.items()):
            found.append(Missing(budget, WindowKey(budget.key, instance, span.start_ns), span, amount + everybody))
    return found


def presumed(windows: Iterable[Missing]) -> dict[WindowKey, Amounts]:
    """What to add so that each of these windows shows its limit, or what is known where that is more.

    What is posted for EVERY is a part of each instance, so what it has of its own gets less.
    """
    found: dict[WindowKey, Amounts] = {}
    for_everybody: dict[str, int] = {}  # by budget: stands before its instances
    for window in windows:
        added = window.most
        if window.key.instance == EVERY:
            for_everybody[window.key.budget] = added
        else:
            added -= for_everybody.get(window.key.budget, 0)
        if added:
            found[window.key] = in_unit(added, window.budget.unit)
    return found
