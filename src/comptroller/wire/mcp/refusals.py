"""A refusal as an MCP client hears it: where a model can act on it, as the result of its tool.

Clients hand the text of a result with `isError` to the model, and show a JSON-RPC error to the person, or
take it for a fault of the server (docs/mcp.md has what each of them does).
"""

from __future__ import annotations

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.wire.mcp.message import TOOL_CALL, Message
from comptroller.wire.mcp.rpc import INVALID_PARAMS, NO_ID, REFUSED, error_body, result_body

META_REFUSAL = "comptroller/refusal"

# What the client or its configuration got wrong, not the model. Everything else on tools/call is a result, a tool that
# nobody knows too: the specification would have an error, and the official SDK's server says it as a result.
_AS_ERRORS = {
    "request_invalid": INVALID_PARAMS,
    "tool_forbidden": REFUSED,
    "server_unknown": REFUSED,
}
# Said by HTTP: whoever may not come in, and what was refused before there was a message.
_BY_STATUS = frozenset({"credential_missing", "credential_invalid", "credential_expired", "server_unknown"})


def details(refusal: Refusal, call_id: str) -> dict[str, object]:
    """All that a refusal says, for programs."""
    said = {name: value for name, value in msgspec.structs.asdict(refusal).items() if value is not None}
    return {**said, "call_id": call_id}


def refusal_body(message: Message | None, refusal: Refusal, call_id: str) -> bytes:
    """A result of the tool with `isError`, or a JSON-RPC error. `message`: that is refused, as far as there is one."""
    rpc_id = NO_ID if message is None or message.id is None else message.id
    said = details(refusal, call_id)
    if message is None or message.method != TOOL_CALL or refusal.code in _AS_ERRORS or by_status(message, refusal):
        code = _AS_ERRORS.get(refusal.code, REFUSED)
        return error_body(rpc_id, code, refusal.message, {"comptroller": said})
    return result_body(rpc_id, error_result(refusal.message, {META_REFUSAL: said}, modern=message.modern))


def by_status(message: Message | None, refusal: Refusal) -> bool:
    """Whether the status of HTTP says it, and not only the message."""
    return message is None or message.id is None or refusal.code in _BY_STATUS


def error_result(text: str, meta: dict[str, object], *, modern: bool) -> dict[str, object]:
    """The result of a tool that failed, with words for the model."""
    result: dict[str, object] = {"content": [{"type": "text", "text": text}], "isError": True, "_meta": meta}
    return {"resultType": "complete", **result} if modern else result
