"""What a server answered: whose answer it is, how large, and what of it may go on."""

from __future__ import annotations

from typing import Any

import msgspec

from comptroller.core.pricing.tool_estimate import most_units
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.core.work.tool_use import ToolUse
from comptroller.wire.mcp import elicitation
from comptroller.wire.mcp.cut import cut
from comptroller.wire.mcp.message import TOOL_CALL, Message
from comptroller.wire.mcp.refusals import META_REFUSAL, details, error_result
from comptroller.wire.mcp.request import McpRequest
from comptroller.wire.mcp.rpc import NO_ID, REFUSED, error_body, result_body

_NOTHING = msgspec.Raw(b"")
_ITEMS = ("content", "contents", "messages")
_HOLDS_CONTENT = (*_ITEMS, "structuredContent", "completion")
_LONGEST_ERROR = 16_384  # bytes, where a status of HTTP says that it is one
_MOST_BESIDE = 1_024  # bytes of a response that are not its result: more are nothing that the protocol has
_CAN_BE_CUT = {TOOL_CALL: "content", "resources/read": "contents"}  # a prompt that is cut says something else
META_WITHHELD = "comptroller/withheld"


class Said(msgspec.Struct):
    """One message of a server, read no further than it has to be."""

    jsonrpc: str = ""
    id: msgspec.Raw = NO_ID
    method: str = ""
    params: msgspec.Raw = _NOTHING
    result: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING

    @property
    def answers(self) -> bool:
        """It is a response, and a whole one."""
        return not self.method and (len(bytes(self.result)) > 0) != (len(bytes(self.error)) > 0)

    @property
    def confused(self) -> bool:
        """It asks and answers at once: what of that counts, each client says for itself."""
        return bool(self.method) and len(bytes(self.result)) + len(bytes(self.error)) > 0


class RpcAnswer(msgspec.Struct, frozen=True, gc=False):
    """A response. `passed` is what its client gets instead of it; None: all of it as it came."""

    usage: Usage | None = None
    malformed: bool = False
    passed: bytes | None = None
    failed: bool = False  # it is an error, or a result that says that the tool failed
    input_required: bool = False  # the tool has not run: it asks for something first
    served_model: str | None = None


class _Result(msgspec.Struct):
    resultType: str = ""  # noqa: N815 - as the protocol writes it
    isError: bool | None = None  # noqa: N815
    inputRequests: msgspec.Raw = _NOTHING  # noqa: N815


SAID = msgspec.json.Decoder(Said)
_RESULT = msgspec.json.Decoder(_Result)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder()
MALFORMED = RpcAnswer(malformed=True)


def read_answer(request: McpRequest, body: bytes) -> RpcAnswer:
    """A whole answer. Malformed: no JSON-RPC response, or not to this request."""
    try:
        said = SAID.decode(body)
    except (ValueError, RecursionError):
        return MALFORMED
    return judged(request, said, len(body))


def judged(request: McpRequest, said: Said, size: int) -> RpcAnswer:
    """What becomes of a response. `size`: its bytes, all that stands in it."""
    try:
        answer = _judged(request, said)
    except (ValueError, RecursionError):  # no UTF-8, numbers that nobody reads: what was skipped was not looked at
        return MALFORMED
    within = len(bytes(said.result)) + len(bytes(said.error))
    if answer.malformed or answer.passed is not None or size - within <= _MOST_BESIDE:
        return answer
    return msgspec.structs.replace(answer, passed=_alone(request.message.id or NO_ID, said))


def _alone(rpc_id: msgspec.Raw, said: Said) -> bytes:
    """A response without what else its server wrote into it, which no cap has counted."""
    member, value = ("result", said.result) if bytes(said.result) else ("error", said.error)
    return msgspec.json.encode({"jsonrpc": "2.0", "id": rpc_id, member: value})


def _judged(request: McpRequest, said: Said) -> RpcAnswer:
    rpc_id = request.message.id
    if not said.answers or said.jsonrpc != "2.0" or rpc_id is None or not same_id(rpc_id, said.id):
        return MALFORMED
    error, result = bytes(said.error), bytes(said.result)
    if error:
        why = elicitation.in_error(error, loopback=request.loopback)
        if why is not None:
            return withheld(request, why)
        return _with_usage(request, error, failed=True, input_required=elicitation.asks_first(error))
    if not result.startswith(b"{"):
        return MALFORMED
    try:
        head = _RESULT.decode(result)
    except ValueError:
        return MALFORMED
    asks = head.resultType == "input_required"
    why = elicitation.in_requests(head.inputRequests, loopback=request.loopback) if asks else None
    if why is not None:
        return withheld(request, why)
    waits = asks and not _has_content(result)  # what gives its result is a call that was carried out
    return _with_usage(request, result, failed=bool(head.isError), input_required=waits)


def _has_content(result: bytes) -> bool:
    members = _MEMBERS.decode(result)
    return any(name in members for name in _HOLDS_CONTENT)


