"""Balances: what is posted in the windows that can still be drawn on, however many came before them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from comptroller.core.budget.budget import Budget
from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.budget.window import span_at


class Balances(Protocol):
    """The part of the books that is asked."""

    async def balances(self, budget_keys: Sequence[str], since_ns: int = 0) -> Mapping[WindowKey, Amounts]: ...

    async def session_balances(
        self, budget_keys: Sequence[str], session_ids: Sequence[str]
    ) -> Mapping[WindowKey, Amounts]: ...


async def standing_balances(
    ledger: Balances, budgets: Sequence[Budget], sessions: Collection[str], now_ns: int
) -> Mapping[WindowKey, Amounts]:
    """What is posted in every window that a call can draw on now; `sessions` are those that go on.

    Of a budget that has a window for each session only theirs are read: all that ever were are too many.
    """
    lifetimes = [b.key for b in budgets if b.window == "lifetime" and b.per != "session"]
    sessional = [b.key for b in budgets if b.per == "session"]
    others = [b for b in budgets if b.window != "lifetime" and b.per != "session"]
    since_ns = min((span_at(b.window, b.zone, now_ns).start_ns for b in others), default=now_ns)
    return {
        **await ledger.balances([b.key for b in others], since_ns),
        **await ledger.balances(lifetimes),
        **await ledger.session_balances(sessional, sorted(sessions)),
    }
