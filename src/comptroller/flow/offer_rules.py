"""Functions that a request offers a model, and that stand for tools which its caller may not call.

Clients that speak MCP offer the tools of their servers as functions. Whether one may be called is decided when it is;
here a model is kept from being offered what would be refused then: by the registry, that is only said (`record`), or
they are left out of the request (`strip`), or it is refused (`refuse`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from comptroller.core.effect import Effect
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.refusal import Refusal
from comptroller.core.registry.registry import Registry
from comptroller.core.tool.names import ToolNames
from comptroller.flow.caller import Caller
from comptroller.flow.fit import read_again
from comptroller.flow.gate import Gate
from comptroller.flow.incoming import IncomingCall, understood
from comptroller.flow.offered import Offering
from comptroller.flow.permit import Denied
from comptroller.flow.tool_scope import SERVER_PREFIX, why_hidden
from comptroller.flow.tool_sets import No, Noes, ToolSet
from comptroller.flow.trim import Trimmed

RULE = "offered_tools"
_GOOD_FOR_NS = 10 * NANOS_PER_SECOND  # what is stopped or listed meanwhile is seen by then
_NAMED = 3  # in one sentence


async def check_offers(gate: Gate, call: IncomingCall) -> IncomingCall | Denied:
    """The call as it goes on: with what it offers, or without some of that; or why it does not."""
    tools, caller = call.tools, call.caller
    if tools is None or gate.causes is None:  # there are no servers
        return call
    noes = _noes(gate, caller, tools)
    if not noes:
        return call
    said = f"{len(noes)} of {len(tools.names)} functions: {_named(noes)}"
    match caller.registry.organization.offered_tools:
        case "record":
            effect = Effect("warned", RULE, f"{said} ({noes[0].refusal.code})")
            return msgspec.structs.replace(call, effects=(*call.effects, effect))
        case "refuse":
            return Denied(caller, _refused(caller, tools, noes))
        case "strip":
            stripped = await _without(gate, call, noes, f"{said} left out")
            return Denied(caller, stripped) if isinstance(stripped, Refusal) else stripped


def _noes(gate: Gate, caller: Caller, tools: ToolSet) -> Sequence[No]:
    """The functions of a set that stand for tools which this caller may not call. Remembered for a while."""
    now_ns, key = gate.clock.now_ns(), (tools.digest, caller.claims.session, caller.registry.version)
    known = gate.tool_sets.noes(key)
    if known is None or known.until_ns <= now_ns:
        names = _tool_names(gate, caller.registry)
        known = Noes(tuple(_forbidden(gate, caller, tools, names)), now_ns + _GOOD_FOR_NS)
        gate.tool_sets.keep_noes(key, known)
    return known.of


def _forbidden(gate: Gate, caller: Caller, tools: ToolSet, names: ToolNames) -> Iterator[No]:
    for function in dict.fromkeys(tools.names):
        tool = names.tool(function)
        refusal = None if tool is None else why_hidden(gate, caller, tool)
        if tool is not None and refusal is not None:
            yield No(function, tool, refusal)


def _tool_names(gate: Gate, registry: Registry) -> ToolNames:
    """The tools of the servers of this gateway, as far as it knows them: by their lists, and by the registry."""
    servers = [name.removeprefix(SERVER_PREFIX) for name, each in gate.providers.items() if each.is_server]
    listed = (pin.name for pin in gate.pins.all())
    written = (name for name in registry.tools if not {"*", "?", "@"}.intersection(name))
    return ToolNames(servers, (name for name in (*listed, *written) if name.partition("/")[0] in servers))


async def _without(gate: Gate, call: IncomingCall, noes: Sequence[No], detail: str) -> IncomingCall | Refusal:
    """The call without these functions, read again as if it had come so."""
    if not isinstance(call.request, Offering):
        return call
    body = call.request.without({each.function for each in noes})
    request = await understood(call.dialect, body, call.sender.head)
    return (
        request if isinstance(request, Refusal) else await read_again(gate, call, RULE, Trimmed(body, request, detail))
    )


def _refused(caller: Caller, tools: ToolSet, noes: Sequence[No]) -> Refusal:
    first = noes[0]
    count = "a function" if len(noes) == 1 else f"{len(noes)} of its {len(tools.names)} functions"
    which = f"{_named(noes)}{', of the first because' if len(noes) > 1 else ', because'}"
    return Refusal(
        code="tool_forbidden",
        sentence=f"This request offers the model {count} that {caller.identity.id} may not call: {which}: "
        f"{first.refusal.sentence}",
        hint="Leave them out of `tools`: take the server or these tools out of the client's settings.",
        param="tools",
    )


def _named(noes: Sequence[No]) -> str:
    names = ", ".join(each.function for each in noes[:_NAMED])
    return f"{names} and {len(noes) - _NAMED} more" if len(noes) > _NAMED else names