def error_passed(message: Message, body: bytes, *, loopback: bool) -> bytes:
    """What goes on of the body of an error that a status of HTTP says: an error, and no result beside every cap.

    Such an answer is no use of the tool and costs nothing, so nothing that a client could take for one passes with it.
    """
    try:
        said = SAID.decode(body)
        why = _unfit(said, len(body), loopback=loopback)
    except (ValueError, RecursionError):
        why = "it is too long" if len(body) > _LONGEST_ERROR else None  # of whatever stands before the server
    if why is None:
        return body
    return error_body(
        message.id or NO_ID, REFUSED, f"The server refused this, and what it said is not passed on: {why}."
    )


def _unfit(said: Said, size: int, *, loopback: bool) -> str | None:
    if bytes(said.result):
        return "it is a result"
    if size > _LONGEST_ERROR:
        return "it is too long"
    return elicitation.in_error(bytes(said.error), loopback=loopback) if bytes(said.error) else None


def same_id(asked: msgspec.Raw, said: msgspec.Raw) -> bool:
    """Whether two ids are one: "1" is not 1."""
    if bytes(asked) == bytes(said):
        return True
    try:
        left, right = _ANY.decode(asked), _ANY.decode(said)
    except (ValueError, RecursionError):
        return False
    return type(left) is type(right) and left == right


def _with_usage(request: McpRequest, result: bytes, *, failed: bool, input_required: bool = False) -> RpcAnswer:
    tool = request.asked.tool
    if tool is None:
        return RpcAnswer(Usage(0, 0), failed=failed, input_required=input_required)
    if tool.result_bytes and len(result) > tool.result_bytes:
        return _too_large(request, tool, result, failed=failed)
    usage = _usage(tool, result)
    if input_required:
        usage = msgspec.structs.replace(usage, asks=1)
    return RpcAnswer(usage, failed=failed, input_required=input_required)


def _usage(tool: ToolUse, result: bytes) -> Usage:
    return Usage(0, 0, result_bytes=len(result), result_units=_units(tool, result))


def _usage_of_large(tool: ToolUse, result: bytes, passed: bytes) -> Usage:
    """Its server has made all of it: that is what it is billed by, as far as the cap goes, and so its hold."""
    units = min(_units(tool, result), most_units(tool))
    return Usage(0, 0, result_bytes=min(len(passed), tool.result_bytes), result_units=units)


def _too_large(request: McpRequest, tool: ToolUse, result: bytes, *, failed: bool) -> RpcAnswer:
    member = _CAN_BE_CUT.get(request.message.method)
    if tool.on_large == "truncate" and member is not None:
        less = cut(tool, result, member=member)
        if less is not None:
            passed = result_body(request.message.id or NO_ID, msgspec.Raw(less))
            return RpcAnswer(_usage_of_large(tool, result, less), passed=passed, failed=failed)
    passed = too_large_body(request, tool, len(result))
    return RpcAnswer(_usage_of_large(tool, result, passed), passed=passed, failed=True)


def withheld(request: McpRequest, why: str) -> RpcAnswer:
    """What is said in the place of an answer that would send a person to an address that nobody should open."""
    message, tool = request.message, request.asked.tool
    asker = tool.name if tool is not None else "The server"
    text = f"{asker} wants a person to open an address, and the gateway does not pass it on: {why}."
    meta: dict[str, object] = {"what": "elicitation", "why": why}
    rpc_id = message.id or NO_ID
    if message.method == TOOL_CALL:
        passed = result_body(rpc_id, error_result(text, {META_WITHHELD: meta}, modern=message.modern))
    else:
        passed = error_body(rpc_id, REFUSED, text, {META_WITHHELD: meta})
    usage = Usage(0, 0, result_bytes=0 if tool is None else min(len(passed), tool.result_bytes))
    return RpcAnswer(usage, passed=passed, failed=True)


def too_large_body(request: McpRequest, tool: ToolUse, size: int) -> bytes:
    """What is said in the place of a result that is too large. `size`: bytes, as far as they were read."""
    message = request.message
    refusal = Refusal(
        code="result_too_large",
        sentence=f"{tool.name} has run, but its result of {size:,} bytes is larger than the {tool.result_bytes:,} "
        "that may be handed on.",
        hint="Ask it for less at a time: a smaller range, a filter, a page.",
        limit=tool.name,
        unit="result_bytes",
        needed=str(size),
    )
    said = details(refusal, "")
    del said["call_id"]
    rpc_id = message.id or NO_ID
    if message.method != TOOL_CALL:
        return error_body(rpc_id, REFUSED, refusal.message, {"comptroller": said})
    return result_body(rpc_id, error_result(refusal.message, {META_REFUSAL: said}, modern=message.modern))


def _units(tool: ToolUse, result: bytes) -> int:
    """What a result is billed by: begun kibibytes, or its items."""
    if tool.unit == "kib":
        return -(-len(result) // 1024)
    value: Any = _ANY.decode(result)
    for name in _ITEMS:
        if isinstance(value.get(name), list):
            return len(value[name])
    return 0
