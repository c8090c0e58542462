"""What MCP servers answer, whole and as a stream: what goes on, what ends it, and what it is counted as."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from comptroller.core.refusal import Refusal
from comptroller.flow.dialect import Answer, Dialect, DialectRequest, Meter, Readdressed
from comptroller.wire.mcp.dialect import McpCall
from comptroller.wire.mcp.message import Message, read_message
from comptroller.wire.mcp.request import McpRequest
from tests.wire.mcp_messages import encoded, legacy, modern, response, sse, texts

CALL = {"name": "search", "arguments": {"q": "x"}}
PROGRESS = encoded(
    {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}
)
LOG = encoded({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "at work"}})


def dialect(body: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None) -> McpCall:
    message = read_message(body or legacy("tools/call", CALL), headers or [])
    assert isinstance(message, Message), message
    return McpCall("files", message, headers or [])


def request(call: McpCall, **use: Any) -> McpRequest:
    read = call.read_request()
    assert isinstance(read, McpRequest)
    tool = read.asked.tool
    if tool is None or not use:
        return read
    return msgspec.structs.replace(
        read, asked=msgspec.structs.replace(read.asked, tool=msgspec.structs.replace(tool, **use))
    )


def typed(call: McpCall) -> tuple[Dialect, DialectRequest, Answer, Meter, Readdressed]:
    """The borders of the story: whatever else these are, they are those."""
    asked = request(call)
    answer = call.read_answer(asked, response(texts("a")))
    return call, asked, answer, call.stream_meter(asked), answer


def test_a_call_is_of_its_tool() -> None:
    asked = request(dialect()).asked
    assert asked.tool is not None
    assert (asked.model, asked.tool.server, asked.tool.name) == ("files/search", "files", "files/search")
    assert asked.tool.arguments == b'{"q":"x"}'
    assert typed(dialect())


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("resources/read", {"uri": "file:///a"}, "files/@resources/read"),
        ("prompts/get", {"name": "a"}, "files/@prompts/get"),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "a"}}, "files/@completion/complete"),
        ("tools/list", {}, ""),
    ],
)
def test_what_gives_content_is_a_call_too(method: str, params: dict[str, Any], name: str) -> None:
    asked = request(dialect(legacy(method, params))).asked
    assert asked.model == name
    assert (asked.tool is None) == asked.free == (name == "")


def test_what_is_asked_for_is_the_same_however_often_it_is_sent() -> None:
    body, headers = modern("resources/read", {"uri": "file:///a", "requestState": "s"}, progressToken=7)
    tool = request(dialect(body, headers)).asked.tool
    assert tool is not None
    assert tool.arguments == b'{"uri":"file:///a"}'


def test_a_request_goes_on_as_it_came() -> None:
    body, headers = modern("tools/call", CALL)
    headers += [(b"mcp-param-q", b"x"), (b"authorization", b"Bearer mine"), (b"cookie", b"a=b")]
    call = dialect(body, headers)
    assert call.rewrite(request(call), output_limit=0, field="max_tokens") == body
    passed = {name for name, _ in headers if name in call.request_headers}
    assert passed == {b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"mcp-param-q"}


def test_a_whole_answer_passes_untouched_and_counts_its_bytes() -> None:
    call, result = dialect(), texts("äh", "b")
    answer = call.read_answer(request(call), response(result))
    assert (answer.malformed, answer.passed, answer.failed) == (False, None, False)
    assert answer.usage is not None
    assert answer.usage.result_bytes == len(encoded(result))
    assert answer.usage.result_units == 1


def test_items_of_a_result_are_counted_where_they_are_billed() -> None:
    call = dialect()
    answer = call.read_answer(request(call, unit="item"), response(texts("a", "b", "c")))
    assert answer.usage is not None
    assert answer.usage.result_units == 3


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        (response({**texts("no such file"), "isError": True}), True),
        (encoded({"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "no"}}), True),
        (response(texts("a")), False),
    ],
)
def test_a_tool_that_failed_has_answered(body: bytes, failed: bool) -> None:
    call = dialect()
    answer = call.read_answer(request(call), body)
    assert (answer.malformed, answer.failed) == (False, failed)
    assert answer.usage is not None


def test_a_tool_that_asks_first_has_not_run() -> None:
    body, headers = modern("tools/call", CALL)
    call = dialect(body, headers)
    asks = {"resultType": "input_required", "requestState": "s"}
    error: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {"code": -32042, "message": "log in", "data": {"elicitations": []}},
    }
    for code, rounds in ((-32042, 1), (-32602, 0)):
        error["error"]["code"] = code
        answer = call.read_answer(request(call), encoded(error))
        assert answer.usage is not None
        assert (answer.failed, answer.usage.asks) == (True, rounds)
    done = {"resultType": "complete", **texts("a")}
    for result, has_run in ((asks, False), (done, True)):
        answer = call.read_answer(request(call), response(result))
        assert answer.usage is not None
        assert (answer.input_required, bool(answer.usage.asks)) == (not has_run, not has_run)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"\xff",
        response(texts("a"), rpc_id=2),
        response(texts("a"), rpc_id="1"),
        response([]),
        response(None),
        encoded({"jsonrpc": "2.0", "id": 1}),
        encoded({"id": 1, "result": {}}),
        encoded({"jsonrpc": "2.0", "id": 1, "result": {}, "error": {"code": 1, "message": "x"}}),
        PROGRESS,
        response({"isError": "yes", "content": []}),
    ],
)
def test_what_is_no_answer_to_this_request(body: bytes) -> None:
    call = dialect()
    assert call.read_answer(request(call), body).malformed
    meter = call.stream_meter(request(call))
    meter.feed(sse(body))
    assert not meter.done


def test_a_stream_ends_at_its_response_wherever_it_is_cut() -> None:
    call = dialect()
    said = b": ping\r\n\r\n" + sse(LOG, PROGRESS, response(texts("a b")))
    after = sse(response(texts("again")), LOG)
    for cut in range(len(said) + 1):
        meter = call.stream_meter(request(call))
        passed = meter.feed(said[:cut]) + meter.feed(said[cut:] + after) + meter.finish()
        assert passed == said, cut
        assert meter.done
        assert meter.usage is not None
        assert meter.usage.result_bytes == len(encoded(texts("a b")))


def test_a_stream_byte_by_byte() -> None:
    call = dialect()
    said = sse(LOG, response(texts("ü")))
    meter = call.stream_meter(request(call))
    assert b"".join(meter.feed(said[at : at + 1]) for at in range(len(said))) + meter.finish() == said
    assert meter.done


def test_a_stream_without_its_response_is_not_done() -> None:
    call = dialect()
    meter = call.stream_meter(request(call))
    half = sse(response(texts("a")))[:-20]
    assert meter.feed(sse(LOG) + half) + meter.finish() == sse(LOG)
    assert (meter.done, meter.usage) == (False, None)


def test_an_answer_to_somebody_else_goes_nowhere() -> None:
    call = dialect()
    meter = call.stream_meter(request(call))
    assert meter.feed(sse(response(texts("theirs"), rpc_id=2), response(texts("ours")))) == sse(response(texts("ours")))


def test_a_result_that_is_too_large_says_so() -> None:
    call = dialect()
    asked = request(call, result_bytes=2_000, on_large="refuse")
    large = response(texts("x" * 5_000))
    answer = call.read_answer(asked, large)
    assert answer.passed is not None
    said = json.loads(answer.passed)
    assert said["id"] == 1
    assert said["result"]["isError"] is True
    assert said["result"]["_meta"]["comptroller/refusal"]["code"] == "result_too_large"
    assert "2,000" in said["result"]["content"][0]["text"]
    meter = call.stream_meter(asked)
    streamed = meter.feed(sse(large))
    assert streamed == b"event: message\ndata: " + answer.passed + b"\n\n"
    assert meter.done


def test_one_event_larger_than_anybody_keeps() -> None:
    call = dialect()
    meter = call.stream_meter(request(call, result_bytes=2_000))
    passed = b"".join(meter.feed(b"data: " + b"x" * 1_000_000) for _ in range(12))
    assert meter.done
    assert meter.usage is not None
    assert b"result_too_large" in passed
    assert len(passed) < 2_000


REFUSAL = Refusal(code="budget_exhausted", sentence="The budget scout-day has no tool call left.", hint="Wait.")


def test_a_refused_tool_call_is_a_result_for_the_model() -> None:
    call = dialect()
    said = json.loads(call.refusal_body(REFUSAL, "call_1"))
    assert said["result"]["isError"] is True
    assert said["result"]["content"] == [{"type": "text", "text": REFUSAL.message}]
    assert said["result"]["_meta"]["comptroller/refusal"]["code"] == "budget_exhausted"
    assert said["result"]["_meta"]["comptroller/refusal"]["call_id"] == "call_1"
    assert "resultType" not in said["result"]
    assert call.status_of(REFUSAL) == 200
    body, headers = modern("tools/call", CALL)
    assert json.loads(dialect(body, headers).refusal_body(REFUSAL, "call_1"))["result"]["resultType"] == "complete"


@pytest.mark.parametrize(
    ("code", "rpc", "status"),
    [
        ("tool_forbidden", -32003, 200),
        ("request_invalid", -32602, 200),
        ("server_unknown", -32003, 404),
        ("credential_expired", -32003, 401),
    ],
)
def test_what_a_client_got_wrong_is_an_error(code: str, rpc: int, status: int) -> None:
    refusal = Refusal(code=code, sentence="No.", hint="Mend it.")
    said = json.loads(dialect().refusal_body(refusal, "call_1"))
    assert (said["id"], said["error"]["code"], said["error"]["message"]) == (1, rpc, "No. Mend it.")
    assert said["error"]["data"]["comptroller"]["code"] == code
    assert dialect().status_of(refusal) == status


def test_a_refused_list_is_an_error_and_one_before_the_message_has_a_status() -> None:
    call = dialect(legacy("tools/list"))
    assert json.loads(call.refusal_body(REFUSAL, "call_1"))["error"]["code"] == -32003
    assert call.status_of(REFUSAL) == 200
    unread = McpCall("files", None, [])
    assert json.loads(unread.refusal_body(REFUSAL, "call_1"))["id"] is None
    assert unread.status_of(REFUSAL) == 402


def test_a_refusal_ends_a_stream_once() -> None:
    call = dialect()
    meter = call.stream_meter(request(call))
    said = call.refusal_event(REFUSAL, "call_1", meter)
    assert said == b"event: message\ndata: " + call.refusal_body(REFUSAL, "call_1") + b"\n\n"
    meter.feed(sse(response(texts("a"))))
    assert call.refusal_event(REFUSAL, "call_1", meter) == b""
