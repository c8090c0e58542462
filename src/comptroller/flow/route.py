"""Route: which model a call goes to, where that is another than the one it asks for.

A name may be an alias; routes of the registry and soft steps of budgets may lead on from there. What leads a call to
another model never turns a yes into a no: where nothing behind a target can have the call, it stays where it is, and
that is said. Nothing here changes anything: it is a part of the look that precedes every hold (admit.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import msgspec

from comptroller.core.budget.soft import used_bp
from comptroller.core.effect import Effect
from comptroller.core.instant import to_datetime
from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.rates import DEFAULT_TIER
from comptroller.core.refusal import Refusal
from comptroller.core.routing.choose import Asking, Chosen, Member, Passed, choose, first_of, in_order
from comptroller.core.routing.route import BACK_BP, Route
from comptroller.flow.caller import Caller
from comptroller.flow.decide import decide
from comptroller.flow.dialect import Dialect
from comptroller.flow.gate import Gate
from comptroller.flow.slices import amounts
from comptroller.flow.weigh import Weighed, weigh

_LARGEST = 2**62  # tokens of an input that nothing bounds


class Way(msgspec.Struct, frozen=True, gc=False):
    """Where a call is led, and by what."""

    weighed: Weighed
    routed_by: str | None = None  # as records name the rule that led it there last; None: it stays where it was
    effects: tuple[Effect, ...] = ()
    holding: frozenset[str] | None = None  # the rules that hold its session from now on; None: as before


def is_movable(asked: Asked) -> bool:
    """Whether a call can go to another model: its model does not stand in a file, and is not that of many lines."""
    return not (asked.model_fixed or asked.lines or asked.free or not asked.model or asked.tool is not None)


def behind(gate: Gate, dialect: Dialect, caller: Caller, target: str, besides: AbstractSet[str]) -> Sequence[Member]:
    """The models behind a model, an alias or a class, as rules see them; those whose provider is well first."""
    registry = caller.registry
    target = registry.routing.target(target)
    names = registry.members(target) or (target,)
    found = [_member(gate, dialect, caller, name, besides, several=len(names) > 1) for name in names]
    return in_order(found)


def _member(
    gate: Gate, dialect: Dialect, caller: Caller, name: str, besides: AbstractSet[str], *, several: bool
) -> Member:
    model = caller.registry.model(name)
    model_class = model.model_class if model is not None else None
    decision = decide(gate, dialect, caller, name, besides) if several else None
    if decision is None or isinstance(decision, Refusal):
        return Member(name, model_class, aside=decision is not None)
    now_ns = gate.clock.now_ns()
    day = to_datetime(now_ns).date()
    rates = caller.registry.prices.rates(decision.provider.name, name, day).get(DEFAULT_TIER)
    price = None if rates is None else 3 * rates.input + rates.output
    return Member(name, model_class, aside=not gate.health.usable(decision.provider.name, now_ns), price=price)


def lead(
    gate: Gate, dialect: Dialect, caller: Caller, weighed: Weighed, asked: Asked, besides: AbstractSet[str]
) -> Way | None:
    """Where routes and soft steps lead a call that was weighed for the model that it asks for; None: nowhere."""
    if not is_movable(asked):
        return None
    routing, decision = caller.registry.routing, weighed.decision
    routes: Sequence[Route] = ()
    if routing.routes:
        model, model_class = decision.name, decision.model.model_class
        routes = caller.routes_for(decision.provider.name, model, model_class, weighed.scope_facts)
    if asked.output_fixed:  # what is not text has models of its own
        routes = [route for route in routes if route.sources is not None]
    if not routes and not weighed.draw.soft:
        return None
    return _Leading(gate, dialect, caller, asked, besides, weighed).along(routes)


def lead_by_remedy(
    gate: Gate, dialect: Dialect, caller: Caller, target: str, asked: Asked, besides: AbstractSet[str]
) -> Weighed | Refusal:
    """The first model behind the target of a policy's remedy that can have the call, else why none can."""
    if asked.tool is not None:
        return Refusal(code="unsupported", sentence="A tool call goes to no model.", hint="")
    if asked.model_fixed:
        return Refusal(code="unsupported", sentence=f"The model {asked.model!r} stands in its file already.", hint="")
    hints: list[str] = []

    def attempt(name: str) -> Weighed | str:
        decision = decide(gate, dialect, caller, name, besides)
        found = decision if isinstance(decision, Refusal) else weigh(gate, caller, decision, asked)
        if isinstance(found, Refusal):
            hints.append(found.hint)
            return found.sentence
        return found

    members = behind(gate, dialect, caller, target, besides)
    found = first_of(caller.registry.routing, caller.session.task_type, members, attempt)
    if isinstance(found, str):
        sentence = found if found.endswith(".") else f"{found}."
        return Refusal(code="model_unknown", sentence=sentence, hint=hints[-1] if hints else "")
    return found[1]


