"""What a server can write that a strict reader skips: it is no fault of ours, no way past a cap, and no free call."""

from __future__ import annotations

import json

import pytest

from comptroller.core.pricing.usage import Usage
from comptroller.flow.mcp.quote import read_quote
from comptroller.wire.mcp import lists
from comptroller.wire.mcp.message import read_message
from comptroller.wire.mcp.rpc import INVALID_PARAMS, METHOD_NOT_FOUND, Fault
from tests.wire.mcp_messages import encoded, legacy, response, sse, texts
from tests.wire.test_mcp_answer import dialect, request

UNREADABLE = [b'"\xff"', b"1e99999", b"9" * 5_000, b"[" * 900 + b"]" * 900, b"[" * 90_000 + b"]" * 90_000]
MEGABYTE = 1_000_000


@pytest.mark.parametrize("value", UNREADABLE, ids=["no utf-8", "no double", "no integer", "deep", "deeper"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"jsonrpc":"2.0","result":{},"id":', b"}"),
        (b'{"jsonrpc":"2.0","id":1,"result":{"x":', b"}}"),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":', b"}}"),
        (b'{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required","inputRequests":{"a":', b"}}}"),
    ],
    ids=["id", "result", "error", "asks"],
)
def test_what_cannot_be_read_raises_nothing(before: bytes, value: bytes, after: bytes) -> None:
    call = dialect()
    asked = request(call, result_bytes=MEGABYTE, unit="item")
    call.read_answer(asked, before + value + after)
    meter = call.stream_meter(asked)
    meter.feed(sse(before + value + after))
    assert meter.done == (meter.usage is not None)


@pytest.mark.parametrize("value", UNREADABLE[:3])
def test_a_list_with_what_cannot_be_read_is_none(value: bytes) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}],"_meta":' + value + b"}}"
    with pytest.raises(lists.Malformed):
        lists.filtered(body, {"a": "no"})


def test_a_price_that_nests_without_end_is_none() -> None:
    assert isinstance(read_quote(b'{"usd":"1","x":' + b"[" * 4_000), str)


@pytest.mark.parametrize("member", ["content", "structuredContent", "contents", "messages", "completion"])
def test_a_round_with_a_result_in_it_is_a_call(member: str) -> None:
    call = dialect()
    asks: dict[str, object] = {"resultType": "input_required", "inputRequests": {}, "requestState": "s"}
    asked = request(call, result_bytes=MEGABYTE)
    given: dict[str, object] = {**asks, member: [1]}
    alone, full = (call.read_answer(asked, response(said)).usage for said in (asks, given))
    assert isinstance(alone, Usage)
    assert isinstance(full, Usage)
    assert (alone.asks, full.asks) == (1, 0)


def test_nothing_passes_beside_a_result() -> None:
    call = dialect()
    asked = request(call, result_bytes=4_096)
    said = encoded({"jsonrpc": "2.0", "id": 1, "result": texts("a"), "beside": "x" * MEGABYTE})
    assert call.read_answer(asked, said).passed == response(texts("a"))
    passed = call.stream_meter(asked).feed(sse(said))
    assert json.loads(passed.partition(b"data: ")[2]) == json.loads(response(texts("a")))


def test_what_asks_and_answers_at_once_goes_nowhere() -> None:
    call = dialect()
    meter = call.stream_meter(request(call, result_bytes=4_096))
    both = encoded({"jsonrpc": "2.0", "id": 1, "method": "x", "result": texts("x" * 100_000)})
    assert meter.feed(sse(both)) == b""
    assert meter.malformed


def test_no_tool_goes_by_the_name_of_something_else() -> None:
    fault = read_message(legacy("tools/call", {"name": "@resources/read", "arguments": {}}), [])
    assert isinstance(fault, Fault)
    assert fault.code == INVALID_PARAMS


def test_nobody_sees_the_tasks_of_others() -> None:
    """To its server all callers of the gateway are one: the list would be of everybody's tasks."""
    fault = read_message(legacy("tasks/list", {}), [])
    assert isinstance(fault, Fault)
    assert fault.code == METHOD_NOT_FOUND
