"""How a new budget begins: with what the books show for its scope, to the last call.

A budget that is new, or counts something else than before, must not begin at zero: that would give away
what was already spent in its window. But calls settle all the time, so a sum that is read from the books
is old when it arrives. Two steps, without stopping a single call:

1. *Count.* In one step without waiting, the tree gets the new budgets as counters that bind nothing, every
   open hold joins them, and the books are asked for what everything journalled until now has posted. A call
   that settles changes the tree and queues its event in one step, too: so every settlement is either before
   this one, and in the answer, or after it, and in the new windows. Corrections cannot come in between: they
   wait for `Office.changing`.
2. *Open.* The sum is added to the balances in the store, in the transaction that installs the registry,
   and then, in the step that puts the new registry in force, to the windows in memory. Adding commutes
   with whatever is posted meanwhile, in memory and on disk.

The answer comes from the sums that the books keep for reports. Windows begin where those do, and pruned
calls stay in them: so it is exact however long ago the window began. It counts whole chains, as live calls do: those
sums know who stood above the acting identity.

A window may already know a part of the sum: its budget was installed before, and left. What was posted
in it then (`known`) is taken off the sum. After a crash between the steps the counters are rows that
nobody reads, and the next attempt finds them as `known`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from comptroller.control.balances import standing_balances
from comptroller.control.interfaces import Gap, Spending
from comptroller.control.office import Office
from comptroller.core.budget.budget import Budget, Unit
from comptroller.core.budget.hold import Amounts, WindowKey, in_unit
from comptroller.core.budget.window import Span, span_at
from comptroller.core.instant import format_instant
from comptroller.core.problem import Problem, join
from comptroller.core.registry.registry import Registry
from comptroller.flow.records import Joined

_UNBOUNDED = 2**62


@dataclass(frozen=True)
class Opening:
    """New budgets that are being counted. `credits`: what their windows lack of what was already spent."""

    budgets: Sequence[Budget]
    known: Mapping[WindowKey, int]
    credits: Mapping[WindowKey, int]

    @property
    def rows(self) -> Mapping[WindowKey, Amounts]:
        """The credits as the store wants them: in the one unit that the budget's key stands for."""
        units = _units(self.budgets)
        return {key: in_unit(amount, units[key.budget]) for key, amount in self.credits.items()}


async def begin(office: Office, wanted: Registry) -> Opening:
    """Step 1: count for the budgets that `wanted` adds, and find out what was spent before."""
    new = _new(office.gate.registry.budgets, wanted.budgets)
    if not new:
        return Opening((), {}, {})
    await office.ledger.fold()
    written = await standing_balances(office.ledger, new, office.going_on(), office.gate.clock.now_ns())
    # From here to the question nothing waits.
    sessions, now_ns = office.going_on(), office.gate.clock.now_ns()
    spans = {budget.key: span_at(budget.window, budget.zone, now_ns) for budget in new}
    known = _count(office, new, written, spans, now_ns)
    first_ns = min((session.opened_at_ns for session in sessions.values()), default=now_ns)
    questions = [_question(budget, spans[budget.key], first_ns) for budget in new]
    spent = await office.ledger.posted_so_far(questions)
    return Opening(new, known, _lacking(new, spans, known, spent, sessions))


def warn_of_gap(in_force: Sequence[Budget], wanted: Sequence[Budget], gap: Gap, now_ns: int) -> Sequence[Problem]:
    """New budgets that begin with too little, because the books know nothing of a part of their window."""
    time = f"from {format_instant(gap.from_ns)} until {format_instant(gap.until_ns)}"
    return [
        Problem(
            join("budgets", budget.name),
            f"The books know nothing of calls {time} (a restore), so this budget may begin with less than was spent.",
            "Lower its limit by what the provider billed in that time, until the window resets.",
        )
        for budget in _new(in_force, wanted)
        if span_at(budget.window, budget.zone, now_ns).start_ns < gap.until_ns
    ]


