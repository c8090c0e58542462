"""The policies in force: what they say of a call that somebody would make, and how each of them bears on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import invalid, not_found
from comptroller.control.route import Asked, NoQuery, Route
from comptroller.core.budget.draw import ALL_LEFT_BP
from comptroller.core.instant import format_instant
from comptroller.core.money import format_usd, parse_usd
from comptroller.core.policy.break_glass import BreakGlass
from comptroller.core.policy.policies import Policies
from comptroller.core.policy.remedy import Kind
from comptroller.core.policy.request import Context, PolicyRequest, Principal, Resource, long
from comptroller.core.policy.verdict import Verdict, next_step
from comptroller.core.policy.why import BEARINGS, Standing, standings
from comptroller.core.problem import did_you_mean
from comptroller.core.registry.registry import Model
from comptroller.core.work.stop import Acting, stop_keys
from comptroller.flow.gate import Gate

_NEXT: Mapping[Kind, str] = {
    "cap_input": "It passes this with at most {} input tokens, and is refused with more.",
    "route": "It would be sent to {} instead, and decided anew there.",
    "approval": "It needs the approval of {}: a grant of that role lets it go on, and without one it makes a ticket.",
}


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that somebody would make. What is left out does not come near any limit."""

    identity: str
    model: str
    estimate_usd: str = "0"
    input_tokens: int = 0
    output_limit: int = 0
    session_age_s: int = 0
    budget_left_bp: int = ALL_LEFT_BP
    task_type: str = ""
    depth: int = 0


class Bearing(msgspec.Struct, frozen=True):
    """One policy, and how it bears on the call."""

    id: str
    effect: str  # permit, forbid
    bearing: str  # holds, conditions, scope, error (core/policy/why.py)
    reason: str
    remedy: str | None
    where: str  # FILE:LINE
    detail: str


class PolicyExplanation(msgspec.Struct, frozen=True):
    identity: str
    model: str
    model_class: str
    provider: str
    allowed: bool
    refusal: str | None  # its code, if no remedy helps
    remedy: str | None  # what would be tried next
    policy_version: str
    registry_version: int
    determining: Sequence[str]
    sentences: Sequence[str]
    policies: Sequence[Bearing]
    break_glass: Sequence[str] = ()  # grants in force by which it goes on although the policies deny it


def explain(office: Office, question: Question) -> PolicyExplanation:
    """What the policies in force say of a call, and why. Nothing is held, sent or written down."""
    registry = office.gate.registry
    request = _request(office.gate, question)
    policies = registry.policies
    verdict = policies.evaluate(request)
    step = next_step(verdict, ())
    found = standings(policies, request)
    grants = () if verdict.allowed else _grants(office.gate, request.principal)
    return PolicyExplanation(
        identity=question.identity,
        model=question.model,
        model_class=request.resource.model_class,
        provider=request.context.provider,
        allowed=verdict.allowed,
        refusal=None if verdict.allowed or step else _code(verdict),
        remedy=str(step.remedy) if step else None,
        policy_version=policies.version,
        registry_version=registry.version,
        determining=verdict.ids,
        sentences=[*_tell(question, policies, verdict), *map(_let_through, grants)],
        policies=[_bearing(each) for each in found],
        break_glass=[grant.id for grant in grants],
    )


def _grants(gate: Gate, principal: Principal) -> Sequence[BreakGlass]:
    """Those for every call of an identity. Of a session or tenant alone nothing is known here."""
    keys = stop_keys([Acting(None, principal.name, principal.owner, principal.team)])
    return list(gate.broken.applying(keys, gate.clock.now_ns()))


def _let_through(grant: BreakGlass) -> str:
    ends = "" if grant.ends_at_ns is None else f" until {format_instant(grant.ends_at_ns)}"
    limit = f"as long as its {format_usd(grant.limit_nanos)} USD last"
    return f"It goes on all the same by {grant.id}, which breaks the glass for {grant.name}{ends}, {limit}."


