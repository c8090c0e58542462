"""Balances: what is posted in the windows that can still be drawn on, however many came before them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from comptroller.core.budget.budget import Budget
from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.budget.window import span_at


class Balances(Protocol):
    """The part of the books that is asked."""

    async def balances(self, budget_keys: Sequence[str], since_ns: int = 0) -> Mapping[WindowKey, Amounts]: ...

    async def instance_balances(
        self, budget_keys: Sequence[str], instances: Sequence[str]
    ) -> Mapping[WindowKey, Amounts]: ...


async def standing_balances(
    ledger: Balances, budgets: Sequence[Budget], sessions: Collection[str], now_ns: int
) -> Mapping[WindowKey, Amounts]:
    """What is posted in every window that a call can draw on now; `sessions` are those that go on.

    Of each budget only the current windows are read, and of one that has a window for each session only theirs: all
    that ever were are too many.
    """
    found = dict(await ledger.instance_balances([b.key for b in budgets if b.per == "session"], sorted(sessions)))
    for start_ns, keys in _by_start((b for b in budgets if b.per != "session"), now_ns).items():
        found |= await ledger.balances(keys, start_ns)
    return found


def _by_start(budgets: Iterable[Budget], now_ns: int) -> Mapping[int, Sequence[str]]:
    """The keys of budgets by when their current windows began."""
    starts: dict[int, list[str]] = {}
    for budget in budgets:
        starts.setdefault(span_at(budget.window, budget.zone, now_ns).start_ns, []).append(budget.key)
    return starts
