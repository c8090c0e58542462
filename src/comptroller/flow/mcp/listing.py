"""Listing: what a server lists, as far as the caller could call it. What is listed is held against the pins first."""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.core.refusal import Refusal
from comptroller.flow.caller import Caller
from comptroller.flow.gate import Gate
from comptroller.flow.mcp.sight import sight
from comptroller.flow.tool_scope import why_hidden
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
        return lists.rewritten(body, lambda _: None if hidden is None else _reason(hidden))
    definitions = lists.definitions(body)
    continued, more = lists.pages(message, body)
    noes = dict(sight(gate, server, definitions, continued=continued, more=more))
    for each in definitions:
        why = why_hidden(gate, caller, f"{server}/{each.name}")
        if why is not None:
            noes[each.name] = why
    whole = not (continued or more)  # of a page nobody knows whether the next one has something
    if whole and definitions and len(noes) == len({each.name for each in definitions}):
        return _nothing(server, caller, noes)
    return lists.filtered(body, {name: _reason(why) for name, why in noes.items()})


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
