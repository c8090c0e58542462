"""Requests and policy sets for tests of policies."""

from typing import Any

from comptroller.core.policy.load import load_policies
from comptroller.core.policy.policies import Policies
from comptroller.core.policy.request import Context, PolicyRequest, Principal, Resource
from comptroller.core.policy.targets import Targets

TARGETS = Targets(
    organization="acme",
    teams=frozenset({"search", "support"}),
    owners=frozenset({"ann@acme.example"}),
    identities=frozenset({"agent/scout", "human/dana"}),
    tools=frozenset({"files/*", "search/web"}),
    risks=frozenset({"read", "write", "open_world"}),
    models={"big": "frontier", "small-1": "small", "small-2": "small", "mid-*": "standard", "free": ""},
)


def policies(text: str, targets: Targets | None = TARGETS) -> Policies:
    """The policies of one file, which must be right."""
    found = load_policies({"test.cedar": text}, targets)
    assert isinstance(found, Policies), [problem.line for problem in found]
    return found


def faults(text: str, targets: Targets | None = TARGETS) -> list[str]:
    """What is wrong with a file."""
    found = load_policies({"test.cedar": text}, targets)
    return [] if isinstance(found, Policies) else [problem.line for problem in found]


def request(
    *,
    identity: str = "agent/scout",
    kind: str = "agent",
    team: str = "search",
    owner: str = "ann@acme.example",
    model: str = "big",
    model_class: str = "frontier",
    **context: Any,
) -> PolicyRequest:
    known = {
        "environment": "production",
        "risk_tier": "low",
        "data_classes": (),
        "model_class": model_class,
        "provider": "sandbox",
    }
    return PolicyRequest(
        Principal(identity, kind, team, owner, "acme"), Resource(model, model_class), Context(**(known | context))
    )


def tool_request(tool: str = "files/write_file", risks: tuple[str, ...] = ("write",), **changes: Any) -> PolicyRequest:
    """The same caller, about a tool."""
    caller = {name: changes.pop(name) for name in ("identity", "kind", "team", "owner") if name in changes}
    server = tool.partition("/")[0]
    known: dict[str, Any] = {"environment": "production", "risk_tier": "low", "data_classes": ()}
    known |= {"server": server, "risks": risks} | changes
    context = Context(**known)
    return PolicyRequest(request(**caller).principal, Resource(tool, server=server, risks=risks), context, "tool.call")
