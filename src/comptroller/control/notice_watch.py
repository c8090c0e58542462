"""Watching budgets for those who want to be told: steps that are passed, forecasts, and windows that have run out.

Steps are looked at where a call is settled, and everything else now and then, a few windows at a time; what changed
without a call (a correction, another limit) is seen then, too. Each is told once for a window and a limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from comptroller.core.budget.budget import Budget, format_amount, label
from comptroller.core.budget.counter import Window
from comptroller.core.budget.forecast import LATELY, Seen, lately_ns, run_out_ns
from comptroller.core.budget.hold import WindowKey
from comptroller.core.budget.soft import used_bp
from comptroller.core.instant import format_instant
from comptroller.core.refusal import Refusal
from comptroller.flow.attempt import Attempt
from comptroller.flow.door import CallerRequest
from comptroller.flow.fault import fault_facts
from comptroller.flow.findings import about_call
from comptroller.flow.gate import Gate
from comptroller.flow.records import CallFacts, Settled
from comptroller.flow.reservation import Reservation

LOOK_EVERY_S = 15.0
_AT_ONCE = 500  # windows that are looked at before the loop gets a turn
_KNOWN_MOST = 100_000
_FILTERED = ("identity", "team", "owner", "environment", "session", "provider", "model")


class BudgetWatch:
    """Implements flow.observer.Observer; `look_forever` is a job beside the calls."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._shares: dict[WindowKey, tuple[Budget, int]] = {}  # how much of a window was used when it was looked at
        self._refused: set[tuple[str | None, str | None, int]] = set()  # budgets that were told of, by registry
        self._seen: dict[WindowKey, list[Seen]] = {}

    def settled(self, request: CallerRequest, attempt: Attempt, settled: Settled) -> None:
        soft = attempt.reservation.hold.draw.soft
        if soft:
            self._steps(soft)

    def ended(self, facts: CallFacts, entry: str, settled: Settled) -> None:
        """Whoever looks next sees what it was charged."""

    def failed_over(self, attempt: Attempt, another: Reservation) -> None:
        """Its settlement was seen."""

    def refused(
        self, request: CallerRequest, dialect: str, call_id: str, refusal: Refusal, facts: CallFacts | None
    ) -> None:
        gate = self._gate
        if refusal.code != "budget_exhausted" or facts is None:
            return
        key = (refusal.limit, refusal.resets_at, gate.registry.version)
        if key in self._refused:  # as nearly always: whoever is refused once mostly comes again
            return
        if len(self._refused) >= _KNOWN_MOST:
            self._refused.clear()
        self._refused.add(key)
        name, _, instance = (refusal.limit or "").partition("[")
        budget = next((each for each in gate.registry.budgets if each.name == name), None)
        now_ns = gate.clock.now_ns()
        window = None if budget is None else gate.tree.current(budget, instance.removesuffix("]"), now_ns)
        if window is not None:
            said = {"refused_call": call_id, "refused_identity": facts.identity}
            _tell(gate, "budget.exhausted", window, said, about=about_call(facts))

    async def look_forever(self) -> None:
        """Look at every window now and then, until this is cancelled."""
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one look, there is another
                self._gate.warn("loop_fault", fault_facts(error))
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look at every window once."""
        gate = self._gate
        now_ns = gate.clock.now_ns()
        before, self._seen = self._seen, {}
        budgets = {budget.key for budget in gate.tree.budgets}
        for number, window in enumerate(gate.tree.windows()):
            if window.posted and window.key.budget in budgets and window.span.contains(now_ns):
                self._steps((window,))
                self._forecast(window, before.get(window.key, []), now_ns)
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)

    def _steps(self, windows: Iterable[Window]) -> None:
        for window in windows:
            budget = window.budget
            share = used_bp(window.posted, budget.limit)
            known = self._shares.get(window.key)
            if known is not None and known[0] is budget and share <= known[1]:
                continue
            if len(self._shares) >= _KNOWN_MOST:
                self._shares.clear()
            self._shares[window.key] = (budget, share)
            for step in budget.soft:
                if step.act == "notify" and step.at_bp <= share:
                    _tell(self._gate, "budget.threshold", window, {"threshold": step.share}, once=str(step.at_bp))

    def _forecast(self, window: Window, before: Sequence[Seen], now_ns: int) -> None:
        lately = lately_ns(window.span)
        if not lately:
            return
        now = Seen(now_ns, window.posted)
        old = [each for each in before if each.at_ns <= now_ns - lately]
        kept = [*old[-1:], *before[len(old) :]]
        if not kept or now_ns - kept[-1].at_ns >= lately // LATELY:
            kept.append(now)
        self._seen[window.key] = kept
        at_ns = run_out_ns(window.span, window.budget.limit, now, old[-1] if old else None)
        if at_ns is not None:
            _tell(self._gate, "budget.forecast", window, {"runs_out_at": format_instant(at_ns)})


def _tell(
    gate: Gate,
    name: str,
    window: Window,
    more: Mapping[str, object],
    *,
    once: str = "",
    about: Mapping[str, str] | None = None,
) -> None:
    budget, span, instance = window.budget, window.span, window.key.instance
    said = {
        "budget": budget.name,
        "instance": instance,
        "unit": budget.unit,
        "mode": budget.mode,
        "window": budget.window,
        "window_start": None if budget.window == "lifetime" else format_instant(span.start_ns),
        "resets_at": None if span.end_ns is None else format_instant(span.end_ns),
        **{
            each: format_amount(amount, budget.unit)
            for each, amount in (
                ("limit", budget.limit),
                ("posted", window.posted),
                ("held", window.held),
                ("remaining", window.remaining),
            )
        },
        **more,
    }
    key = "|".join((name, window.key.budget, instance, str(span.start_ns), str(budget.limit), once))
    theirs = {**(about or {}), **_about(budget, instance)}
    gate.notices.emit(name, label(budget.name, instance), said, theirs, once=key, until_ns=span.end_ns)


def _about(budget: Budget, instance: str) -> Mapping[str, str]:
    """A budget as filters see it: by its name, and by whatever its scope and its instance say of one value."""
    of_scope = {name: budget.scope[name][0] for name in _FILTERED if len(budget.scope.get(name, ())) == 1}
    of_instance = {budget.per: instance} if budget.per in _FILTERED and instance else {}
    return {"budget": budget.name, **of_scope, **of_instance}