def _new(in_force: Sequence[Budget], wanted: Sequence[Budget]) -> list[Budget]:
    known = {budget.key for budget in in_force}
    return [budget for budget in wanted if budget.key not in known]


def abandon(office: Office) -> None:
    """The registry was not installed: the counters leave the tree."""
    office.gate.tree.replace(office.gate.registry.budgets, {})


def complete(office: Office, wanted: Registry, opening: Opening) -> None:
    """Step 2 in memory: the budgets of `wanted` are in force. Does not wait."""
    tree = office.gate.tree
    living = {window.key for window in tree.windows()}
    # Nothing was drawn on a window that is not in memory, so what it begins with is known exactly.
    touched = opening.known.keys() | opening.credits.keys()
    asleep = {key: opening.known.get(key, 0) + opening.credits.get(key, 0) for key in touched if key not in living}
    tree.replace(wanted.budgets, asleep)
    for key, amounts in opening.rows.items():
        if key in living:
            tree.adjust((key,), amounts)


def _count(
    office: Office,
    new: Sequence[Budget],
    written: Mapping[WindowKey, Amounts],
    spans: Mapping[str, Span],
    now_ns: int,
) -> Mapping[WindowKey, int]:
    """Put counters into the tree; returns what their windows know already. Does not wait."""
    gate = office.gate
    units = _units(new)
    known = {key: amounts.of(units[key.budget]) for key, amounts in written.items() if _is_current(key, spans)}
    counters = [_counter(budget) for budget in new]
    gate.tree.replace(counters, known)
    known.update({window.key: window.posted for window in gate.tree.windows() if _is_current(window.key, spans)})
    _join(office, now_ns)
    gate.tree.replace((*gate.registry.budgets, *counters), {})
    return known


def _units(budgets: Iterable[Budget]) -> Mapping[str, Unit]:
    return {budget.key: budget.unit for budget in budgets}


def _is_current(key: WindowKey, spans: Mapping[str, Span]) -> bool:
    span = spans.get(key.budget)
    return span is not None and key.start_ns == span.start_ns


def _counter(budget: Budget) -> Budget:
    """The same count, binding nothing: limit and mode are not part of a budget's key."""
    return msgspec.structs.replace(budget, mode="shadow", limit=_UNBOUNDED)


def _join(office: Office, now_ns: int) -> None:
    """Draw every open hold on the new windows, the only ones in the tree at this moment."""
    gate = office.gate
    for call in gate.live.holding:
        hold = gate.tree.holds.get(call.hold_id)
        joined = gate.tree.join(hold, call.facts, now_ns) if hold is not None else ()
        if joined:
            gate.journal.append(Joined(call.hold_id, tuple(window.key for window in joined)))


def _lacking(
    new: Sequence[Budget],
    spans: Mapping[str, Span],
    known: Mapping[WindowKey, int],
    spent: Sequence[Mapping[str, Amounts]],
    sessions: Collection[str],
) -> Mapping[WindowKey, int]:
    """What was spent in each window and is not known there. In sessions that are over nothing can be spent any more."""
    found: dict[WindowKey, int] = {}
    for budget, by_instance in zip(new, spent, strict=True):
        for instance, amounts in by_instance.items():
            key = WindowKey(budget.key, instance, spans[budget.key].start_ns)
            lacks = amounts.of(budget.unit) - known.get(key, 0)
            if lacks > 0 and (budget.per != "session" or instance in sessions):
                found[key] = lacks
    return found


def _question(budget: Budget, span: Span, first_ns: int) -> Spending:
    """What was spent in a window. Of sessions only those count that go on; the first was opened at `first_ns`."""
    start_ns = max(span.start_ns, first_ns) if budget.per == "session" else span.start_ns
    return Spending(scope=budget.scope, per=budget.per, start_ns=start_ns, end_ns=span.end_ns)
