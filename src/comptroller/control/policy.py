"""The policies in force: what they say of a call that somebody would make, and how each of them bears on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from comptroller.control.office import Office
from comptroller.control.policy_question import Question, read_question
from comptroller.control.route import Asked, NoQuery, Route
from comptroller.core.instant import format_instant
from comptroller.core.money import format_usd
from comptroller.core.policy.break_glass import BreakGlass
from comptroller.core.policy.policies import Policies
from comptroller.core.policy.remedy import Kind
from comptroller.core.policy.request import Principal
from comptroller.core.policy.verdict import Verdict, next_step
from comptroller.core.policy.why import BEARINGS, Standing, standings
from comptroller.core.tool.arguments import ArgumentRule, alone, broken_rule
from comptroller.core.work.stop import Acting, stop_keys
from comptroller.flow.gate import Gate

_NEXT: Mapping[Kind, str] = {
    "cap_input": "It passes this with at most {} input tokens, and is refused with more.",
    "route": "It would be sent to {} instead, and decided anew there.",
    "approval": "It needs the approval of {}: a grant of that role lets it go on, and without one it makes a ticket.",
}


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
    model: str  # or the tool, SERVER/TOOL
    model_class: str
    provider: str
    allowed: bool  # by the policies, and by the rules for arguments where some were said
    refusal: str | None  # its code, if no remedy helps
    remedy: str | None  # what would be tried next
    policy_version: str
    registry_version: int
    determining: Sequence[str]
    sentences: Sequence[str]
    policies: Sequence[Bearing]
    break_glass: Sequence[str] = ()  # grants in force by which it goes on although the policies deny it
    server: str = ""  # of a tool
    risks: Sequence[str] = ()  # of a tool
    arguments: Sequence[str] = ()  # what was found in them
    rule: str | None = None  # the one of [[arguments]] that does not allow them


def explain(office: Office, question: Question) -> PolicyExplanation:
    """What the policies in force say of a call, and why. Nothing is held, sent or written down."""
    registry = office.gate.registry
    request = read_question(office.gate, question)
    policies = registry.policies
    verdict = policies.evaluate(request)
    step = next_step(verdict, ())
    found = standings(policies, request)
    grants = () if verdict.allowed else _grants(office.gate, request.principal)
    said = question.arguments.encode() if request.resource.server else b""
    broken = broken_rule(registry.arguments, alone(request), question.model, said) if said else None
    refusal = _code(verdict) if not (verdict.allowed or step) else "arguments_forbidden" if broken else None
    return PolicyExplanation(
        identity=question.identity,
        model=question.model,
        model_class=request.resource.model_class,
        provider=request.context.provider,
        allowed=verdict.allowed and broken is None,
        refusal=refusal,
        remedy=str(step.remedy) if step else None,
        policy_version=policies.version,
        registry_version=registry.version,
        determining=verdict.ids,
        sentences=[*_tell(question, policies, verdict), *map(_let_through, grants), *_broken(broken)],
        policies=[_bearing(each) for each in found],
        break_glass=[grant.id for grant in grants],
        server=request.context.server,
        risks=request.resource.risks,
        arguments=request.context.arguments,
        rule=broken[0].name if broken else None,
    )


def _broken(broken: tuple[ArgumentRule, str] | None) -> Iterator[str]:
    if broken is not None:
        rule, fault = broken
        yield f"The rule {rule.name!r} of [[arguments]] does not allow these arguments: {fault}."


def _grants(gate: Gate, principal: Principal) -> Sequence[BreakGlass]:
    """Those for every call of an identity. Of a session or tenant alone nothing is known here."""
    keys = stop_keys([Acting(None, principal.name, principal.owner, principal.team)])
    return list(gate.broken.applying(keys, gate.clock.now_ns()))


def _let_through(grant: BreakGlass) -> str:
    ends = "" if grant.ends_at_ns is None else f" until {format_instant(grant.ends_at_ns)}"
    limit = f"as long as its {format_usd(grant.limit_nanos)} USD last"
    return f"It goes on all the same by {grant.id}, which breaks the glass for {grant.name}{ends}, {limit}."


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
