"""What a decision is asked about: who, what, on which model or tool, and all that is known of the call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Literal, get_origin

import msgspec
from cedarpy import Entities

from comptroller.core.budget.draw import ALL_LEFT_BP
from comptroller.core.policy.cedar import parse_entities

LARGEST_LONG = 2**63 - 1

Action = Literal["model.call", "tool.call"]


class Principal(msgspec.Struct, frozen=True, gc=False):
    """Who calls. A member of its team and of what its owner answers for; the team is in the organization."""

    name: str  # the identity's id
    kind: str
    team: str
    owner: str
    organization: str


class Resource(msgspec.Struct, frozen=True, gc=False):
    """What is called: a model, or a tool where `server` says whose."""

    name: str  # the model's, or the tool's as SERVER/TOOL
    model_class: str = ""  # "" where it has none
    server: str = ""  # of a tool
    risks: tuple[str, ...] = ()  # of a tool


class Context(msgspec.Struct, frozen=True, gc=False):
    """What is known of the call: the fields of `Call` and of `ToolCall` in schema.cedarschema, with their types."""

    environment: str
    risk_tier: str
    data_classes: tuple[str, ...]
    model_class: str = ""
    provider: str = ""
    estimate_nanos: int = 0
    input_tokens: int = 0
    output_limit: int = 0
    session_age_s: int = 0
    budget_left_bp: int = ALL_LEFT_BP
    task_type: str = ""
    profile: str = ""
    depth: int = 0
    calls: int = 0
    tools_used: tuple[str, ...] = ()
    spend_velocity_nanos: int = 0
    server: str = ""
    risks: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()  # classes of them (core/tool/classes.py)


class PolicyRequest(msgspec.Struct, frozen=True, gc=False):
    """One question to the policies."""

    principal: Principal
    resource: Resource
    context: Context
    action: Action = "model.call"


OF_MODELS = frozenset({"model_class", "provider", "input_tokens", "output_limit"})
OF_TOOLS = frozenset({"server", "risks", "arguments"})
"""What only the calls of one kind know; the rest is in the context of both."""

STEADY = frozenset(
    {"environment", "risk_tier", "data_classes", "model_class", "server", "risks", "task_type", "profile", "depth"}
)
"""What is the same for every call that a session makes of one model or tool."""

_FIELDS = msgspec.structs.fields(Context)
LONGS = frozenset(field.name for field in _FIELDS if field.type is int)
_NAMES: Mapping[Action, tuple[str, ...]] = {
    "model.call": tuple(field.name for field in _FIELDS if field.name not in OF_TOOLS),
    "tool.call": tuple(field.name for field in _FIELDS if field.name not in OF_MODELS),
}
_longs = attrgetter(*sorted(LONGS))
_TYPES = tuple(get_origin(field.type) or field.type for field in _FIELDS)


def is_well_typed(context: Context) -> bool:
    """Whether every value is one of the type that the schema says. A cache must not know less than Cedar does."""
    values = msgspec.structs.astuple(context)
    if tuple(map(type, values)) != _TYPES:
        return False
    longs = _longs(context)
    if max(longs) > LARGEST_LONG or min(longs) < -LARGEST_LONG:
        return False
    texts = (*context.data_classes, *context.tools_used, *context.risks, *context.arguments)
    return all(type(each) is str for each in texts)


def long(number: int) -> int:
    """The number, or the nearest that Cedar can hold."""
    return max(-LARGEST_LONG, min(LARGEST_LONG, number))


def cedar_request(request: PolicyRequest) -> dict[str, object]:
    """The question in Cedar's terms. Names stand in fields of their own: nothing in them is ever read as syntax."""
    return {
        "principal": {"type": "Identity", "id": request.principal.name},
        "action": {"type": "Action", "id": request.action},
        "resource": _uid("Tool" if request.resource.server else "Model", request.resource.name),
        "context": msgspec.json.encode(_context(request)).decode(),
    }


def _context(request: PolicyRequest) -> dict[str, object]:
    """What the schema has in the context of this action."""
    names = _NAMES[request.action]
    return {name: getattr(request.context, name) for name in names}


def entities(principal: Principal, resource: Resource) -> Entities:
    """Who and what, with all that they belong to."""
    found = [
        _entity(
            _uid("Identity", principal.name),
            {"name": principal.name, "kind": principal.kind},
            [_uid("Team", principal.team), _uid("Owner", principal.owner)],
        ),
        _entity(_uid("Team", principal.team), {}, [_uid("Organization", principal.organization)]),
        _entity(_uid("Owner", principal.owner)),
        _entity(_uid("Organization", principal.organization)),
        *(_tool(resource) if resource.server else _model(resource)),
    ]
    return parse_entities(msgspec.json.encode(found).decode())


def _model(resource: Resource) -> Iterator[dict[str, object]]:
    model_class = [_uid("ModelClass", resource.model_class)] if resource.model_class else []
    yield _entity(_uid("Model", resource.name), {"name": resource.name}, model_class)
    yield from map(_entity, model_class)


def _tool(resource: Resource) -> Iterator[dict[str, object]]:
    above = [_uid("Server", resource.server), *(_uid("RiskClass", risk) for risk in resource.risks)]
    yield _entity(_uid("Tool", resource.name), {"name": resource.name, "server": resource.server}, above)
    yield from map(_entity, above)


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def _entity(
    uid: dict[str, str], attributes: dict[str, str] | None = None, parents: list[dict[str, str]] | None = None
) -> dict[str, object]:
    return {"uid": uid, "attrs": attributes or {}, "parents": parents or []}
