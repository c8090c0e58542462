"""What a server may not do to its client: hand on too much, send a person somewhere, refer to somewhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.work.tool_use import ToolUse
from comptroller.wire.event_stream import EventSplitter, event_data
from comptroller.wire.mcp.addresses import unsafe_address
from comptroller.wire.mcp.answer import RpcAnswer
from comptroller.wire.mcp.cut import cut
from comptroller.wire.mcp.dialect import McpCall
from comptroller.wire.mcp.headers import foreign_origin
from comptroller.wire.mcp.message import Message, read_message
from comptroller.wire.mcp.request import McpRequest
from tests.wire.mcp_messages import encoded, legacy, modern, response, sse, texts
from tests.wire.test_mcp_answer import CALL, dialect, request


def cut_to(
    most: int, result: dict[str, Any], method: str = "tools/call", params: dict[str, Any] | None = None
) -> RpcAnswer:
    call = dialect(legacy(method, CALL if params is None else params))
    return call.read_answer(request(call, result_bytes=most), response(result))


def told(answer: RpcAnswer) -> dict[str, Any]:
    """The result that goes on instead."""
    assert answer.passed is not None
    said = json.loads(answer.passed)
    assert said["id"] == 1
    return said["result"]


def test_a_long_text_is_cut_and_says_so() -> None:
    result = told(cut_to(3_000, texts("kept", "x" * 5_000, "never")))
    first, second, note = result["content"]
    assert first == {"type": "text", "text": "kept"}
    assert set(second["text"]) == {"x"}
    assert "files/search gave" in note["text"]
    assert "1 more item" in note["text"]
    assert result["_meta"]["comptroller/cut"]["limit"] == 3_000
    assert "isError" not in result


def test_what_is_handed_on_is_what_counts() -> None:
    answer = cut_to(3_000, texts("x" * 5_000))
    assert answer.usage is not None
    assert answer.usage.result_bytes == len(encoded(told(answer))) <= 3_000


def test_a_picture_that_does_not_fit_is_left_out() -> None:
    picture = {"type": "image", "data": "A" * 9_000, "mimeType": "image/png"}
    result = told(cut_to(3_000, {"content": [{"type": "text", "text": "look"}, picture], "_meta": {"own": 1}}))
    assert [each["type"] for each in result["content"]] == ["text", "text"]
    assert result["_meta"]["own"] == 1


def test_structured_content_stays_whole_or_goes() -> None:
    small = {**texts("x" * 5_000), "structuredContent": {"n": 1}}
    kept = told(cut_to(3_000, small))
    assert kept["structuredContent"] == {"n": 1}
    assert "isError" not in kept
    large = {**texts("x" * 100), "structuredContent": {"rows": ["y" * 5_000]}, "isError": False}
    lost = told(cut_to(3_000, large))
    assert "structuredContent" not in lost
    assert lost["isError"] is True  # or a client that knows its schema throws all of it away
    assert lost["_meta"]["comptroller/cut"]["structured_content_left_out"] is True
    assert lost["content"][0] == {"type": "text", "text": "x" * 100}


def test_a_resource_is_cut_within_its_text() -> None:
    result = told(
        cut_to(3_000, {"contents": [{"uri": "file:///a", "text": "x" * 5_000}]}, "resources/read", {"uri": "file:///a"})
    )
    assert result["contents"][0]["uri"] == "file:///a"
    assert "Cut by the gateway" in result["contents"][0]["text"]


def test_an_embedded_resource_is_cut_within_its_text() -> None:
    inside = {"type": "resource", "resource": {"uri": "file:///a", "text": "x" * 5_000}}
    result = told(cut_to(3_000, {"content": [inside]}))
    assert len(result["content"][0]["resource"]["text"]) < 3_000


@pytest.mark.parametrize(
    ("method", "params", "result"),
    [
        (
            "prompts/get",
            {"name": "a"},
            {"messages": [{"role": "user", "content": {"type": "text", "text": "x" * 5_000}}]},
        ),
        ("resources/read", {"uri": "file:///a"}, {"contents": [{"uri": "file:///a", "blob": "A" * 5_000}]}),
    ],
)
def test_what_cannot_be_cut_is_an_error(method: str, params: dict[str, Any], result: dict[str, Any]) -> None:
    answer = cut_to(3_000, result, method, params)
    assert answer.passed is not None
    said = json.loads(answer.passed)
    assert said["error"]["data"]["comptroller"]["code"] == "result_too_large"


def test_a_tool_whose_only_content_is_too_large_a_picture() -> None:
    result = told(cut_to(3_000, {"content": [{"type": "image", "data": "A" * 9_000, "mimeType": "image/png"}]}))
    assert result["_meta"]["comptroller/refusal"]["code"] == "result_too_large"
    assert result["isError"] is True


ITEMS = st.lists(
    st.one_of(
        st.builds(lambda text: {"type": "text", "text": text}, st.text(max_size=4_000)),
        st.builds(lambda size: {"type": "image", "data": "A" * size, "mimeType": "image/png"}, st.integers(0, 4_000)),
        st.builds(lambda text: {"type": "resource", "resource": {"uri": "a:b", "text": text}}, st.text(max_size=2_000)),
    ),
    max_size=6,
)


@given(ITEMS, st.integers(200, 12_000), st.booleans())
def test_a_cut_result_is_a_result_and_small_enough(items: list[dict[str, Any]], most: int, structured: bool) -> None:
    result = {"content": items, **({"structuredContent": {"items": items}} if structured else {})}
    less = cut(ToolUse("files", "files/search", b"{}", result_bytes=most), encoded(result), member="content")
    if less is None:
        return
    assert len(less) <= most
    read = json.loads(less)
    kept = read["content"][:-1]
    assert kept[:-1] == items[: len(kept)][:-1]  # only the last that stayed may be shorter
    assert read.get("structuredContent", {"items": items}) == {"items": items}


@pytest.mark.parametrize(
    "url",
    [
        "https://accounts.example.com/o?x=1#y",
        "https://xn--bcher-kva.example/",
        "https://93.184.215.14/",
        "https://a.example:8443/b",
    ],
)
def test_a_person_may_be_sent_to(url: str) -> None:
    assert unsafe_address(url) is None


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "accounts.example.com",
        "//accounts.example.com/",
        "http://accounts.example.com/",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "https:///path",
        "https://user@accounts.example.com/",
        "https://accounts.example.com@evil.example/",
        "https://accounts.example.com\\@evil.example/",
        "https://accounts.example.com/\nx",
        "https://bücher.example/",
        "https://accounts.example.com:99999/",
        "https://[::1/",
        "https://localhost/",
        "https://127.0.0.1:3000/",
        "https://[::1]/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://10.0.0.8/",
        "https://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[2002:a9fe:a9fe::]/",
        "https://[::127.0.0.1]/",
        "https://[ff02::1]/",
        "https://224.0.0.1/",
        "https://metadata.google.internal/",
        "https://printer.local/",
        "https://intranet/",
        "https://a..b.example/",
        "https://" + "a" * 3_000 + ".example/",
    ],
)
def test_nobody_is_sent_to(url: object) -> None:
    assert unsafe_address(url) is not None


def test_a_server_of_this_machine_may_send_a_person_to_this_machine() -> None:
    assert unsafe_address("http://localhost:3000/auth", loopback=True) is None
    assert unsafe_address("http://127.0.0.1:3000/auth", loopback=True) is None
    assert unsafe_address("http://169.254.169.254/", loopback=True) is not None
    assert unsafe_address("https://10.0.0.1/", loopback=True) is not None


def asks(url: str) -> dict[str, Any]:
    return {"mode": "url", "message": "log in", "url": url, "elicitationId": "e"}


SAFE, UNSAFE = "https://accounts.example.com/", "http://169.254.169.254/"


def test_a_server_that_asks_in_its_stream() -> None:
    call = dialect()
    for url, passes in ((SAFE, True), (UNSAFE, False)):
        asked = sse(encoded({"jsonrpc": "2.0", "id": 90, "method": "elicitation/create", "params": asks(url)}))
        meter = call.stream_meter(request(call))
        passed = meter.feed(asked)
        assert (passed == asked) is passes
        assert meter.done is not passes
        assert (b"comptroller/withheld" in passed) is not passes


def test_a_server_that_asks_without_being_asked_anything_goes_unheard() -> None:
    call = McpCall("files", Message("notification"), [])
    read = call.read_request()
    assert isinstance(read, McpRequest)
    meter = call.stream_meter(read)
    asked = sse(encoded({"jsonrpc": "2.0", "id": 90, "method": "elicitation/create", "params": asks(UNSAFE)}))
    changed = sse(encoded({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
    assert meter.feed(asked + changed + sse(response(texts("to nobody")))) == changed


def test_a_tool_that_asks_by_its_result() -> None:
    body, headers = modern("tools/call", CALL)
    call = dialect(body, headers)
    for url, passes in ((SAFE, True), (UNSAFE, False)):
        wanted = {"k": {"method": "elicitation/create", "params": asks(url)}}
        answer = call.read_answer(
            request(call), response({"resultType": "input_required", "inputRequests": wanted, "requestState": "s"})
        )
        assert answer.input_required is passes
        assert (answer.passed is None) is passes
        if answer.passed is not None:
            assert json.loads(answer.passed)["result"]["resultType"] == "complete"


def test_a_tool_that_asks_by_an_error() -> None:
    call = dialect()
    for url, passes in ((SAFE, True), (UNSAFE, False)):
        error = {"code": -32042, "message": "log in first", "data": {"elicitations": [asks(SAFE), asks(url)]}}
        answer = call.read_answer(request(call), encoded({"jsonrpc": "2.0", "id": 1, "error": error}))
        assert (answer.passed is None) is passes


def test_notifications_without_end_are_left_out() -> None:
    call = dialect()
    meter = call.stream_meter(request(call))
    log = sse(encoded({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x" * 1_000_000}}))
    passed = sum(len(meter.feed(log)) for _ in range(20))
    assert passed < 5_000_000
    assert meter.feed(sse(response(texts("a")))) == sse(response(texts("a")))


def test_pages_of_others_may_not_ask() -> None:
    assert not foreign_origin([(b"host", b"x")])
    assert not foreign_origin([(b"origin", b"http://localhost:6274")])
    assert not foreign_origin([(b"origin", b"http://[::1]:6274")])
    assert foreign_origin([(b"origin", b"http://evil.example")])
    assert foreign_origin([(b"origin", b"http://localhost.evil.example")])
    assert foreign_origin([(b"origin", b"null")])


def test_a_legacy_client_says_in_its_handshake_that_a_person_can_open_an_address() -> None:
    asked = {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {"url": {}}}, "clientInfo": {}}
    message = read_message(legacy("initialize", asked), [])
    assert isinstance(message, Message)
    assert message.elicits


def heard(stream: bytes) -> list[bytes | None]:
    """What a client reads of it: the half of a line end that comes late means nothing."""
    return [event_data(each) for each in EventSplitter().feed(stream)]


@pytest.mark.parametrize(
    "end",
    [
        response(texts("x" * 300)),
        encoded({"jsonrpc": "2.0", "id": 90, "method": "elicitation/create", "params": asks(UNSAFE)}),
    ],
    ids=["too large", "a bad address"],
)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_what_stands_in_for_an_event_is_the_same_wherever_the_stream_is_cut(end: bytes, line_end: bytes) -> None:
    call = dialect()
    asked = request(call, result_bytes=100)
    said = b"".join(b"id: 1" + line_end + b"data: " + each + line_end * 2 for each in (b'{"method":"n"}', end, end))
    whole = call.stream_meter(asked).feed(said)
    assert b"comptroller/" in whole
    assert len(heard(whole)) == 2
    for cut_at in range(len(said) + 1):
        meter = call.stream_meter(asked)
        passed = meter.feed(said[:cut_at]) + meter.feed(said[cut_at:]) + meter.finish()
        assert heard(passed) == heard(whole), cut_at
        assert meter.done
