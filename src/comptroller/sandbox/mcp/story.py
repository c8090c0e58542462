"""What an MCP server answers, in both eras, whatever carries its messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol, cast

import msgspec

from comptroller.sandbox.mcp.bill import ToolLine
from comptroller.sandbox.mcp.faults import McpFault, McpPlan, offered
from comptroller.sandbox.mcp.offer import Ask, BadArguments, Done, Json, Slow, Tool, read_arguments, text_of

MODERN = "2026-07-28"
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26")
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"

PARSE_ERROR, INVALID_REQUEST, UNKNOWN_METHOD, INVALID_PARAMS, INTERNAL = -32700, -32600, -32601, -32602, -32603
HEADERS_DIFFER, UNKNOWN_VERSION = -32020, -32022

_SERVER_INFO: Json = {"name": "comptroller-sandbox", "version": "1"}
_CAPABILITIES: Json = {"tools": {}, "resources": {}, "prompts": {}, "completions": {}}
_NOTE = "sandbox://notes/welcome"
_PICTURE = "sandbox://picture"
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
_NAMES = ("ada", "grace", "hedy")
_QUESTION: Json = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


class RpcError(Exception):
    """Raised where a request is answered with a JSON-RPC error; `status` is that of HTTP."""

    def __init__(self, code: int, message: str, *, status: int = 200, data: object = None) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.data = code, message, status, data

    def as_json(self) -> Json:
        """The error object."""
        said: Json = {"code": self.code, "message": self.message}
        return said if self.data is None else said | {"data": self.data}


class Outlet(Protocol):
    """The way back to the client while a request is answered."""

    async def notify(self, method: str, params: Json) -> None:
        """Send a notification ahead of the answer."""
        ...

    async def request(self, method: str, params: Json) -> Mapping[str, object]:
        """Ask the client something and wait for its answer (the older era alone)."""
        ...

    async def pause(self, delay_s: float) -> None:
        """Wait, or until the client leaves."""
        ...


@dataclass(frozen=True, slots=True)
class Asking:
    """One request in hand."""

    method: str
    params: Mapping[str, object]
    modern: bool
    elicits: bool
    """Whether the client can put a question to its person."""
    plan: McpPlan
    line: ToolLine
    outlet: Outlet
    fault: McpFault | None

    @property
    def name(self) -> str:
        """The tool or prompt, or the URI of a resource; "" for none."""
        return str(self.params.get("name") or self.params.get("uri") or "")


def mapping(value: object) -> Mapping[str, object]:
    """A JSON object, or an empty one in place of anything else."""
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


async def answer(asking: Asking) -> Json:
    """The result. Raises RpcError."""
    if asking.fault is not None and asking.fault.fault == "error":
        raise RpcError(INTERNAL, "an error on demand (sandbox fault)")
    result: Json
    done: Done | None = None
    if asking.method == "tools/call":
        result, done = await _call(asking)
    elif asking.method == "server/discover" and asking.modern:
        result = {"supportedVersions": [MODERN], "capabilities": _CAPABILITIES}
    else:
        result = _other(asking)
    if asking.modern:
        result = {"resultType": "complete", **result, "_meta": {"io.modelcontextprotocol/serverInfo": _SERVER_INFO}}
        if asking.method.endswith("/list") or asking.method in {"server/discover", "resources/read"}:
            result |= {"ttlMs": 0, "cacheScope": "public"}
    if done is not None:
        _bill(asking.line, done, result)
    return result


def initialize_result(params: Mapping[str, object]) -> Json:
    """The answer to `initialize`: the version that was asked for, where it is known."""
    asked = params.get("protocolVersion")
    version = asked if asked in LEGACY else LEGACY[0]
    return {"protocolVersion": version, "capabilities": _CAPABILITIES, "serverInfo": _SERVER_INFO}


def _other(asking: Asking) -> Json:
    match asking.method:
        case "tools/list":
            return {"tools": [each.definition for each in offered(asking.plan).values()]}
        case "resources/list":
            shown = [(_NOTE, "welcome", "text/plain"), (_PICTURE, "picture", "image/png")]
            return {"resources": [{"uri": uri, "name": name, "mimeType": kind} for uri, name, kind in shown]}
        case "resources/templates/list":
            return {"resourceTemplates": [{"uriTemplate": "sandbox://notes/{name}", "name": "note"}]}
        case "resources/read":
            return {"contents": [_read(asking.name, modern=asking.modern)]}
        case "prompts/list":
            arguments = [{"name": "name", "required": True}]
            return {"prompts": [{"name": "greet", "description": "Greets somebody.", "arguments": arguments}]}
        case "prompts/get":
            return _prompt(asking)
        case "completion/complete":
            start = str(mapping(asking.params.get("argument")).get("value") or "")
            values = [name for name in _NAMES if name.startswith(start)]
            return {"completion": {"values": values, "total": len(values), "hasMore": False}}
        case "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" if not asking.modern:
            return {}
        case _:
            status = 404 if asking.modern else 200
            raise RpcError(UNKNOWN_METHOD, "Method not found", status=status, data=asking.method)


def _read(uri: str, *, modern: bool) -> Json:
    if uri == _PICTURE:
        return {"uri": uri, "mimeType": "image/png", "blob": _PIXEL}
    if not uri.startswith("sandbox://notes/"):
        raise RpcError(INVALID_PARAMS if modern else -32002, "Resource not found", data={"uri": uri})
    return {"uri": uri, "mimeType": "text/plain", "text": f"The note {uri.rpartition('/')[2]}."}


def _prompt(asking: Asking) -> Json:
    if asking.name != "greet":
        raise RpcError(INVALID_PARAMS, "Unknown prompt")
    who = mapping(asking.params.get("arguments")).get("name", "you")
    return {"messages": [{"role": "user", "content": {"type": "text", "text": f"Greet {who}."}}]}


async def _call(asking: Asking) -> tuple[Json, Done | None]:
    """Run a tool: the result, and what it made; None in its place where it asks something first."""
    found = offered(asking.plan).get(asking.name)
    if found is None:
        raise RpcError(INVALID_PARAMS, f"Unknown tool: {asking.name}")
    arguments = mapping(asking.params.get("arguments"))
    fault = asking.fault
    try:
        if found.tool.name == "ask" or (fault is not None and fault.fault == "bad_elicitation"):
            asked = await _ask(asking, arguments)
            if not isinstance(asked, Done):
                return asked, None
            done = asked
        else:
            if found.tool.name == "slow":
                await _take_time(asking, read_arguments(arguments, Slow))
            done = found.tool.does(arguments)
    except BadArguments as error:
        raise RpcError(INVALID_PARAMS, f"Invalid arguments: {error}") from None
    if fault is not None and fault.fault == "huge":
        done = Done(text_of(fault.kib), charge_nanos=done.charge_nanos, units=done.units)
    return _result(asking, found.tool, done), done


def _result(asking: Asking, tool: Tool, done: Done) -> Json:
    result: Json = {"content": [{"type": "text", "text": done.text}], "isError": done.is_error}
    structured = done.structured
    if asking.fault is not None and asking.fault.fault == "structured_mismatch" and tool.output_schema is not None:
        structured = {"surprise": 1}
    return result if structured is None else result | {"structuredContent": structured}


def _bill(line: ToolLine, done: Done, result: Json) -> None:
    size = len(msgspec.json.encode(result))
    line.bill(charge_nanos=done.charge_nanos, result_bytes=size, units=done.units, is_error=done.is_error)


async def _take_time(asking: Asking, asked: Slow) -> None:
    token = mapping(asking.params.get("_meta")).get("progressToken")
    steps = max(1, min(asked.steps, 1_000))
    for step in range(steps):
        if token is not None:
            progress: Json = {"progressToken": token, "progress": step, "total": steps}
            await asking.outlet.notify("notifications/progress", progress)
        await asking.outlet.pause(asked.delay_s / steps)


async def _ask(asking: Asking, arguments: Mapping[str, object]) -> Done | Json:
    """Put a question to the person: the tool's end, or (in the modern era) the request for an answer."""
    if asking.fault is not None and asking.fault.fault == "bad_elicitation":
        asked = Ask("Please sign in", asking.fault.url)
    else:
        asked = read_arguments(arguments, Ask)
    if not asking.elicits:
        return Done("This client cannot ask anybody.", is_error=True)
    question = _question(asked, modern=asking.modern)
    if not asking.modern:
        return _told(await asking.outlet.request("elicitation/create", question))
    state = "ask:" + sha256(asked.question.encode()).hexdigest()[:16]
    responses = mapping(asking.params.get("inputResponses"))
    if "answer" not in responses:
        wanted = {"answer": {"method": "elicitation/create", "params": question}}
        return {"resultType": "input_required", "inputRequests": wanted, "requestState": state}
    if asking.params.get("requestState") != state:
        raise RpcError(INVALID_PARAMS, "This requestState is not the one that was given out")
    return _told(mapping(responses["answer"]))


def _question(asked: Ask, *, modern: bool) -> Json:
    if not asked.url:
        return {"mode": "form", "message": asked.question, "requestedSchema": _QUESTION}
    question: Json = {"mode": "url", "message": asked.question, "url": asked.url}
    return question if modern else question | {"elicitationId": sha256(asked.url.encode()).hexdigest()[:16]}


def _told(response: Mapping[str, object]) -> Done:
    if response.get("action") != "accept":
        return Done("Nobody answered.", is_error=True)
    return Done(f"They said: {mapping(response.get('content')).get('answer', 'yes')}")
