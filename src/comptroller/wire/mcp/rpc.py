"""JSON-RPC 2.0 as MCP uses it: codes of errors, and what is said where a message is refused as a message."""

from __future__ import annotations

import msgspec

# JSON-RPC 2.0, section 5.1
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
# MCP 2026-07-28 ("Error codes"): the specification's own begin at -32020
HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022
# MCP 2025-11-25: a person has to open an address first
URL_ELICITATION_REQUIRED = -32042
REFUSED = -32003  # ours, of what is left to implementations (-32000 to -32019): a refusal, told in `data`

NO_ID = msgspec.Raw(b"null")
_ENCODER = msgspec.json.Encoder()


class Fault(msgspec.Struct, frozen=True):
    """Why a message is no message that can be carried. `status` is that of HTTP."""

    code: int
    message: str
    status: int
    id: msgspec.Raw = NO_ID
    data: object = None

    def body(self) -> bytes:
        """The error that its sender gets."""
        return error_body(self.id, self.code, self.message, self.data)


def error_body(rpc_id: msgspec.Raw, code: int, message: str, data: object = None) -> bytes:
    """A JSON-RPC error. `data` is left out where there is none."""
    error: dict[str, object] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return _ENCODER.encode({"jsonrpc": "2.0", "id": rpc_id, "error": error})


def result_body(rpc_id: msgspec.Raw, result: object) -> bytes:
    """A JSON-RPC response with this result."""
    return _ENCODER.encode({"jsonrpc": "2.0", "id": rpc_id, "result": result})


def event(body: bytes) -> bytes:
    """A message as an event of a stream (WHATWG HTML, "event stream"). JSON of ours has no line ends in it."""
    return b"event: message\ndata: " + body + b"\n\n"
