"""Nonsense from clients and servers of MCP: nothing raises, and nothing that is no answer is taken for one."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from comptroller.wire.mcp import lists
from comptroller.wire.mcp.message import Message, read_message
from comptroller.wire.mcp.rpc import Fault
from tests.wire.mcp_messages import META, encoded, response, sse
from tests.wire.test_mcp_answer import dialect, request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
METHODS = st.sampled_from(["tools/call", "tools/list", "resources/read", "initialize", "notifications/x", "x"]) | JSON
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "id": st.just(1) | JSON,
        "method": METHODS,
        "params": st.fixed_dictionaries(
            {},
            optional={
                "name": st.just("a") | JSON,
                "uri": JSON,
                "arguments": JSON,
                "_meta": st.just(META) | JSON,
                "requestState": JSON,
            },
        )
        | JSON,
        "result": JSON | st.fixed_dictionaries({"tools": JSON}),
        "error": JSON,
    },
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([b"mcp-protocol-version", b"mcp-method", b"mcp-name", b"origin"]),
        st.sampled_from([b"2026-07-28", b"2025-06-18", b"tools/call", b"a", b"=?base64?YQ==?="])
        | st.binary(max_size=8),
    ),
    max_size=4,
)


@given(st.binary(max_size=60) | ENVELOPES.map(encoded), HEADERS)
def test_any_message_is_one_or_is_refused_in_json_rpc(body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    read = read_message(body, headers)
    if isinstance(read, Fault):
        said = json.loads(read.body())
        assert said["jsonrpc"] == "2.0"
        assert 200 <= read.status < 500
    else:
        assert isinstance(read, Message)
        assert (read.id is None) == (read.kind == "notification")
        assert isinstance(json.loads(read.arguments), dict) or not read.governed


@given(st.binary(max_size=60) | ENVELOPES.map(encoded))
def test_any_answer_is_ours_or_malformed(body: bytes) -> None:
    call = dialect()
    answer = call.read_answer(request(call, result_bytes=100), body)
    if not answer.malformed:
        said = json.loads(body)
        assert said["id"] == 1
        assert ("result" in said) != ("error" in said)


@given(st.lists(st.binary(max_size=60) | ENVELOPES.map(encoded).map(sse), max_size=5), st.integers(0, 400))
def test_any_stream_passes_or_ends(parts: list[bytes], at: int) -> None:
    call = dialect()
    meter = call.stream_meter(request(call, result_bytes=100))
    said = b"".join(parts)
    meter.feed(said[:at])
    meter.feed(said[at:])
    meter.finish()
    assert meter.done == (meter.usage is not None)


@given(st.binary(max_size=60) | JSON.map(response) | ENVELOPES.map(encoded).map(sse))
def test_any_list_is_one_or_is_malformed(body: bytes) -> None:
    try:
        named = [each.name for each in lists.definitions(body)]
        left = lists.definitions(lists.filtered(body, dict.fromkeys(named, "no")))
    except lists.Malformed:
        return
    assert not left
