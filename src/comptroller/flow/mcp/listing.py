"""Listing: what a server lists, as far as the caller could call it. What is listed is held against the pins first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comptroller.core.refusal import Refusal
from comptroller.core.tool.pin import PinMode
from comptroller.flow.caller import Caller
from comptroller.flow.gate import Gate
from comptroller.flow.tools import why_hidden
from comptroller.wire.mcp import lists
from comptroller.wire.mcp.message import Message

_PSEUDO: Mapping[str, str] = {
    "prompts/list": "@prompts/get",
    "resources/list": "@resources/read",
    "resources/templates/list": "@resources/read",
}
"""What a list is of, as it would be called."""
LISTS = frozenset({"tools/list", *_PSEUDO})


def list_for(gate: Gate, server: str, message: Message, caller: Caller, body: bytes) -> bytes | Refusal:
    """A list with what the caller could call of it; or why that is nothing. Raises lists.Malformed."""
    pseudo = _PSEUDO.get(message.method)
    if pseudo is not None:
        hidden = why_hidden(gate, caller, f"{server}/{pseudo}")
        return body if hidden is None else lists.rewritten(body, lambda _: _reason(hidden))
    definitions = lists.definitions(body)
    noes = dict(_held_back(gate, server, definitions))
    for each in definitions:
        why = why_hidden(gate, caller, f"{server}/{each.name}")
        if why is not None:
            noes[each.name] = why
    if definitions and len(noes) == len({each.name for each in definitions}):
        return _nothing(server, caller, noes)
    return lists.filtered(body, {name: _reason(why) for name, why in noes.items()})


def _held_back(gate: Gate, server: str, definitions: Sequence[lists.ToolDefinition]) -> Mapping[str, Refusal]:
    """What the pins hold back of a list, for everybody."""

    def mode_of(tool: str) -> PinMode | None:
        entry = gate.registry.tool(f"{server}/{tool}")
        return None if entry is None else entry.pins

    return gate.pins.seen(server, definitions, mode_of, gate.clock.now_ns()).hidden


def _nothing(server: str, caller: Caller, noes: Mapping[str, Refusal]) -> Refusal:
    first = next(iter(noes.values()))
    return Refusal(
        code=first.code,
        sentence=f"{caller.identity.id} may call none of the {len(noes)} tools of the server {server}"
        f"{', of one because' if len(noes) > 1 else ''}: {first.sentence}",
        hint=first.hint,
    )


def _reason(refusal: Refusal) -> str:
    return f"{refusal.code}: {refusal.sentence}"
