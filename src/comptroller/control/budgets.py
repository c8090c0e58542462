"""Budgets: what each window has spent, holds and has left, now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from comptroller.control.balances import standing_balances
from comptroller.control.office import Office
from comptroller.core.budget.budget import Budget, Unit
from comptroller.core.budget.hold import EVERY, Amounts, WindowKey
from comptroller.core.budget.scope import Scope
from comptroller.core.budget.soft import used_bp
from comptroller.core.budget.tree import Window
from comptroller.core.budget.window import span_at
from comptroller.core.instant import format_instant
from comptroller.core.money import format_usd

T = TypeVar("T")


class BudgetRow(msgspec.Struct, frozen=True):
    """One window. Amounts are decimal strings where the unit is usd, else whole numbers."""

    name: str
    instance: str  # "" for one pool, or for a budget `per` something that nobody has drawn on yet; "*" for all others
    scope: Scope
    per: str | None
    unit: Unit
    window: str
    window_start: str | None  # None: a lifetime
    mode: str
    limit: str | int
    posted: str | int
    held: str | int
    remaining: str | int
    resets_at: str | None
    soft: Sequence[str] = ()  # the steps below the limit, lowest first
    soft_passed: Sequence[str] = ()  # those of them that what is posted and held has reached


async def list_budgets(office: Office) -> Sequence[BudgetRow]:
    """Every current window of every budget in force, and past ones in which something is still held.

    A session that is over has no current window.
    """
    async with office.changing:  # no budget comes or goes in between, and no correction
        await office.catch_up()
        budgets = office.gate.registry.budgets
        sessions, now_ns = office.going_on(), office.gate.clock.now_ns()
        written = await standing_balances(office.ledger, budgets, sessions, now_ns)
        # From here on nothing waits, so the windows in memory are one picture; the books add those that sleep.
        sessions, now_ns = office.going_on(), office.gate.clock.now_ns()
        living = _by_budget((window.key, window) for window in office.gate.tree.windows())
        known = _by_budget(written.items())
        return [
            _row(window)
            for budget in budgets
            for window in _windows(budget, living[budget.key], known[budget.key], sessions, now_ns)
        ]


def _by_budget(items: Iterable[tuple[WindowKey, T]]) -> defaultdict[str, dict[WindowKey, T]]:
    """In one pass: there can be very many."""
    found: defaultdict[str, dict[WindowKey, T]] = defaultdict(dict)
    for key, item in items:
        found[key.budget][key] = item
    return found


def _windows(
    budget: Budget,
    living: Mapping[WindowKey, Window],
    written: Mapping[WindowKey, Amounts],
    sessions: Collection[str],
    now_ns: int,
) -> Iterable[Window]:
    """The windows of one budget: past ones first, then by instance."""
    span = span_at(budget.window, budget.zone, now_ns)
    over = {key for key in living if budget.per == "session" and key.instance not in sessions}
    shown = {key: w for key, w in living.items() if w.held or (w.span.contains(now_ns) and key not in over)}
    everybody = written.get(WindowKey(budget.key, EVERY, span.start_ns), Amounts()).of(budget.unit)
    for key, amounts in written.items():
        if key.start_ns == span.start_ns and key not in shown and key not in over:
            of_all = 0 if key.instance == EVERY else everybody
            shown[key] = Window(budget, key, span, posted=amounts.of(budget.unit) + of_all)
    if not any(key.start_ns == span.start_ns for key in shown):
        key = WindowKey(budget.key, "", span.start_ns)
        shown[key] = Window(budget, key, span)
    return sorted(shown.values(), key=lambda window: (window.key.start_ns, window.key.instance))


def _row(window: Window) -> BudgetRow:
    budget, span = window.budget, window.span
    share = used_bp(window.posted + window.held, budget.limit) if budget.soft else 0
    return BudgetRow(
        name=budget.name,
        instance="*" if window.key.instance == EVERY else window.key.instance,
        scope=budget.scope,
        per=budget.per,
        unit=budget.unit,
        window=budget.window,
        window_start=None if budget.window == "lifetime" else format_instant(span.start_ns),
        mode=budget.mode,
        limit=_amount(budget.limit, budget.unit),
        posted=_amount(window.posted, budget.unit),
        held=_amount(window.held, budget.unit),
        remaining=_amount(window.remaining, budget.unit),
        resets_at=format_instant(span.end_ns) if span.end_ns is not None else None,
        soft=[str(step) for step in budget.soft],
        soft_passed=[str(step) for step in budget.soft if step.at_bp <= share],
    )


def _amount(amount: int, unit: Unit) -> str | int:
    return format_usd(amount) if unit == "usd" else amount
