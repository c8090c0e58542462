"""Relay: a message that costs nothing passes on to its server, and what comes back to its caller.

Nothing is held and nothing is journalled. Whoever is stopped loses what still flows; lists show what may be called.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.core.tool.entry import RESULT_BYTES
from comptroller.core.work.tool_use import ToolUse
from comptroller.flow.answer import passed_headers, refuse
from comptroller.flow.caller import Caller
from comptroller.flow.door import CallerRequest, Reply
from comptroller.flow.forward import credential_for, passed_request_headers
from comptroller.flow.gate import Gate, Provider
from comptroller.flow.live import Line, LiveCall
from comptroller.flow.mcp.listing import LISTS, list_for
from comptroller.flow.mcp.sessions import Bound
from comptroller.flow.tool_scope import SERVER_PREFIX, server_for
from comptroller.flow.upstream import Exchange, Timeouts, UpstreamFailure, UpstreamRequest
from comptroller.wire.mcp import lists
from comptroller.wire.mcp.dialect import McpCall
from comptroller.wire.mcp.message import Message
from comptroller.wire.mcp.request import McpRequest, read_request
from comptroller.wire.mcp.stream import RpcMeter

_SESSION = b"mcp-session-id"
_OF_TASKS = frozenset({"tasks/get", "tasks/result"})
_LIST_BYTES = 4 * 1024 * 1024  # of one page: it is read on the event loop, and no model has room for more
_NONE = Message("notification")  # what a stream answers that nobody asked anything for


async def relay(
    gate: Gate, dialect: McpCall, caller: Caller, request: CallerRequest, reply: Reply, call_id: str, body: bytes
) -> None:
    """Pass one message on, or a stream of what the server says by itself (GET), or the end of a session (DELETE)."""
    provider = server_for(gate, caller, dialect.server)
    if isinstance(provider, Refusal):
        return await refuse(dialect, reply, call_id, provider)
    line = Line()
    live = LiveCall(
        call_id, call_id, caller.identity.id, caller.session.id, caller.facts(provider.name, "", None), line,
        stop_keys=caller.stop_keys, stream=True,
    )  # fmt: skip
    exchange = gate.upstream.open(
        _request(gate, dialect, caller, provider, request, body),
        buffer_limit_bytes=gate.limits.stream_buffer_bytes,
        on_overflow=lambda: line.cut("client_slow"),
    )
    gate.live.add_relay(live)
    request.watch(lambda: line.cut("client_gone"))
    try:
        with line:
            await _exchange(gate, dialect, caller, request, reply, call_id, exchange, provider)
            return None
        await _cut(dialect, reply, call_id, line)
    except UpstreamFailure as failure:
        if reply.started and _lasts(dialect):
            await reply.finish()  # it has lasted as long as one may, or its server is gone: whoever listens asks anew
            return None
        gate.warn("relay_failed", {"comptroller.call.id": call_id, "message": f"{provider.name}: {failure.kind}"})
        await refuse(dialect, reply, call_id, _failed(provider.name, failure))
    finally:
        request.unwatch()
        gate.live.remove_relay(live)
        if line.reason is None:
            exchange.let_go()
        else:
            exchange.abort()
    return None


async def _exchange(
    gate: Gate,
    dialect: McpCall,
    caller: Caller,
    request: CallerRequest,
    reply: Reply,
    call_id: str,
    exchange: Exchange,
    provider: Provider,
) -> None:
    await exchange.start()
    mask = provider.mask
    headers = [*passed_headers(dialect, exchange, mask.plain), (b"x-comptroller-call-id", call_id.encode())]
    _note_session(gate, dialect, caller, request, exchange)
    kind = dict(exchange.headers).get(b"content-type", b"").strip().lower()
    message, answers = dialect.message, 200 <= exchange.status < 300
    if message is not None and message.method in LISTS and answers:
        body = await exchange.read(min(_LIST_BYTES, gate.limits.answer_bytes))
        try:
            listed = list_for(gate, dialect.server, message, caller, body)
        except lists.Malformed:
            listed = _malformed(provider.name)
        if isinstance(listed, Refusal):
            return await refuse(dialect, reply, call_id, listed)
        return await _whole(reply, exchange.status, headers, mask.plain(listed))
    asked = _asked(dialect, caller)
    if kind.startswith(b"text/event-stream") and answers:
        return await _stream(asked, reply, headers, exchange, mask.stream().feed)
    if exchange.status in {401, 403}:
        return await refuse(dialect, reply, call_id, _own_credential(provider.name, exchange.status))
    if not (answers or 400 <= exchange.status < 600):
        return await refuse(dialect, reply, call_id, _meaningless(provider.name, exchange.status))
    body = await exchange.read(gate.limits.answer_bytes)
    if not answers:
        body = dialect.error_passed(body)
    elif asked.asked.tool is not None:
        answer = dialect.read_answer(asked, body)
        if answer.malformed:
            return await refuse(dialect, reply, call_id, _malformed(provider.name))
        body = body if answer.passed is None else answer.passed
    return await _whole(reply, exchange.status, headers, mask.thorough(body))


def _asked(dialect: McpCall, caller: Caller) -> McpRequest:
    """What is asked for. What a task gives is the result of a tool, and no larger than one of its server may be."""
    message = dialect.message or _NONE
    read = read_request(dialect.server, message, loopback=dialect.loopback)
    if message.method not in _OF_TASKS:
        return read
    entries = caller.registry.tools.items()
    most = [entry.result_bytes for name, entry in entries if fnmatchcase(dialect.server, name.partition("/")[0])]
    name = f"{dialect.server}/{message.method}"
    use = ToolUse(dialect.server, name, b"{}", result_bytes=max(most, default=RESULT_BYTES), on_large="refuse")
    return msgspec.structs.replace(read, asked=msgspec.structs.replace(read.asked, tool=use))


async def _stream(
    asked: McpRequest,
    reply: Reply,
    headers: list[tuple[bytes, bytes]],
    exchange: Exchange,
    masked: Callable[[bytes], bytes],
) -> None:
    meter = RpcMeter(asked)
    exchange.tap(lambda chunk: masked(meter.feed(chunk)))
    await reply.start(200, headers)
    async for passed in exchange.chunks():
        if passed:
            await reply.send(passed)
        if meter.over:
            break
    await reply.finish(masked(meter.finish()))


def _note_session(gate: Gate, dialect: McpCall, caller: Caller, request: CallerRequest, exchange: Exchange) -> None:
    """The id that a server gives to a session is the caller's from now on, and nobody's when it is ended."""
    given = next((value for name, value in exchange.headers if name == _SESSION), None)
    if given is not None and dialect.message is not None and dialect.message.method == "initialize":
        bound = Bound(dialect.server, caller.session.id, dialect.message.elicits)
        gate.mcp_sessions.bind(given.decode("latin-1"), bound)
    ended = exchange.status == 404 or (request.method == "DELETE" and exchange.status < 300)
    if ended:
        for name, value in request.headers:
            if name == _SESSION:
                gate.mcp_sessions.end(value.decode("latin-1"))


def _request(
    gate: Gate, dialect: McpCall, caller: Caller, provider: Provider, request: CallerRequest, body: bytes
) -> UpstreamRequest:
    headers = passed_request_headers(dialect, request)
    if body:
        headers.append((b"content-type", b"application/json"))
    headers.append((b"accept-encoding", b"identity"))
    credential = credential_for(gate, caller, provider, dialect.family)
    if credential is not None:
        headers.append(credential)
    path = provider.path(dialect.family, "", "")
    timeouts = timeouts_for(dialect, provider.timeouts)
    return UpstreamRequest(provider.origin, path, headers, body, timeouts, request.method)


def timeouts_for(dialect: McpCall, timeouts: Timeouts) -> Timeouts:
    """How long the answer to a message may take: silence is no fault of a stream that lasts."""
    return msgspec.structs.replace(timeouts, idle_s=timeouts.total_s) if _lasts(dialect) else timeouts


def _lasts(dialect: McpCall) -> bool:
    """Its answer is a stream of what the server says by itself, which may be nothing for long."""
    return dialect.message is None or dialect.message.method == "subscriptions/listen"


async def _cut(dialect: McpCall, reply: Reply, call_id: str, line: Line) -> None:
    if line.reason in {"client_gone", "client_slow"}:
        reply.drop()
    elif line.said is not None and not reply.started:
        await refuse(dialect, reply, call_id, line.said)
    elif reply.started:
        await reply.finish()
    else:
        await refuse(dialect, reply, call_id, _draining())


async def _whole(reply: Reply, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await reply.respond(status, [*headers, (b"content-length", str(len(body)).encode())], body)


def _failed(name: str, failure: UpstreamFailure) -> Refusal:
    late = failure.kind.endswith("_timeout")
    return Refusal(
        code="upstream_timeout" if late else "upstream_failed",
        sentence=f"The server {name.removeprefix(SERVER_PREFIX)} "
        f"{'did not answer in time' if late else 'could not be reached or broke off'}.",
        hint="Nothing was charged. Send it again in a moment.",
    )


def _malformed(name: str) -> Refusal:
    return Refusal(
        code="upstream_failed",
        sentence=f"The server {name.removeprefix(SERVER_PREFIX)} sent a list that is none.",
        hint="Nothing was charged. Ask whoever runs the server.",
    )


def _meaningless(name: str, status: int) -> Refusal:
    return Refusal(
        code="upstream_failed",
        sentence=f"The server {name.removeprefix(SERVER_PREFIX)} answered with HTTP {status}, which is no answer here.",
        hint="Nothing was charged. Ask whoever runs the gateway to check the server's url.",
    )


def _own_credential(name: str, status: int) -> Refusal:
    return Refusal(
        code="provider_credential_rejected",
        sentence=f"The server {name.removeprefix(SERVER_PREFIX)} refused the gateway's own credential (HTTP {status}).",
        hint="Ask whoever runs the gateway to check its credential under [servers] in comptroller.toml.",
    )


def _draining() -> Refusal:
    return Refusal(
        code="draining",
        sentence="The gateway shut down before this was answered.",
        hint="Send it again in a few seconds.",
        retry_after_s=5,
    )
