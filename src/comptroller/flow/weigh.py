"""Weigh: the most that a call could cost, and the budgets it would draw on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from comptroller.core.budget.budget import Unit
from comptroller.core.budget.scope import Attribute, Facts
from comptroller.core.budget.tree import Window
from comptroller.core.instant import to_datetime
from comptroller.core.pricing.estimate import Asked, Estimate, estimate
from comptroller.core.pricing.tariff import Tariff
from comptroller.core.refusal import Refusal
from comptroller.flow.decide import Decision
from comptroller.flow.gate import Gate
from comptroller.flow.identify import Caller


@dataclass(frozen=True)
class Weighed:
    """What a call could cost at most, and the windows that it would draw on: good until somebody waits."""

    decision: Decision
    asked: Asked  # with the model that is called
    now_ns: int
    scope_facts: Facts
    windows: Sequence[Window]
    units: frozenset[Unit]  # in which hard budgets count it
    rates: Tariff
    bound: Estimate
    bounded: bool  # False: nothing bounds it, and no budget needs a bound


def weigh(gate: Gate, caller: Caller, decision: Decision, asked: Asked) -> Weighed | Refusal:
    """The upper bound of a call to the model that was decided on, and the budgets it is for. Draws on none."""
    if decision.name != asked.model:
        asked = msgspec.structs.replace(asked, model=decision.name)
    now_ns = gate.clock.now_ns()
    scope_facts = _scope_facts(caller, decision)
    windows = gate.tree.drawn_by(scope_facts, now_ns)
    rates = caller.registry.prices.rates(decision.provider.name, decision.name, to_datetime(now_ns).date())
    units: frozenset[Unit] = frozenset(w.budget.unit for w in windows if w.budget.mode == "hard")
    money, metered = "usd" in units, bool(units & {"usd", "tokens"})
    sizes = (asked, decision.model.limits, rates, decision.bound.factor_bp)
    bound = estimate(*sizes, money=money, metered=True)
    bounded = not isinstance(bound, Refusal)
    if not bounded and not metered:
        bound = estimate(*sizes, money=money, metered=False)
    if isinstance(bound, Refusal):
        return bound
    return Weighed(decision, asked, now_ns, scope_facts, windows, units, rates, bound, bounded)


def _scope_facts(caller: Caller, decision: Decision) -> Facts:
    call: dict[Attribute, str] = {"provider": decision.provider.name, "model": decision.name}
    if decision.model.model_class is not None:
        call["model_class"] = decision.model.model_class
    key = (caller.identity.id, caller.claims.session, decision.provider.name, decision.name)
    return Facts((caller.node,), call, key)