def _request(gate: Gate, question: Question) -> PolicyRequest:
    registry = gate.registry
    identity, model = registry.identities.get(question.identity), registry.model(question.model)
    if identity is None:
        raise not_found(
            f"There is no identity {question.identity!r}.", did_you_mean(question.identity, registry.identities)
        )
    if model is None:
        raise not_found(f"No entry serves the model {question.model!r}.", did_you_mean(question.model, registry.models))
    try:
        estimate_nanos = parse_usd(question.estimate_usd)
    except ValueError as error:
        raise invalid(f"estimate_usd: {error}.") from error
    numbers = (estimate_nanos, question.input_tokens, question.output_limit, question.session_age_s, question.depth)
    if min(numbers) < 0 or not 0 <= question.budget_left_bp <= ALL_LEFT_BP:
        raise invalid(f"A number is below zero, or budget_left_bp is above {ALL_LEFT_BP}.")
    context = Context(
        environment=identity.environment,
        risk_tier=identity.risk_tier,
        data_classes=identity.data_classes,
        model_class=model.model_class or "",
        provider=_provider(gate, model, identity.environment),
        estimate_nanos=long(estimate_nanos),
        input_tokens=long(question.input_tokens),
        output_limit=long(question.output_limit),
        session_age_s=long(question.session_age_s),
        budget_left_bp=question.budget_left_bp,
        task_type=question.task_type,
        depth=long(question.depth),
    )
    principal = Principal(identity.id, identity.kind, identity.team, identity.owner, registry.organization.name)
    return PolicyRequest(principal, Resource(question.model, context.model_class), context)


def _provider(gate: Gate, model: Model, environment: str) -> str:
    """The first provider with a key for this environment; whether it speaks the caller's dialect is not asked."""
    for name in model.providers:
        provider = gate.providers.get(name)
        if provider is not None and (provider.environments is None or environment in provider.environments):
            return name
    return model.providers[0]


def _code(verdict: Verdict) -> str:
    return "no_permit" if verdict.default_deny else "policy_forbidden"


def _tell(question: Question, policies: Policies, verdict: Verdict) -> Iterator[str]:
    who, what = question.identity, question.model
    names = ", ".join(verdict.ids)
    if verdict.allowed:
        yield f"{who} may call {what}: permitted by {names}."
    elif verdict.errors:
        yield f"{who} may not call {what}: {'; '.join(verdict.errors)}."
    elif verdict.default_deny:
        yield f"{who} may not call {what}: no policy permits it, and none forbids it."
    else:
        yield f"{who} may not call {what} as it is: forbidden by {names}."
        for policy in verdict.determining:
            if policy.reason:
                yield f"{policy.id}: {policy.reason}."
        yield from _remedies(verdict)
    if policies.built_in:
        yield "No policy is installed, so the built-in one decides."


def _remedies(verdict: Verdict) -> Iterator[str]:
    step = next_step(verdict, ())
    if step is not None:
        yield _NEXT[step.remedy.kind].format(step.remedy.value)
        return
    without = [policy.id for policy in verdict.determining if policy.remedy is None]
    yield f"No remedy lifts {', '.join(without)}."


def _bearing(standing: Standing) -> Bearing:
    policy = standing.policy
    return Bearing(
        id=policy.id,
        effect=policy.effect,
        bearing=standing.bearing,
        reason=policy.reason,
        remedy=None if policy.remedy is None else str(policy.remedy),
        where=policy.where,
        detail=standing.detail or BEARINGS[standing.bearing],
    )


async def _explain_policy(office: Office, asked: Asked[NoQuery, Question]) -> PolicyExplanation:
    """What the policies in force would say of a call, and how each of them bears on it."""
    return explain(office, asked.body)


ROUTES = (Route("POST", "/policies/explanation", "viewer", _explain_policy, problems=(404, 422)),)
