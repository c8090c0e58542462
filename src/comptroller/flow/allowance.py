"""Allowance: what a caller may spend right now, and what would become of a call that it plans.

The same look as a real call's (admit.py), without the step after it: what is said here is what the next call hears, as
long as nothing else happens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

import msgspec

from comptroller.core.allowance import Limit
from comptroller.core.budget.budget import format_amount
from comptroller.core.budget.counter import Window
from comptroller.core.budget.draw import Draw
from comptroller.core.budget.meter import COUNTED, is_session_bound
from comptroller.core.budget.scope import Facts
from comptroller.core.instant import format_instant
from comptroller.core.pricing.rates import Rates
from comptroller.core.rate.limits import Limiter
from comptroller.core.refusal import Refusal
from comptroller.core.work.tool_use import ToolUse
from comptroller.flow.admit import Offer, Question, offer_for
from comptroller.flow.caller import Caller
from comptroller.flow.dialect import Planned
from comptroller.flow.gate import Gate
from comptroller.flow.models import reachable_by
from comptroller.flow.permit import Denied
from comptroller.flow.tool_scope import SERVER_PREFIX

MOST_LIMITS = 16  # in a refusal: the ones with the least left
MOST_MODELS = 100  # that are looked at for a cheaper one
_AS_MUCH_AS_IT_MAKES = 10**9  # tokens: no model makes so many, and some APIs want a limit to be said


class Plan(msgspec.Struct, frozen=True):
    """A call that somebody thinks of making. Tokens."""

    model: str
    input_tokens: int = 0
    max_output_tokens: int | None = None  # per answer; None: as much as the model makes
    stream: bool = False


class Cheapest(msgspec.Struct, frozen=True):
    """The allowed model that this call would cost the least on."""

    model: str
    estimate_nanos: int


class Outlook(msgspec.Struct, frozen=True):
    """What would become of a planned call."""

    dialect: str
    answer: Offer | Denied
    largest_output_tokens: int  # that such a call could ask for, and get, now
    cheapest: Cheapest | None  # None: no model of a known name is allowed


def limits_of(gate: Gate, caller: Caller, model: str | None = None, tool: ToolUse | None = None) -> Sequence[Limit]:
    """Every budget, bound and rate that binds calls of this caller, least share left first; to `model` or `tool`, or to
    any. Those of other models, providers and classes are left out where none is named, and all of tools.
    """
    facts = _facts(caller, model) if tool is None else _facts_of_tool(caller, tool)
    now_ns = gate.clock.now_ns()
    draw, met = gate.tree.drawn_by(facts, now_ns), gate.pace.limits.met_by(facts, gate.pace.steady_ns)
    steady_ns = gate.pace.steady_ns()
    found = [(draw.left(each) / max(1, each.budget.limit), _limit(draw, each)) for each in draw.windows]
    found += [
        (each.remaining(steady_ns) / each.rate.burst, _rate(each, steady_ns, now_ns))
        for each in (*met.hard, *met.shadow)
    ]
    return [limit for _, limit in sorted(found, key=itemgetter(0))]


def with_allowance(
    gate: Gate, caller: Caller, refusal: Refusal, model: str | None, tool: ToolUse | None = None
) -> Refusal:
    """A refusal with what the caller may still do, as far as it concerns this model or this tool."""
    if not gate.stops.applies(caller.stop_keys):
        limits = tuple(limits_of(gate, caller, model, tool)[:MOST_LIMITS])
        return msgspec.structs.replace(refusal, allowance=limits)
    return refusal


def outlook(gate: Gate, apis: Iterable[Planned], caller: Caller, plan: Plan) -> Outlook:
    """What a call would hear if it came now, in the first of these APIs in which a provider serves it."""
    answers = [(api, _heard(gate, api, caller, plan)) for api in apis]
    served = (each for each in answers if isinstance(each[1], Offer) or each[1].refusal.code != "provider_unavailable")
    api, answer = next(served, answers[0])
    return Outlook(api.dialect.name, answer, _largest(gate, api, caller, plan), _cheapest(gate, api, caller, plan))


def _heard(gate: Gate, api: Planned, caller: Caller, plan: Plan) -> Offer | Denied:
    limit = _AS_MUCH_AS_IT_MAKES if plan.max_output_tokens is None else plan.max_output_tokens
    asked = api.asked(plan.model, plan.input_tokens, limit, stream=plan.stream)
    if isinstance(asked, Refusal):
        return Denied(caller, asked)
    return offer_for(gate, Question(api.dialect, caller, asked))


def _largest(gate: Gate, api: Planned, caller: Caller, plan: Plan) -> int:
    """The largest output limit that would be let through as it is; 0 if none would.

    What is affordable is said by the offer itself. Policies may look at the limit that is asked for, so where they say
    no to all of it the largest is searched for: whoever may have more may have less.
    """
    offer = _heard(gate, api, caller, msgspec.structs.replace(plan, max_output_tokens=None))
    if isinstance(offer, Offer):
        return offer.afforded.output_limit
    model = caller.registry.model(plan.model)
    least, most = 0, model.limits.max_output_tokens if model is not None else 0
    while least < most:
        middle = (least + most + 1) // 2
        offer = _heard(gate, api, caller, msgspec.structs.replace(plan, max_output_tokens=middle))
        if isinstance(offer, Offer) and offer.afforded.output_limit >= middle:
            least = middle
        else:
            most = middle - 1
    return least


def _cheapest(gate: Gate, api: Planned, caller: Caller, plan: Plan) -> Cheapest | None:
    """By the upper bound, among the models that the registry names: what a pattern matches has no name yet."""
    names = dict.fromkeys([plan.model, *(each.name for each in reachable_by(gate, api.dialect.family, caller))])
    found: list[Cheapest] = []
    for name, _ in zip(names, range(MOST_MODELS), strict=False):
        offer = _heard(gate, api, caller, msgspec.structs.replace(plan, model=name))
        if not isinstance(offer, Offer):
            continue
        weighed, limit = offer.permit.weighed, offer.afforded.output_limit
        if _is_by_tokens(weighed.rates) and limit >= weighed.bound.wanted_output_tokens:
            found.append(Cheapest(weighed.decision.name, weighed.bound.amount_nanos(limit)))
    return min(found, key=lambda each: each.estimate_nanos, default=None)


def _is_by_tokens(rates: Mapping[str, Rates]) -> bool:
    """Whether a model is billed by tokens of text that it reads and writes: others do not answer such a call."""
    return bool(rates) and all(
        each.input and each.output and each.image is each.character is each.audio_hour is None
        for each in rates.values()
    )


def _facts(caller: Caller, model: str | None) -> Facts:
    entry = caller.registry.model(model) if model else None
    if model is None or entry is None:
        return Facts(caller.chain, {})
    return caller.facts(entry.providers[0], model, entry.model_class)


def _facts_of_tool(caller: Caller, tool: ToolUse) -> Facts:
    return caller.facts_of_tool(f"{SERVER_PREFIX}{tool.server}", tool.server, tool.name)


def _limit(draw: Draw, window: Window) -> Limit:
    budget, span = window.budget, window.span
    of_session = is_session_bound(budget)
    shown = draw.shows(window)
    return Limit(
        "session" if of_session else "budget",
        COUNTED[budget.unit].removesuffix("_nanos") if of_session else budget.name,
        budget.unit,
        window.key.instance,
        budget.window,
        budget.mode,
        format_amount(budget.limit, budget.unit) if shown else None,
        format_amount(window.posted, budget.unit) if shown else None,
        format_amount(window.held, budget.unit) if shown else None,
        format_amount(max(0, draw.left(window)), budget.unit) if shown else None,
        None if span.end_ns is None else format_instant(span.end_ns),
    )


def _rate(limiter: Limiter, steady_ns: int, now_ns: int) -> Limit:
    """What may come at this instant, and when all of its burst may."""
    rate = limiter.rate
    amount, _, unit = str(rate.pace).partition(" ")
    shown = rate.visible == "caller"
    full_at_ns = now_ns + max(0, limiter.full_at(steady_ns) - steady_ns)
    return Limit(
        "rate",
        rate.name,
        unit,
        limiter.instance,
        None,
        rate.mode,
        amount.replace("_", "") if shown else None,
        remaining=str(max(0, limiter.remaining(steady_ns))) if shown else None,
        burst=str(rate.burst) if shown else None,
        resets_at=None if rate.unit == "at_once" else format_instant(full_at_ns),
    )
