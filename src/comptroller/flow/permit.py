"""Permit: what the policies say of this call, and what turns their no into a yes.

A denial is followed step by step: a cap that the request keeps lifts its forbid, a route leads to another model
and is weighed anew, an approval has to be asked for. After each step the policies decide again.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Protocol

import msgspec

from comptroller.core.approval.grant import Grant
from comptroller.core.approval.ticket import Ask
from comptroller.core.budget.draw import Lift
from comptroller.core.effect import Effect
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.policy.break_glass import RULED_BY
from comptroller.core.policy.policies import NOTHING
from comptroller.core.policy.remedy import Kind, Step
from comptroller.core.policy.request import LARGEST_LONG, Context, PolicyRequest, Resource, long
from comptroller.core.policy.verdict import Policy, Verdict, next_step
from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.core.work.tool_use import ToolUse
from comptroller.flow.caller import Caller
from comptroller.flow.decide import NOBODY, Decision, decide
from comptroller.flow.dialect import Dialect
from comptroller.flow.gate import Gate
from comptroller.flow.lift import Lifted, ask_about, lift, pass_steps, step_refusal
from comptroller.flow.records import Ruling
from comptroller.flow.route import Way, behind, lead, lead_by_remedy, say
from comptroller.flow.tool_scope import decide_tool, forbidden_arguments, resource_of, standing_context
from comptroller.flow.weigh import Weighed, known_bounds, weigh
from comptroller.wire.rate_headers import Headers


class Permit(msgspec.Struct, frozen=True, gc=False):
    """Yes: this call, to the model that was decided on in the end."""

    weighed: Weighed
    ruling: Ruling
    effects: tuple[Effect, ...] = ()
    instead_of: Weighed | None = None  # the call as it would have gone, where a rule led it to another model
    holding: frozenset[str] | None = None  # the routes that hold its session from now on; None: as before
    grants: tuple[Grant, ...] = ()  # that count it


class Wait(Protocol):
    """What could turn a no into a yes before long, and how it is waited for: outside of any hold."""

    async def over(self) -> bool:
        """Wait. True: ask anew; False: the no stands, or the caller has left."""
        ...


class Denied(msgspec.Struct, frozen=True, gc=False):
    """No, and by which policies. Whom it concerns is as the registry knew the caller then."""

    caller: Caller
    refusal: Refusal
    ruling: Ruling | None = None
    wait: Wait | None = None
    headers: Headers = ()  # of the answer that says so
    ask: Ask | None = None  # what a person could be asked


def seek_provider(
    gate: Gate, dialect: Dialect, caller: Caller, asked: Asked, besides: AbstractSet[str] = NOBODY
) -> Permit | Denied:
    """The first provider that this call may use, and its model: of an alias, the first one behind it that it may call.

    If it may use none: why not the first. Does not wait. `besides`: providers that are not asked (any more).
    """
    if asked.tool is not None:
        decision = forbidden_arguments(caller, asked.tool) or decide_tool(gate, caller, asked.tool.name, besides)
        denied = isinstance(decision, Refusal)
        return Denied(caller, decision) if denied else seek_permit(gate, dialect, caller, decision, asked, besides)
    target = caller.registry.routing.aliases.get(asked.model)
    if target is None:
        return _seek(gate, dialect, caller, asked.model, asked, besides)
    if asked.model_fixed or asked.lines:
        return Denied(caller, _alias_in_a_file(asked.model, target))
    first: Denied | None = None
    for member in behind(gate, dialect, caller, target, besides):
        permit = _seek(gate, dialect, caller, member.name, asked, besides)
        if isinstance(permit, Permit):
            effect = Effect("routed", asked.model, say(asked.model, member.name, "alias"))
            return msgspec.structs.replace(permit, effects=(effect, *permit.effects))
        first = first or permit
    return first or Denied(caller, _alias_of_nothing(asked.model))


def _seek(
    gate: Gate, dialect: Dialect, caller: Caller, name: str, asked: Asked, besides: AbstractSet[str]
) -> Permit | Denied:
    first: Denied | None = None
    while True:
        decision = decide(gate, dialect, caller, name, besides)
        if isinstance(decision, Refusal):
            return first or Denied(caller, decision)
        permit = seek_permit(gate, dialect, caller, decision, asked, besides)
        if isinstance(permit, Permit):
            return permit
        first = first or permit
        besides = besides | {decision.provider.name}


def seek_permit(
    gate: Gate, dialect: Dialect, caller: Caller, decision: Decision, asked: Asked, besides: AbstractSet[str]
) -> Permit | Denied:
    """Weigh the call, go where routes lead it, and ask the policies there. What they deny there goes where it asks."""
    weighed = weigh(gate, caller, decision, asked)
    if isinstance(weighed, Refusal):
        return Denied(caller, weighed)
    way = lead(gate, dialect, caller, weighed, asked, besides)
    if way is None:
        return _ask_policies(gate, dialect, caller, Way(weighed), weighed, asked, besides)
    if way.routed_by is not None:
        permit = _ask_policies(gate, dialect, caller, way, weighed, asked, besides)
        if isinstance(permit, Permit):
            return permit
        way = _back(way, weighed, permit)
    return _ask_policies(gate, dialect, caller, way, weighed, asked, besides)


def _back(way: Way, weighed: Weighed, denied: Denied) -> Way:
    """A call stays where it asks, for the policies deny it where it was led."""
    here, there = weighed.decision.name, way.weighed.decision.name
    rule = next(effect.rule for effect in reversed(way.effects) if effect.kind == "routed")
    stays = Effect("warned", rule, f"stays {here}: {denied.refusal.code} for {there}")
    kept = tuple(effect for effect in way.effects if effect.kind != "routed")
    return Way(weighed, None, (*kept, stays), way.holding)


def _ask_policies(
    gate: Gate,
    dialect: Dialect,
    caller: Caller,
    way: Way,
    asked_for: Weighed,
    asked: Asked,
    besides: AbstractSet[str],
) -> Permit | Denied:
    """Ask the policies, and follow their remedies. `asked_for`: the call as it would go if nothing led it elsewhere."""
    weighed, routed_by, effects = way.weighed, way.routed_by, way.effects
    caps: dict[str, int] = {}  # forbids that a cap on the input lifts, as long as the input keeps it
    taken: set[Kind] = set()
    grants: tuple[Grant, ...] = ()
    suspended = NOTHING  # forbids that they lift
    while True:
        question = policy_request(gate, caller, weighed)
        input_tokens = question.context.input_tokens
        lifted = suspended | {name for name, most in caps.items() if input_tokens <= most} if caps else suspended
        verdict = caller.registry.policies.decide(question, lifted)
        ruling = Ruling(verdict.ids, routed_by)
        instead_of = asked_for if weighed.decision is not asked_for.decision else None
        if verdict.allowed:
            return _past_steps(gate, caller, Permit(weighed, ruling, effects, instead_of, way.holding, grants))
        broken = _broken_glass(gate, caller, weighed.decision, asked, verdict)
        if broken is not None:
            ids, through = broken
            return Permit(through, Ruling(ids, routed_by), effects, instead_of, way.holding)
        step = next_step(verdict, taken)
        if step is None:
            return Denied(caller, refused_by(caller, question, verdict), ruling)
        taken.add(step.remedy.kind)
        match step.remedy.kind:
            case "cap_input" if input_tokens > step.remedy.tokens:
                return Denied(caller, _too_large(input_tokens, step, verdict), ruling)
            case "cap_input":
                caps = dict.fromkeys(step.policies, step.remedy.tokens)
            case "route":
                routed = lead_by_remedy(gate, dialect, caller, step.remedy.value, asked, besides)
                if isinstance(routed, Refusal):
                    return Denied(caller, _no_way(caller, question, verdict, step, routed), ruling)
                change = say(weighed.decision.name, routed.decision.name, "policy")
                effects = (*effects, Effect("routed", step.policies[0], change))
                weighed, routed_by = routed, step.policies[0]
                grants, suspended = (), NOTHING
            case "approval":
                by_grant = lift(gate, caller, Lifted(weighed, grants), step.remedy.value, suspending=True)
                if by_grant is None:
                    refusal = _approval_required(step, verdict)
                    ask = ask_about(weighed, step.remedy.value, refusal.sentence, step.policies)
                    return Denied(caller, refusal, ruling, ask=ask)
                weighed, grants = by_grant
                suspended |= caller.registry.policies.asking(step.remedy.value)
                taken.discard("approval")  # another role may have to be asked, too


def _past_steps(gate: Gate, caller: Caller, permit: Permit) -> Permit | Denied:
    """What the policies permit, past the soft steps of its budgets that want an approval."""
    weighed = permit.weighed
    if not weighed.draw.soft:
        return permit
    passed = pass_steps(gate, caller, Lifted(weighed, permit.grants))
    if isinstance(passed, Lifted):
        return msgspec.structs.replace(permit, weighed=passed.weighed, grants=passed.grants)
    step, window = passed
    refusal = step_refusal(step, window)
    ask = ask_about(weighed, step.value, refusal.sentence, budget=window.budget.name)
    return Denied(caller, refusal, permit.ruling, ask=ask)


def _broken_glass(
    gate: Gate, caller: Caller, decision: Decision, asked: Asked, verdict: Verdict
) -> tuple[tuple[str, ...], Weighed] | None:
    """Yes all the same, by a grant of break-glass that has enough left for it; it counts this call, as weighed here."""
    for grant in gate.broken.applying(caller.stop_keys, gate.clock.now_ns()):
        meter = gate.tree.meter(grant.id)
        weighed = weigh(gate, caller, decision, asked, Lift((meter,))) if meter is not None else None
        if meter is None or not isinstance(weighed, Weighed):
            continue
        bound = weighed.bound
        if bound.affordable_by_money(meter.windows[0].remaining) >= bound.least_output_tokens:
            return (RULED_BY + grant.id, *verdict.ids), weighed
    return None


def policy_request(gate: Gate, caller: Caller, weighed: Weighed) -> PolicyRequest:
    """All that policies may know of this call."""
    identity, decision, tool = caller.identity, weighed.decision, weighed.asked.tool
    if tool is not None:
        return tool_request(gate, caller, weighed, tool)
    model_class = decision.model.model_class or ""
    estimate_nanos, input_tokens = known_bounds(weighed)
    calls, tools_used = _before(gate, caller)
    context = Context(
        environment=identity.environment,
        risk_tier=identity.risk_tier,
        data_classes=identity.data_classes,
        model_class=model_class,
        provider=decision.provider.name,
        estimate_nanos=estimate_nanos,
        input_tokens=input_tokens,
        output_limit=long(weighed.bound.wanted_output_tokens),
        session_age_s=max(0, weighed.now_ns - caller.session.opened_at_ns) // NANOS_PER_SECOND,
        budget_left_bp=weighed.draw.left_bp(),
        task_type=caller.session.task_type or "",
        profile=caller.session.profile or "",
        depth=caller.session.depth,
        calls=calls,
        tools_used=tools_used,
    )
    # Where no model is named, the dialect stands for one.
    return PolicyRequest(caller.principal, Resource(decision.name or decision.model.pattern, model_class), context)


def _before(gate: Gate, caller: Caller) -> tuple[int, tuple[str, ...]]:
    """The calls of its session that have ended, and the tools that its run has used, as far as a policy asks."""
    looked_at = caller.registry.policies.looked_at
    calls, tools_used = 0, ()
    if "calls" in looked_at and (meter := gate.tree.meter(caller.session.id)) is not None:
        calls = meter.posted.calls + meter.posted.tool_calls
    if "tools_used" in looked_at:
        tools_used = gate.tools_used.of(caller.session.top)
    return long(calls), tools_used


def tool_request(gate: Gate, caller: Caller, weighed: Weighed, tool: ToolUse) -> PolicyRequest:
    """The same of a call to a tool. `weighed`: that call, or the one to a model in whose course it may be made."""
    calls, tools_used = _before(gate, caller)
    context = msgspec.structs.replace(
        standing_context(caller, tool.risks, tool.name),
        arguments=tool.classes,
        estimate_nanos=known_bounds(weighed)[0],
        session_age_s=max(0, weighed.now_ns - caller.session.opened_at_ns) // NANOS_PER_SECOND,
        budget_left_bp=weighed.draw.left_bp(),
        calls=calls,
        tools_used=tools_used,
    )
    return PolicyRequest(caller.principal, resource_of(tool.name, tool.risks), context, "tool.call")


def _alias_in_a_file(name: str, target: str) -> Refusal:
    return Refusal(
        code="unsupported",
        sentence=f"{name!r} is an alias, and the requests of a batch stand as they are sent.",
        hint=f"Name a model in them, such as one that is meant by {target!r}.",
        param="model",
    )


def _alias_of_nothing(name: str) -> Refusal:
    return Refusal(
        code="model_unknown",
        sentence=f"No model is behind the alias {name!r}.",
        hint="Ask whoever runs the gateway to check [aliases] in registry.toml.",
        param="model",
    )


def refused_by(caller: Caller, question: PolicyRequest, verdict: Verdict) -> Refusal:
    """A no of the policies that nothing mends."""
    ask = f"`comptroller policy explain {caller.identity.id} {question.resource.name}` says more."
    if verdict.default_deny:
        return Refusal(
            code="no_permit",
            sentence=f"No policy permits {caller.identity.id} to call {question.resource.name!r}.",
            hint=f"Use {_other(question)} that is permitted, or ask whoever writes the policies; {ask}",
        )
    if verdict.errors:
        return Refusal(
            code="policy_forbidden",
            sentence=f"The policies could not be evaluated for this call: {'; '.join(verdict.errors)}.",
            hint=f"Ask whoever writes the policies to mend that; {ask}",
            policies=verdict.ids,
        )
    return Refusal(
        code="policy_forbidden",
        sentence=" ".join(map(_forbids, verdict.determining)),
        hint=f"Ask for less or for {_other(question)}, or ask whoever writes the policies; {ask}",
        policies=verdict.ids,
    )


def _other(question: PolicyRequest) -> str:
    return "another tool" if question.action == "tool.call" else "another model"


def _no_way(caller: Caller, question: PolicyRequest, verdict: Verdict, step: Step, routed: Refusal) -> Refusal:
    """A forbid would be lifted by another model, and that one cannot be called."""
    refused = refused_by(caller, question, verdict)
    return Refusal(
        code=refused.code,
        sentence=f"{refused.sentence} It would be sent to {step.remedy.value!r} instead, but: {routed.sentence}",
        hint=routed.hint or refused.hint,
        policies=verdict.ids,
    )


def _too_large(input_tokens: int, step: Step, verdict: Verdict) -> Refusal:
    most = step.remedy.tokens
    known = input_tokens < LARGEST_LONG
    size = f"has up to {input_tokens} input tokens" if known else "has input that nothing bounds"
    cut = f"Cut at least {input_tokens - most} tokens" if known else "Leave out what is not in the body"
    return Refusal(
        code="context_too_large",
        sentence=f"The request {size}, and {_by(step)} allows {most} tokens{_reasons(step, verdict)}.",
        hint=f"{cut}: drop old messages, tool results or tool definitions.",
        unit="tokens",
        needed=str(input_tokens) if known else None,
        policies=step.policies,
    )


def _approval_required(step: Step, verdict: Verdict) -> Refusal:
    role = step.remedy.value
    return Refusal(
        code="approval_required",
        sentence=f"This call needs the approval of {role}, by {_by(step)}{_reasons(step, verdict)}.",
        hint="",
        policies=step.policies,
    )


def _by(step: Step) -> str:
    return f"{'policy' if len(step.policies) == 1 else 'each of the policies'} {', '.join(step.policies)}"


def _reasons(step: Step, verdict: Verdict) -> str:
    found = [policy.reason.rstrip(".") for policy in verdict.determining if policy.id in step.policies]
    said = "; ".join(filter(None, found))
    return f": {said}" if said else ""


def _forbids(policy: Policy) -> str:
    reason = policy.reason.rstrip(".")
    return f"Policy {policy.id} forbids this call{': ' if reason else ''}{reason}."
