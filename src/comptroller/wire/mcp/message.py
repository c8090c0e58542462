"""One message of a client: what it is, what it names, and that its headers say the same as its body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.wire.body import is_object, read_object
from comptroller.wire.mcp.headers import METHOD, NAME, VERSION, Headers, Routing, decoded, routing
from comptroller.wire.mcp.rpc import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    NO_ID,
    PARSE_ERROR,
    UNSUPPORTED_VERSION,
    Fault,
)

MODERN_VERSIONS = ("2026-07-28",)
LEGACY_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
_UNSAID_VERSION = "2025-03-26"  # of a legacy request without the header, says the specification

META_VERSION = "io.modelcontextprotocol/protocolVersion"
META_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"

TOOL_CALL = "tools/call"
# Methods that give content, and the parameter that names of what. They are governed as calls of tools.
GOVERNED: Mapping[str, str] = {
    TOOL_CALL: "name",
    "resources/read": "uri",
    "prompts/get": "name",
    "completion/complete": "",
}
FREE = frozenset(
    {
        "initialize",
        "server/discover",
        "ping",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/subscribe",
        "resources/unsubscribe",
        "logging/setLevel",
        "subscriptions/listen",
        "tasks/get",
        "tasks/result",
        "tasks/cancel",
        "tasks/update",
    }
)
NOT_A_TOOL = "@"
"""Begins the names by which the gateway knows what is governed and no tool (request.py): pins do not hold for them."""
MOST_NAME_CHARACTERS = 2048  # an address of a resource can be long

Kind = Literal["request", "notification", "response"]


class Message(msgspec.Struct, frozen=True, gc=False):
    """What a client sent. What is raw stands as it came."""

    kind: Kind
    method: str = ""
    id: msgspec.Raw | None = None
    name: str = ""  # of the tool or prompt, or the address of the resource
    arguments: bytes = b"{}"
    version: str = _UNSAID_VERSION
    modern: bool = False  # it says all of itself: there is no session
    elicits: bool = False  # its client can ask a person to open an address; a legacy one says so in its handshake
    input_responses: bytes = b""  # what a person or model said to what an earlier round asked for
    request_state: bytes = b""  # a JSON string that an earlier round gave out
    params: bytes = b""
    body: bytes = b""

    @property
    def governed(self) -> bool:
        """It is a call: policies, budgets and records know it."""
        return self.kind == "request" and self.method in GOVERNED


class _Params(msgspec.Struct):
    arguments: msgspec.Raw = msgspec.Raw(b"")
    inputResponses: msgspec.Raw = msgspec.Raw(b"")  # noqa: N815 - as the protocol writes it
    requestState: msgspec.Raw = msgspec.Raw(b"")  # noqa: N815


class _Body(msgspec.Struct):
    id: msgspec.Raw = NO_ID
    params: msgspec.Raw = msgspec.Raw(b"{}")


_BODY = msgspec.json.Decoder(_Body)
_PARAMS = msgspec.json.Decoder(_Params)
_ANYTHING = msgspec.json.Decoder(msgspec.Raw)


def read_message(body: bytes, headers: Headers) -> Message | Fault:
    """The message in the body of a POST, or why there is none. Header names are in lower case.

    What two parsers could read differently is refused, as of models (wire/body.py). So are batches, which
    only one revision knew (2025-03-26), and methods that nobody knows.
    """
    value = read_object(body)
    if isinstance(value, Refusal):
        return _no_object(body, value)
    written = _BODY.decode(body)
    id_fault = _id_fault(value)
    if id_fault is not None:
        return id_fault
    said = routing(headers)
    fault = _envelope_fault(value, written.id)
    if fault is not None:
        return fault
    if "method" not in value:
        return _response(value, written.id, said, body)
    return _asked(value, written, said, body)


def unknown_method(message: Message) -> Fault:
    """What is said of a method that the gateway does not know: it might give content past every policy."""
    return Fault(
        METHOD_NOT_FOUND,
        f"Method not found: the gateway does not carry {message.method[:64]!r}",
        404 if message.modern else 200,
        message.id or NO_ID,
    )


def _no_object(body: bytes, refusal: Refusal) -> Fault:
    try:
        whole = _ANYTHING.decode(body)
    except (ValueError, RecursionError):
        return Fault(PARSE_ERROR, refusal.sentence, 400)
    if bytes(whole).lstrip().startswith(b"["):
        return Fault(INVALID_REQUEST, "Batches are not carried: send each message by itself.", 400)
    return Fault(INVALID_REQUEST, refusal.sentence, 400)


def _id_fault(value: dict[str, object]) -> Fault | None:
    if "id" not in value:
        return None
    rpc_id = value["id"]
    if isinstance(rpc_id, str) or (isinstance(rpc_id, int) and not isinstance(rpc_id, bool)):
        return None
    return Fault(INVALID_REQUEST, "The id of a message is a string or a whole number.", 400)


def _envelope_fault(value: dict[str, object], rpc_id: msgspec.Raw) -> Fault | None:
    if value.get("jsonrpc") != "2.0":
        return Fault(INVALID_REQUEST, 'Not a JSON-RPC message: `jsonrpc` is not "2.0".', 400, rpc_id)
    if "method" in value and (not isinstance(value["method"], str) or "result" in value or "error" in value):
        return Fault(
            INVALID_REQUEST, "A message is a request, a notification or a response, and only one of them.", 400, rpc_id
        )
    if not is_object(value.get("params", {})):
        return Fault(INVALID_REQUEST, "The `params` of a message are a JSON object.", 400, rpc_id)
    return None


def _response(value: dict[str, object], rpc_id: msgspec.Raw, said: Routing, body: bytes) -> Message | Fault:
    if "id" not in value or ("result" in value) == ("error" in value):
        return Fault(INVALID_REQUEST, "The message has no method, and is no response either.", 400)
    version = _header_version(said)
    if isinstance(version, Fault):
        return version
    if version in MODERN_VERSIONS:
        return Fault(
            INVALID_REQUEST, f"In {version} no client sends a response: it asks again, with `inputResponses`.", 400
        )
    return Message("response", id=rpc_id, version=version or _UNSAID_VERSION, body=body)


def _asked(value: dict[str, object], written: _Body, said: Routing, body: bytes) -> Message | Fault:
    rpc_id = written.id if "id" in value else None
    method, params = str(value["method"]), value.get("params", {})
    if not is_object(params):
        raise TypeError("its envelope was not looked at")
    version = _header_version(said, rpc_id or NO_ID)
    if isinstance(version, Fault):
        return version
    meta = params.get("_meta")
    declared = meta.get(META_VERSION) if is_object(meta) else None
    modern = declared is not None or (version != "" and version not in LEGACY_VERSIONS)
    if modern and rpc_id is not None:
        fault = _modern_fault(meta, version, said, rpc_id)
        if fault is not None:
            return fault
    name = _name(method, params)
    if name is None:
        what = GOVERNED[method]
        besides = f" that does not begin with {NOT_A_TOOL}" if method == TOOL_CALL else ""
        text = f"{method} needs `{what}`, a text of at most {MOST_NAME_CHARACTERS} characters{besides}."
        return Fault(INVALID_PARAMS, text, 400 if modern else 200, rpc_id or NO_ID)  # fmt: skip
    fault = _header_fault(method, name, said, rpc_id or NO_ID, needed=modern and rpc_id is not None)
    if fault is not None:
        return fault
    given = params.get("arguments")
    if given is not None and not is_object(given) and method in GOVERNED:
        status = 400 if modern else 200
        return Fault(INVALID_PARAMS, f"The `arguments` of {method} are a JSON object.", status, rpc_id or NO_ID)
    raw = _PARAMS.decode(written.params)
    message = Message(
        kind="notification" if rpc_id is None else "request",
        method=method,
        id=rpc_id,
        name=name,
        arguments=b"{}" if given is None else bytes(raw.arguments),
        version=str(declared) if declared is not None else _legacy_version(method, params, version),
        modern=modern,
        elicits=_elicits(method, meta, params),
        input_responses=bytes(raw.inputResponses),
        request_state=bytes(raw.requestState),
        params=bytes(written.params),
        body=body,
    )
    known = method.startswith("notifications/") if rpc_id is None else method in GOVERNED or method in FREE
    return message if known else unknown_method(message)


def _header_version(said: Routing, rpc_id: msgspec.Raw = NO_ID) -> str | Fault:
    if said.twice:
        return Fault(HEADER_MISMATCH, f"The header {said.twice.decode()} came more than once.", 400, rpc_id)
    return said.get(VERSION, b"").decode("latin-1")


def _modern_fault(meta: object, version: str, said: Routing, rpc_id: msgspec.Raw) -> Fault | None:
    """Every request of this era says its version and what its client can do, and the header repeats the version."""
    missing = [key for key in (META_VERSION, META_CAPABILITIES) if not is_object(meta) or key not in meta]
    if missing or not is_object(meta):
        return Fault(INVALID_PARAMS, f"`params._meta` lacks {' and '.join(missing)}.", 400, rpc_id)
    declared = meta[META_VERSION]
    if not isinstance(declared, str) or VERSION not in said or declared != version:
        return Fault(
            HEADER_MISMATCH, f"The header {VERSION.decode()} does not say what `{META_VERSION}` says.", 400, rpc_id
        )
    if declared not in MODERN_VERSIONS:
        data = {"supported": list(MODERN_VERSIONS), "requested": declared[:64]}
        return Fault(UNSUPPORTED_VERSION, "Unsupported protocol version", 400, rpc_id, data)
    return None


def _header_fault(method: str, name: str, said: Routing, rpc_id: msgspec.Raw, *, needed: bool) -> Fault | None:
    if (needed or METHOD in said) and decoded(said.get(METHOD, b"")) != method:
        return Fault(HEADER_MISMATCH, f"The header {METHOD.decode()} does not say the body's method.", 400, rpc_id)
    if GOVERNED.get(method) and (needed or NAME in said) and decoded(said.get(NAME, b"")) != name:
        what = GOVERNED[method]
        return Fault(HEADER_MISMATCH, f"The header {NAME.decode()} does not say the body's `{what}`.", 400, rpc_id)
    return None


def _name(method: str, params: dict[str, object]) -> str | None:
    """What a governed message names; None: it has to name something, and does not."""
    parameter = GOVERNED.get(method)
    if not parameter:
        return ""
    name = params.get(parameter)
    if method == TOOL_CALL and isinstance(name, str) and name.startswith(NOT_A_TOOL):
        return None
    return name if isinstance(name, str) and 0 < len(name) <= MOST_NAME_CHARACTERS else None


def _legacy_version(method: str, params: dict[str, object], version: str) -> str:
    if method == "initialize":
        asked = params.get("protocolVersion")
        return asked if isinstance(asked, str) and asked in LEGACY_VERSIONS else LEGACY_VERSIONS[-1]
    return version or _UNSAID_VERSION


def _elicits(method: str, meta: object, params: dict[str, object]) -> bool:
    """Whether its client says that it can: a modern one with every request, a legacy one in its handshake."""
    capabilities = params.get("capabilities") if method == "initialize" else None
    if is_object(meta) and META_CAPABILITIES in meta:
        capabilities = meta[META_CAPABILITIES]
    elicitation = capabilities.get("elicitation") if is_object(capabilities) else None
    return is_object(elicitation) and is_object(elicitation.get("url"))
