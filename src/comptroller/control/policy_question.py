"""A call that somebody would make, as the policies are asked about it."""

from __future__ import annotations

from typing import Literal

import msgspec

from comptroller.control.problem import invalid, not_found
from comptroller.core.budget.draw import ALL_LEFT_BP
from comptroller.core.identity.identity import Identity
from comptroller.core.money import parse_usd
from comptroller.core.policy.request import Context, PolicyRequest, Principal, Resource, long
from comptroller.core.problem import did_you_mean
from comptroller.core.registry.registry import Model
from comptroller.core.tool.classes import classes_of
from comptroller.core.tool.entry import ToolEntry
from comptroller.flow.gate import Gate


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that somebody would make. What is left out does not come near any limit."""

    identity: str
    model: str  # or a tool, SERVER/TOOL
    estimate_usd: str = "0"
    input_tokens: int = 0
    output_limit: int = 0
    session_age_s: int = 0
    budget_left_bp: int = ALL_LEFT_BP
    task_type: str = ""
    depth: int = 0
    kind: Literal["model", "tool"] | None = None  # None: a model if an entry serves it, else a tool
    profile: str = ""
    calls: int = 0
    tools_used: tuple[str, ...] = ()
    arguments: str = ""  # of a tool: JSON


def read_question(gate: Gate, question: Question) -> PolicyRequest:
    """What Cedar is asked."""
    registry = gate.registry
    identity = registry.identities.get(question.identity)
    if identity is None:
        raise not_found(
            f"There is no identity {question.identity!r}.", did_you_mean(question.identity, registry.identities)
        )
    principal = Principal(identity.id, identity.kind, identity.team, identity.owner, registry.organization.name)
    model = registry.model(question.model) if question.kind != "tool" else None
    if model is not None:
        return _about_model(gate, question, identity, principal, model)
    tool = registry.tool(question.model) if question.kind != "model" else None
    if tool is not None:
        return _about_tool(question, identity, principal, tool)
    known = [*registry.models, *registry.tools]
    raise not_found(f"No entry is for a model or a tool {question.model!r}.", did_you_mean(question.model, known))


def _about_model(
    gate: Gate, question: Question, identity: Identity, principal: Principal, model: Model
) -> PolicyRequest:
    context = msgspec.structs.replace(
        _context(question, identity),
        model_class=model.model_class or "",
        provider=_provider(gate, model, identity.environment),
        input_tokens=long(question.input_tokens),
        output_limit=long(question.output_limit),
    )
    return PolicyRequest(principal, Resource(question.model, context.model_class), context)


def _about_tool(question: Question, identity: Identity, principal: Principal, tool: ToolEntry) -> PolicyRequest:
    server = question.model.partition("/")[0]
    context = msgspec.structs.replace(
        _context(question, identity),
        server=server,
        risks=tool.risks,
        arguments=classes_of(question.arguments.encode()) if question.arguments else (),
    )
    resource = Resource(question.model, server=server, risks=tool.risks)
    return PolicyRequest(principal, resource, context, "tool.call")


def _context(question: Question, identity: Identity) -> Context:
    """What is known of a call of either kind."""
    try:
        estimate_nanos = parse_usd(question.estimate_usd)
    except ValueError as error:
        raise invalid(f"estimate_usd: {error}.") from error
    sizes = (estimate_nanos, question.input_tokens, question.output_limit, question.session_age_s)
    if min(*sizes, question.depth, question.calls) < 0 or not 0 <= question.budget_left_bp <= ALL_LEFT_BP:
        raise invalid(f"A number is below zero, or budget_left_bp is above {ALL_LEFT_BP}.")
    return Context(
        environment=identity.environment,
        risk_tier=identity.risk_tier,
        data_classes=identity.data_classes,
        estimate_nanos=long(estimate_nanos),
        session_age_s=long(question.session_age_s),
        budget_left_bp=question.budget_left_bp,
        task_type=question.task_type,
        profile=question.profile,
        depth=long(question.depth),
        calls=long(question.calls),
        tools_used=question.tools_used,
    )


def _provider(gate: Gate, model: Model, environment: str) -> str:
    """The first provider with a key for this environment; whether it speaks the caller's dialect is not asked."""
    for name in model.providers:
        provider = gate.providers.get(name)
        if provider is not None and (provider.environments is None or environment in provider.environments):
            return name
    return model.providers[0]
