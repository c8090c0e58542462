"""Serve: one HTTP request of an MCP client, in either era of the protocol (docs/mcp.md).

What gives content or does something is a call, and takes the way of every call. The rest costs nothing: it passes on
to the server for whoever may act at all, and what it lists is only what the same caller could call.
"""

from __future__ import annotations

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.core.tool.canonical import canonical_arguments
from comptroller.core.tool.classes import classes_of
from comptroller.flow.answer import refuse
from comptroller.flow.call import carry
from comptroller.flow.called import cause_of
from comptroller.flow.caller import Caller
from comptroller.flow.decide import standing
from comptroller.flow.door import CallerRequest, Reply
from comptroller.flow.gate import Gate
from comptroller.flow.identify import identify
from comptroller.flow.incoming import IncomingCall, beside
from comptroller.flow.mcp.elicit import elicited
from comptroller.flow.mcp.quote import quoted
from comptroller.flow.mcp.relay import relay
from comptroller.flow.record import record_refusal
from comptroller.flow.tool_scope import SERVER_PREFIX, tool_entry
from comptroller.wire.mcp.dialect import McpCall
from comptroller.wire.mcp.headers import foreign_origin
from comptroller.wire.mcp.message import Message, read_message
from comptroller.wire.mcp.request import McpRequest, read_request
from comptroller.wire.mcp.rpc import INVALID_REQUEST, Fault

SESSION_HEADER = b"mcp-session-id"
_FOREIGN = Fault(INVALID_REQUEST, "Pages of other sites may not ask (Origin).", 403).body()
_LOST = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found: initialize anew."}}'


async def serve_mcp(gate: Gate, server: str, call_id: str, request: CallerRequest, reply: Reply) -> None:
    """Take one request to its end."""
    dialect = McpCall(server, None, request.headers)
    if foreign_origin(request.headers):
        return await _say(reply, 403, _FOREIGN)
    caller = identify(gate, request.credentials)
    if isinstance(caller, Refusal):
        gate.observer.refused(request, dialect.name, call_id, caller, None)
        return await refuse(dialect, reply, call_id, caller)
    refused = standing(gate, caller) or _unknown(gate, server)
    if refused is not None:
        return await _refuse(gate, dialect, request, reply, call_id, caller, refused)
    if not _is_own_session(gate, server, caller, request):
        return await _say(reply, 404, _LOST)
    if request.method != "POST":
        return await relay(gate, dialect, caller, request, reply, call_id, b"")
    return await _serve_message(gate, server, call_id, caller, request, reply)


async def _serve_message(
    gate: Gate, server: str, call_id: str, caller: Caller, request: CallerRequest, reply: Reply
) -> None:
    body = await request.body()
    if isinstance(body, Refusal):
        nothing = McpCall(server, None, request.headers)
        return await _refuse(gate, nothing, request, reply, call_id, caller, body)
    message = await beside(body, read_message, body, request.headers)
    if isinstance(message, Fault):
        return await _say(reply, message.status, message.body())
    named = gate.providers[SERVER_PREFIX + server].origin.allow_private
    dialect = McpCall(server, message, request.headers, loopback=named)
    if not message.governed:
        return await relay(gate, dialect, caller, request, reply, call_id, body)
    read = await beside(body, _read, gate, dialect)
    call = _call(gate, dialect, message, request, call_id, caller, body, read)
    call = call if isinstance(call, Refusal) else await _priced(gate, call)
    if isinstance(call, Refusal):
        return await _refuse(gate, dialect, request, reply, call_id, caller, call, body)
    return await carry(gate, call, reply)


async def _priced(gate: Gate, call: IncomingCall) -> IncomingCall | Refusal:
    """The call with what the owner of its tool's server says that it costs, where somebody is asked."""
    use = call.asked.tool
    priced = use if use is None else await quoted(gate, call.id, call.caller, use)
    if isinstance(priced, Refusal):
        return priced
    return (
        call if priced is use else msgspec.structs.replace(call, asked=msgspec.structs.replace(call.asked, tool=priced))
    )


def _read(gate: Gate, dialect: McpCall) -> McpRequest:
    """What the message asks for, with the digest of its arguments."""
    read = dialect.read_request()
    use = read.asked.tool
    if use is None:
        raise ValueError("it is no call")
    use = msgspec.structs.replace(use, arguments_digest=gate.credentials.digest(canonical_arguments(use.arguments)))
    return msgspec.structs.replace(read, asked=msgspec.structs.replace(read.asked, tool=use))


def _call(
    gate: Gate,
    dialect: McpCall,
    message: Message,
    request: CallerRequest,
    call_id: str,
    caller: Caller,
    body: bytes,
    read: McpRequest,
) -> IncomingCall | Refusal:
    """The call that a message is, with what the registry says of its tool."""
    use = read.asked.tool
    if use is None:
        raise ValueError(f"{message.method} is no call")
    entry = tool_entry(caller, use.name)
    if isinstance(entry, Refusal):
        return entry
    use = msgspec.structs.replace(
        use,
        cause=cause_of(gate, caller, use.name, use.arguments_digest),
        risks=entry.risks,
        classes=classes_of(use.arguments),
        result_bytes=entry.result_bytes,
        on_large=entry.on_large,
        unit=entry.unit,
    )
    asked = msgspec.structs.replace(read.asked, tool=use)
    read = msgspec.structs.replace(read, asked=asked)
    return elicited(gate, IncomingCall(call_id, dialect, request, caller, read, body, asked), dialect, message)


async def _refuse(
    gate: Gate,
    dialect: McpCall,
    request: CallerRequest,
    reply: Reply,
    call_id: str,
    caller: Caller,
    refusal: Refusal,
    body: bytes = b"",
) -> None:
    asked = None if dialect.message is None else read_request(dialect.server, dialect.message).asked
    record_refusal(gate, request, dialect, call_id, caller, refusal, body=body, asked=asked)
    await refuse(dialect, reply, call_id, refusal)


def _unknown(gate: Gate, server: str) -> Refusal | None:
    if SERVER_PREFIX + server in gate.providers:
        return None
    return Refusal(
        code="server_unknown",
        sentence=f"No MCP server {server[:64]!r} is set up on this gateway.",
        hint="Check the address: http://HOST:8787/mcp/SERVER. Servers stand under [servers] in comptroller.toml.",
    )


def _is_own_session(gate: Gate, server: str, caller: Caller, request: CallerRequest) -> bool:
    """Whether the MCP session that a request goes on with, if it does, was given to this caller."""
    said = [value for name, value in request.headers if name == SESSION_HEADER]
    if not said:
        return True
    mcp_session = said[0].decode("latin-1")
    return len(said) == 1 and gate.mcp_sessions.find(mcp_session, server, caller.session.id) is not None


async def _say(reply: Reply, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await reply.respond(status, headers, body)
