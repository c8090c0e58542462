"""Tools: which of them a caller may use, and whose they are. A list shows what could be called by the same rules.

A tool is named `SERVER/TOOL`, and an MCP server stands among the providers as `mcp/SERVER`.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from comptroller.core.budget.bounds import Bound
from comptroller.core.budget.scope import Facts
from comptroller.core.policy.request import Context, Resource
from comptroller.core.refusal import Refusal
from comptroller.core.registry.registry import Model
from comptroller.core.tool.arguments import check_arguments
from comptroller.core.tool.entry import ToolEntry
from comptroller.core.work.stop import refusal_of
from comptroller.core.work.tool_use import ToolUse
from comptroller.flow.caller import Caller
from comptroller.flow.decide import NO_OUTPUT, NOBODY, Decision, provider_for
from comptroller.flow.gate import Gate, Provider

MCP = "mcp"
SERVER_PREFIX = "mcp/"
"""Of the names of servers among providers: no provider of models can be called so."""
_LONGEST_TOOL = 128


def decide_tool(gate: Gate, caller: Caller, tool: str, besides: AbstractSet[str] = NOBODY) -> Decision | Refusal:
    """The entry of a tool, as `SERVER/TOOL`, and its server."""
    entry = tool_entry(caller, tool)
    if isinstance(entry, Refusal):
        return entry
    stop = gate.stops.applies_to_model(tool)
    if stop is not None:
        return refusal_of(stop)
    server, _, name = tool.partition("/")
    changed = gate.pins.refusal(server, name)
    if changed is not None:
        return changed
    provider = server_for(gate, caller, server, besides, tool)
    if isinstance(provider, Refusal):
        return provider
    key = (provider.name, tool, MCP)
    stands_for = Model(tool, (provider.name,), NO_OUTPUT)
    return Decision(tool, stands_for, provider, gate.bounds.get(key) or Bound(*key))


def tool_entry(caller: Caller, tool: str) -> ToolEntry | Refusal:
    """What the registry says of a tool that this caller may use as far as its credential goes."""
    entry = caller.registry.tool(tool)
    if entry is None:
        return Refusal(
            code="tool_unknown",
            sentence=f"No entry of the registry has the tool {tool[:_LONGEST_TOOL]!r}.",
            hint="Check its name, or ask whoever runs the gateway to add it under [tools] in registry.toml.",
            param="name",
        )
    if caller.tools and not caller.may_use_tool(tool):
        return Refusal(
            code="tool_forbidden",
            sentence=f"The session {caller.claims.session} may not use the tool {tool!r}.",
            hint=f"It may use {' and '.join(', '.join(patterns) or 'none' for patterns in caller.tools)}.",
            param="name",
        )
    return entry


def forbidden_arguments(caller: Caller, tool: ToolUse) -> Refusal | None:
    """Why the rules for arguments do not allow those of this call; None if they do."""
    rules = caller.registry.arguments
    return check_arguments(rules, Facts(caller.chain, {}), tool.name, tool.arguments) if rules else None


def server_for(
    gate: Gate, caller: Caller, server: str, besides: AbstractSet[str] = NOBODY, tool: str | None = None
) -> Provider | Refusal:
    """The MCP server of this name, if it is not stopped and may be used in the caller's environment."""
    name = SERVER_PREFIX + server
    return provider_for(gate, MCP, caller, Model(name, (name,), NO_OUTPUT), besides, tool)


def why_hidden(gate: Gate, caller: Caller, tool: str) -> Refusal | None:
    """Why no call of this caller to this tool can be let through, whatever it says; None: some may be."""
    entry = tool_entry(caller, tool)
    if isinstance(entry, Refusal):
        return entry
    stop = gate.stops.applies_to_model(tool)
    if stop is not None:
        return refusal_of(stop)
    resource = resource_of(tool, entry.risks)
    if caller.registry.policies.may_ever(caller.principal, resource, standing_context(caller, entry.risks, tool)):
        return None
    return Refusal(
        code="no_permit",
        sentence=f"No policy permits {caller.identity.id} to call the tool {tool!r}.",
        hint=f"Ask whoever writes the policies; `comptroller policy explain {caller.identity.id} {tool}` says more.",
    )


def standing_context(caller: Caller, risks: tuple[str, ...], tool: str) -> Context:
    """What is the same for every call of a tool in a session."""
    identity, session = caller.identity, caller.session
    return Context(
        environment=identity.environment,
        risk_tier=identity.risk_tier,
        data_classes=identity.data_classes,
        task_type=session.task_type or "",
        profile=session.profile or "",
        depth=session.depth,
        server=tool.partition("/")[0],
        risks=risks,
    )


def resource_of(tool: str, risks: tuple[str, ...]) -> Resource:
    """What policies see of a tool."""
    return Resource(tool, server=tool.partition("/")[0], risks=risks)
