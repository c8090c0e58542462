"""The streamable HTTP face of the sandbox's MCP servers: `/mcp/SERVER`, both eras."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from sys import intern

import msgspec

from comptroller.sandbox.bill import fingerprint
from comptroller.sandbox.config import SandboxConfig
from comptroller.sandbox.errors import ClientGone
from comptroller.sandbox.mcp.bill import Came, ToolBill, ToolLine, claims_of
from comptroller.sandbox.mcp.faults import McpFault, McpPlan, spoil
from comptroller.sandbox.mcp.offer import Json
from comptroller.sandbox.mcp.story import (
    CAPABILITIES_KEY,
    HEADERS_DIFFER,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LEGACY,
    MODERN,
    PARSE_ERROR,
    UNKNOWN_VERSION,
    VERSION_KEY,
    Asking,
    RpcError,
    answer,
    initialize_result,
    mapping,
)
from comptroller.sandbox.reception import NOT_HTTP
from comptroller.sandbox.wire import Exchange, Headers

_EVENT_STREAM = b"text/event-stream"
_STREAM_HEADERS: Headers = ((b"content-type", _EVENT_STREAM), (b"cache-control", b"no-cache"))
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_BEARER = "Bearer "
_FLOOD = 2_000
_REFUSED = {"unauthorized": 401, "rate_limited": 429, "server_error": 500, "session_lost": 404}


@dataclass(slots=True)
class Session:
    """One session of the older era."""

    server: str
    elicits: bool
    waiting: dict[str, asyncio.Future[Mapping[str, object]]] = field(
        default_factory=dict[str, "asyncio.Future[Mapping[str, object]]"]
    )
    """Our own requests that the client has not answered yet."""


class McpFace:
    """Answers what comes to `/mcp/SERVER`; a server is there as soon as somebody names it."""

    def __init__(self, config: SandboxConfig) -> None:
        self.bill = ToolBill(config.bill_lines)
        self.plans: dict[str, McpPlan] = {}
        self.sessions: dict[str, Session] = {}
        self._config = config

    async def serve(self, exchange: Exchange) -> None:
        """Answer one HTTP request."""
        server = exchange.path.removeprefix("/mcp").strip("/") or "sandbox"
        bearer = exchange.headers.get(b"authorization", b"").decode("latin-1").removeprefix(_BEARER)
        claims = claims_of(bearer)
        if bearer and claims is None and not self._config.accepts(bearer):
            return await _refuse(exchange, RpcError(INVALID_REQUEST, "Incorrect API key provided.", status=401))
        session = exchange.headers.get(b"mcp-session-id", b"").decode("latin-1") or None
        came = Came(
            intern(server),
            time.time(),
            fingerprint(bearer) if bearer and claims is None else None,
            claims,
            tuple(sorted(name.decode("latin-1") for name in exchange.headers)),
            session,
        )
        try:
            match exchange.method:
                case "POST":
                    return await self._post(exchange, came)
                case "GET":
                    return await self._listen(exchange, came)
                case "DELETE":
                    self._session(came)
                    self.sessions.pop(session or "", None)
                    return await exchange.respond(200, b"")
                case _:
                    raise RpcError(INVALID_REQUEST, "Use POST, GET or DELETE", status=405)
        except RpcError as error:
            return await _refuse(exchange, error)

    def _session(self, came: Came) -> Session:
        """The session that a request names. Raises RpcError (400 or 404)."""
        if came.session is None:
            raise RpcError(INVALID_REQUEST, "Missing session ID", status=400)
        session = self.sessions.get(came.session)
        if session is None or session.server != came.server:
            raise RpcError(INVALID_REQUEST, "Session not found", status=404)
        return session

    async def _listen(self, exchange: Exchange, came: Came) -> None:
        """The standing stream of the older era, on which we never say anything."""
        self._session(came)
        await exchange.start(200, _STREAM_HEADERS)
        await exchange.write(b": listening\n\n")
        await exchange.link.wait_closed()

    async def _post(self, exchange: Exchange, came: Came) -> None:
        message = _parse(await exchange.read_body(self._config.max_body_bytes))
        method = message.get("method")
        if isinstance(method, str) and message.get("id") is not None:
            return await self._request(exchange, came, method, message)
        if not isinstance(method, str):
            waiter = self._session(came).waiting.pop(str(message.get("id")), None)
            if waiter is not None and not waiter.done():
                waiter.set_result(mapping(message.get("result")))
        return await exchange.respond(202, b"")

    async def _request(self, exchange: Exchange, came: Came, method: str, message: Mapping[str, object]) -> None:
        """Answer one JSON-RPC request, whatever happens to it, with one line on the bill."""
        params = mapping(message.get("params"))
        line = self.bill.open(came)
        line.method, line.name = method, str(params.get("name") or params.get("uri") or "")
        line.arguments, line.meta = params.get("arguments"), params.get("_meta")
        plan = self.plans.get(came.server) or McpPlan()
        modern = _is_modern(exchange, method, params)
        line.era = "modern" if modern else "legacy"
        outlet = _HttpOutlet(exchange)
        reply: Json = {"jsonrpc": "2.0", "id": message.get("id")}
        headers: Headers = ()
        status = 200
        fault = plan.strikes(method, line.name)
        line.fault = None if fault is None else fault.fault
        try:
            if fault is not None and not await _survive(exchange, fault):
                return
            if method == "initialize" and plan.eras != "modern" and not modern:
                session = str(uuid.uuid4())
                self.sessions[session] = Session(came.server, _elicits(params.get("capabilities")))
                headers = ((b"mcp-session-id", session.encode()),)
                reply["result"] = initialize_result(params)
            else:
                elicits, outlet.session = self._checked(exchange, came, plan, params, modern=modern, method=method)
                asking = Asking(method, params, modern, elicits, plan, line, outlet, fault)
                if plan.stream and method == "tools/call":
                    await outlet.open()
                if fault is not None and fault.fault == "flood":
                    await _flood(outlet)
                reply["result"] = await answer(asking)
        except RpcError as error:
            status, headers = error.status, _headers(error)
            reply["error"] = error.as_json()
        except ClientGone:
            return
        finally:
            line.status = exchange.status or status
            line.state = "cut"
        await _hand_over(outlet, spoil(line.fault or "", reply), status, headers, line)

    def _checked(
        self, exchange: Exchange, came: Came, plan: McpPlan, params: Mapping[str, object], *, modern: bool, method: str
    ) -> tuple[bool, Session | None]:
        """Whether the client can elicit, and its session in the older era. Raises RpcError."""
        if not modern:
            if plan.eras == "modern":
                raise _unknown_version(str(params.get("protocolVersion") or ""))
            session = self._session(came)
            return session.elicits, session
        if plan.eras == "legacy":
            raise RpcError(INVALID_REQUEST, "Missing session ID", status=400)
        _check_headers(exchange, method, params)
        return _elicits(mapping(params.get("_meta")).get(CAPABILITIES_KEY)), None


class _HttpOutlet:
    """A POST's answer: JSON, or an event stream as soon as something precedes it."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.session: Session | None = None
        self.streams = False

    async def open(self) -> None:
        """Begin an event stream."""
        if not self.streams:
            self.streams = True
            await self.exchange.start(200, _STREAM_HEADERS)

    async def notify(self, method: str, params: Json) -> None:
        """Send a notification ahead of the answer."""
        await self.open()
        await self.exchange.write(_event(msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params})))

    async def request(self, method: str, params: Json) -> Mapping[str, object]:
        """Ask the client; its answer comes as a POST of its own. Raises ClientGone and RpcError."""
        if self.session is None:
            raise RpcError(INVALID_REQUEST, "There is nobody to ask without a session")
        await self.open()
        number = f"sandbox-{uuid.uuid4()}"
        waiter = self.session.waiting[number] = asyncio.get_running_loop().create_future()
        asked = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        await self.exchange.write(_event(msgspec.json.encode(asked)))
        left = asyncio.ensure_future(self.exchange.link.wait_closed())
        try:
            await asyncio.wait({waiter, left}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            self.session.waiting.pop(number, None)
        if not waiter.done():
            raise ClientGone
        return waiter.result()

    async def pause(self, delay_s: float) -> None:
        """Wait. Raises ClientGone where the client left meanwhile."""
        await self.exchange.link.pause(delay_s)
        if self.exchange.link.closed:
            raise ClientGone


async def _hand_over(outlet: _HttpOutlet, body: bytes, status: int, headers: Headers, line: ToolLine) -> None:
    exchange = outlet.exchange
    if line.fault == "cut":
        length = (b"content-length", str(len(body)).encode())
        if not outlet.streams:
            await exchange.start(status, ((b"content-type", b"application/json"), length, *headers))
        await exchange.write(body[: len(body) // 2])
        await exchange.link.cut()
    elif outlet.streams:
        await exchange.write(_event(body), more=False)
    else:
        await exchange.respond(status, body, headers)
    line.state = "done" if exchange.complete else "cut"


async def _survive(exchange: Exchange, fault: McpFault) -> bool:
    """Let a fault of delivery happen; says whether there is an answer still. Raises RpcError."""
    match fault.fault:
        case "slow":
            await exchange.link.pause(fault.delay_s)
            return not exchange.link.closed
        case "hang":
            await exchange.link.wait_closed()
            return False
        case "cut_before_headers":
            await exchange.link.cut()
            return False
        case "not_http":
            exchange.link.write_raw(NOT_HTTP)
            await exchange.link.cut()
            return False
        case name if name in _REFUSED:
            raise RpcError(INVALID_REQUEST, f"{name} on demand (sandbox fault)", status=_REFUSED[name])
        case _:
            return True


async def _flood(outlet: _HttpOutlet) -> None:
    """Say a great deal before the answer."""
    for number in range(_FLOOD):
        await outlet.notify("notifications/message", {"level": "info", "data": f"flood {number} {'x' * 1_000}"})


def _event(data: bytes) -> bytes:
    return b"event: message\ndata: " + data + b"\n\n"


def _parse(body: bytes) -> Mapping[str, object]:
    """The one message of a body. Raises RpcError."""
    try:
        message = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise RpcError(PARSE_ERROR, "The body is no JSON-RPC message", status=400) from None
    if message.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, "jsonrpc must be 2.0", status=400)
    return message


def _is_modern(exchange: Exchange, method: str, params: Mapping[str, object]) -> bool:
    said = exchange.headers.get(b"mcp-protocol-version", b"").decode("latin-1")
    return VERSION_KEY in mapping(params.get("_meta")) or said == MODERN or method == "server/discover"


def _elicits(capabilities: object) -> bool:
    return isinstance(mapping(capabilities).get("elicitation"), dict)


def _unknown_version(asked: str) -> RpcError:
    return RpcError(
        UNKNOWN_VERSION, "Unsupported protocol version", status=400, data={"supported": [MODERN], "requested": asked}
    )


def _check_headers(exchange: Exchange, method: str, params: Mapping[str, object]) -> None:
    """What the modern era asks of a POST. Raises RpcError (400)."""
    meta = mapping(params.get("_meta"))
    version = meta.get(VERSION_KEY)
    if not isinstance(version, str) or not isinstance(meta.get(CAPABILITIES_KEY), dict):
        raise RpcError(INVALID_PARAMS, "_meta must name the protocol version and the client's capabilities", status=400)
    wanted = {b"mcp-protocol-version": version, b"mcp-method": method}
    if method in _NAMED:
        wanted[b"mcp-name"] = str(params.get(_NAMED[method]))
    for name, value in wanted.items():
        if exchange.headers.get(name, b"").decode("latin-1") != value:
            raise RpcError(HEADERS_DIFFER, f"{name.decode()} does not say what the body says", status=400)
    if version in LEGACY or version != MODERN:
        raise _unknown_version(version)


async def _refuse(exchange: Exchange, error: RpcError) -> None:
    body = {"jsonrpc": "2.0", "id": None, "error": error.as_json()}
    await exchange.respond(error.status, msgspec.json.encode(body), _headers(error))


def _headers(error: RpcError) -> Headers:
    return ((b"retry-after", b"1"),) if error.status == 429 else ()