class _Leading:
    """One call on its way."""

    def __init__(
        self, gate: Gate, dialect: Dialect, caller: Caller, asked: Asked, besides: AbstractSet[str], weighed: Weighed
    ) -> None:
        self._gate = gate
        self._dialect = dialect
        self._caller = caller
        self._asked = asked
        self._besides = besides
        self._weighed = weighed  # where it has come to
        self._routed_by: str | None = None
        self._effects: list[Effect] = []
        self._held = gate.affinity.holding(caller.session.id)
        self._holding = self._held

    def along(self, routes: Sequence[Route]) -> Way | None:
        asking, routing = self._asking(), self._caller.registry.routing
        for route in routes:
            below = route.when.budget_below_bp
            if below is not None and route.mode == "hard":
                kept = route.name in self._held
                self._holds(route.name, asking.left_bp < below + (BACK_BP if kept else 0))
        for step in choose(routing, routes, asking, self._behind, self._attempt):
            self._take(step, step.route.when.why(), f"route:{step.route.name}")
        if self._weighed.draw.soft and not self._asked.output_fixed:
            self._down_the_steps()
        holding = None if self._holding == self._held else self._holding
        if self._routed_by is None and not self._effects and holding is None:
            return None
        return Way(self._weighed, self._routed_by, tuple(self._effects), holding)

    def _down_the_steps(self) -> None:
        """Soft steps of the budgets that the call would draw on as it asks; they lead down only."""
        for step, shown, used in self._passed():
            if not self._down(step.to):
                continue
            for found in choose(self._caller.registry.routing, (step,), self._asking(), self._down, self._attempt):
                self._take(found, used, f"budget:{step.name}", shown)
                if isinstance(found, Chosen):
                    return

    def _passed(self) -> Sequence[tuple[Route, str, str]]:
        """Every step that leads elsewhere and is passed, as a route, and its name and why as its caller is told: the
        highest share first.
        """
        found: list[tuple[int, Route, str, str]] = []
        for window in self._weighed.draw.soft:
            budget, limit = window.budget, window.budget.limit
            share = used_bp(limit - self._weighed.draw.left(window), limit)
            for step in budget.soft:
                if step.act != "route":
                    continue
                rule = f"{budget.name} {step.share}"
                on = share >= step.at_bp - (BACK_BP if rule in self._held else 0)
                self._holds(rule, on)
                if on:
                    route = Route(rule, step.value, {}, mode=budget.mode)  # a shadow budget's step leads nowhere, too
                    shown = rule if budget.visible == "caller" else budget.name
                    found.append((step.at_bp, route, shown, f"{budget.share_of(step)} of {budget.name} is used"))
        found.sort(key=lambda each: (-each[0], each[1].name))
        return [(route, shown, why) for _, route, shown, why in found]

    def _down(self, target: str) -> Sequence[Member]:
        """The models behind a target that are not more able than the one that the call has come to."""
        routing, here = self._caller.registry.routing, self._weighed.decision.model.model_class
        return [each for each in self._behind(target) if not routing.leads_up(here, each.model_class)]

    def _holds(self, rule: str, on: bool) -> None:
        if on is not (rule in self._holding):
            self._holding = self._holding | {rule} if on else self._holding - {rule}

    def _asking(self) -> Asking:
        weighed = self._weighed
        decision, bound = weighed.decision, weighed.bound
        return Asking(
            decision.name,
            decision.model.model_class,
            self._caller.session.task_type,
            weighed.draw.left_bp(),
            bound.input_tokens if weighed.bounded else _LARGEST,
            self._held,
        )

    def _behind(self, target: str) -> Sequence[Member]:
        return behind(self._gate, self._dialect, self._caller, target, self._besides)

    def _attempt(self, name: str) -> Weighed | str:
        """The call weighed for another model, or why it cannot be that one."""
        decision = decide(self._gate, self._dialect, self._caller, name, self._besides)
        if isinstance(decision, Refusal):
            return decision.sentence
        weighed = weigh(self._gate, self._caller, decision, self._asked)
        if isinstance(weighed, Refusal):
            return weighed.sentence
        bound = weighed.bound
        short = weighed.draw.binding(amounts(bound, bound.all_output(bound.least_output_tokens)))
        return weighed if short is None else f"the budget {short.budget.name} has too little left for {name}"

    def _take(self, step: Chosen[Weighed] | Passed, why: str, rule: str, shown: str | None = None) -> None:
        here, name = self._weighed.decision.name, shown or step.route.name
        if isinstance(step, Chosen):
            self._effects.append(Effect("routed", name, say(here, step.member.name, why)))
            self._weighed, self._routed_by = step.got, rule
        elif step.to:
            self._effects.append(Effect("shadowed", name, say(here, step.to, why)))
        else:
            self._effects.append(Effect("warned", name, f"stays {here}: {step.why}"))


def say(before: str, after: str, why: str) -> str:
    """A change of model in a few words."""
    return f"{before} -> {after}{f': {why}' if why else ''}"
