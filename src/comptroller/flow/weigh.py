"""Weigh: the most that a call could cost, and the budgets it would draw on."""

from __future__ import annotations

import msgspec

from comptroller.core.budget.draw import NO_LIFT, Draw, Lift
from comptroller.core.budget.scope import Facts
from comptroller.core.instant import to_datetime
from comptroller.core.policy.request import LARGEST_LONG, long
from comptroller.core.pricing.estimate import FREE, Asked, Estimate, estimate
from comptroller.core.pricing.tariff import Tariff
from comptroller.core.pricing.tool_estimate import tool_estimate, tool_tariff
from comptroller.core.rate.limits import NONE, Met
from comptroller.core.refusal import Refusal
from comptroller.core.work.tool_use import ToolUse
from comptroller.flow.caller import Caller
from comptroller.flow.decide import Decision
from comptroller.flow.gate import Gate


class Weighed(msgspec.Struct, frozen=True, gc=False):
    """What a call could cost at most, and the windows that it would draw on: good until somebody waits."""

    decision: Decision
    asked: Asked  # with the model that is called
    now_ns: int
    scope_facts: Facts
    draw: Draw
    rates: Tariff
    bound: Estimate
    bounded: bool  # False: nothing bounds it, and no budget needs a bound
    met: Met = NONE  # the rates that it is for


def weigh(gate: Gate, caller: Caller, decision: Decision, asked: Asked, lift: Lift = NO_LIFT) -> Weighed | Refusal:
    """The upper bound of a call to the model that was decided on, and the budgets it is for. Draws on none.

    `lift`: what grants do to the draw.
    """
    if decision.bound.quarantined:
        return _quarantined(decision)
    if asked.tool is not None:
        return _weigh_tool(gate, caller, decision, asked, asked.tool, lift)
    if decision.name != asked.model:
        asked = msgspec.structs.replace(asked, model=decision.name)
    now_ns = gate.clock.now_ns()
    scope_facts = caller.facts(decision.provider.name, decision.name, decision.model.model_class)
    rates = caller.registry.prices.rates(decision.provider.name, decision.name, to_datetime(now_ns).date())
    if asked.free or (asked.free_unpriced and not rates):
        return Weighed(decision, asked, now_ns, scope_facts, Draw(()), rates, FREE, True)
    draw = gate.tree.drawn_by(scope_facts, now_ns)
    asked = _counted(gate, caller, decision, asked)
    if lift is not NO_LIFT:
        draw = draw.lifted(lift)
    money = "usd" in draw.units
    met = gate.pace.limits.met_by(scope_facts, gate.pace.steady_ns)
    metered = money or met.tokens or "tokens" in draw.units or "thinking_tokens" in draw.units
    sizes = (asked, decision.model.limits, rates, decision.bound.factor_bp)
    bound = estimate(*sizes, money=money, metered=True)
    bounded = not isinstance(bound, Refusal)
    if not bounded and not metered:
        bound = estimate(*sizes, money=money, metered=False)
    if isinstance(bound, Refusal):
        return bound
    return Weighed(decision, asked, now_ns, scope_facts, draw, rates, bound, bounded, met)


def _weigh_tool(
    gate: Gate, caller: Caller, decision: Decision, asked: Asked, tool: ToolUse, lift: Lift
) -> Weighed | Refusal:
    now_ns, provider = gate.clock.now_ns(), decision.provider.name
    scope_facts = caller.facts_of_tool(provider, tool.server, tool.name)
    listed = caller.registry.prices.rates(provider, tool.name, to_datetime(now_ns).date())
    draw = gate.tree.drawn_by(scope_facts, now_ns)
    if lift is not NO_LIFT:
        draw = draw.lifted(lift)
    met = gate.pace.limits.met_by(scope_facts, gate.pace.steady_ns)
    bound = tool_estimate(tool, listed, decision.bound.factor_bp, money="usd" in draw.units)
    if isinstance(bound, Refusal):
        return bound
    return Weighed(decision, asked, now_ns, scope_facts, draw, tool_tariff(tool, listed), bound, True, met)


def known_bounds(weighed: Weighed) -> tuple[int, int]:
    """The estimate in nano-USD and the input in tokens. What nobody knows is the largest number: no rule misses it."""
    bound = weighed.bound
    if bound.free:
        return 0, 0
    if weighed.asked.tool is not None:
        return _nanos(bound), 0
    input_tokens = long(bound.input_tokens) if weighed.bounded else LARGEST_LONG
    if "usd" in weighed.draw.units:
        return _nanos(bound), input_tokens
    limits, factor_bp = weighed.decision.model.limits, weighed.decision.bound.factor_bp
    priced = estimate(weighed.asked, limits, weighed.rates, factor_bp, money=True, metered=True)
    return LARGEST_LONG if isinstance(priced, Refusal) else _nanos(priced), input_tokens


def _nanos(bound: Estimate) -> int:
    return long(bound.amount_nanos(bound.wanted_output_tokens))


def _counted(gate: Gate, caller: Caller, decision: Decision, asked: Asked) -> Asked:
    """With fewer tokens of text, where most of it was billed before in this session."""
    if asked.prompt is None:
        return asked
    most = gate.prefixes.bound(caller.session.id, decision.provider.name, decision.sent_as, asked.prompt)
    if most is None or most >= asked.text_tokens:
        return asked
    return msgspec.structs.replace(asked, text_tokens=most)


def _quarantined(decision: Decision) -> Refusal:
    bound, model = decision.bound, f"{decision.bound.provider}/{decision.bound.model}"
    return Refusal(
        code="model_quarantined",
        sentence=f"{bound.name} was billed above its upper bound {bound.overruns} times and is stopped.",
        hint=f"Use another model; an operator reopens it with `comptroller resume bound {model}`.",
    )
