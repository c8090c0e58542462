"""Messages of MCP clients: both eras, and what is refused before anybody asks a server."""

from __future__ import annotations

import json

import pytest

from comptroller.wire.mcp.message import Message, read_message
from comptroller.wire.mcp.rpc import Fault
from tests.wire.mcp_messages import META, encoded, legacy, modern

CALL = {"name": "read_text_file", "arguments": {"path": "/srv/docs/a.md"}}


def read(body: bytes, *headers: tuple[bytes, bytes]) -> Message:
    message = read_message(body, headers)
    assert isinstance(message, Message), message
    return message


def fault(body: bytes, *headers: tuple[bytes, bytes]) -> Fault:
    found = read_message(body, headers)
    assert isinstance(found, Fault), found
    return found


def test_legacy_call() -> None:
    message = read(legacy("tools/call", CALL, "a-7"), (b"mcp-protocol-version", b"2025-06-18"))
    assert (message.kind, message.method, message.name) == ("request", "tools/call", "read_text_file")
    assert bytes(message.id or b"") == b'"a-7"'
    assert message.arguments == b'{"path":"/srv/docs/a.md"}'
    assert (message.version, message.modern, message.governed) == ("2025-06-18", False, True)


def test_modern_call() -> None:
    body, headers = modern("tools/call", {**CALL, "inputResponses": {"k": {"action": "accept"}}, "requestState": "s"})
    message = read(body, *headers)
    assert (message.version, message.modern, message.name) == ("2026-07-28", True, "read_text_file")
    assert message.input_responses == b'{"k":{"action":"accept"}}'
    assert message.request_state == b'"s"'
    assert not message.elicits
    assert message.body == body


@pytest.mark.parametrize(
    ("capabilities", "elicits"),
    [
        ({}, False),
        ({"elicitation": {}}, False),
        ({"elicitation": {"form": {}}}, False),
        ({"elicitation": {"url": {}}}, True),
    ],
)
def test_whether_a_person_can_be_sent_to_an_address(capabilities: dict[str, object], elicits: bool) -> None:
    body, headers = modern("tools/call", CALL, **{"io.modelcontextprotocol/clientCapabilities": capabilities})
    assert read(body, *headers).elicits is elicits


def test_arguments_that_are_left_out_are_none() -> None:
    assert read(legacy("tools/call", {"name": "a"})).arguments == b"{}"
    assert read(legacy("tools/call", {"name": "a", "arguments": None})).arguments == b"{}"


def test_the_handshake_says_its_version_in_the_body() -> None:
    asked = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    assert read(legacy("initialize", asked)).version == "2025-06-18"
    assert read(legacy("initialize", {**asked, "protocolVersion": "2031-01-01"})).version == "2025-11-25"


def test_without_a_version_it_is_of_the_revision_that_had_no_header() -> None:
    assert read(legacy("tools/list")).version == "2025-03-26"


def test_notifications_and_responses() -> None:
    cancelled = encoded({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 4}})
    assert read(cancelled).kind == "notification"
    assert read(cancelled, (b"mcp-protocol-version", b"2026-07-28")).modern
    answered = encoded({"jsonrpc": "2.0", "id": 9, "result": {"action": "decline"}})
    assert read(answered).kind == "response"
    assert fault(answered, (b"mcp-protocol-version", b"2026-07-28")).code == -32600


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}x', -32700),
        (b"\xff{}", -32700),
        (b"[" + legacy("ping") + b"]", -32600),
        (b'"ping"', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
        (b'{"id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b'{"a":' * 150 + b"1" + b"}" * 151, -32600),
        (legacy("tools/call", {}), -32602),
        (legacy("tools/call", {"name": 7}), -32602),
        (legacy("tools/call", {"name": ""}), -32602),
        (legacy("tools/call", {"name": "a", "arguments": []}), -32602),
        (legacy("resources/read", {"uri": None}), -32602),
        (legacy("resources/read", {"uri": "a:b", "arguments": 7}), -32602),
        (legacy("prompts/get", {"name": ["a"]}), -32602),
        (legacy("sampling/createMessage", {}), -32601),
        (legacy("tools/call2", CALL), -32601),
        (encoded({"jsonrpc": "2.0", "method": "tools/call", "params": CALL}), -32601),
    ],
)
def test_what_is_no_message(body: bytes, code: int) -> None:
    found = fault(body)
    assert found.code == code
    said = json.loads(found.body())
    assert said["jsonrpc"] == "2.0"
    assert said["error"]["code"] == code


def test_a_fault_answers_the_request_that_it_refuses() -> None:
    assert json.loads(fault(legacy("tools/nothing", {}, "x1")).body())["id"] == "x1"
    assert json.loads(fault(b"{").body())["id"] is None


def test_statuses_follow_the_era() -> None:
    body, headers = modern("sampling/createMessage")
    assert fault(body, *headers).status == 404
    assert fault(legacy("sampling/createMessage")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        [(b"mcp-method", b"tools/call"), (b"mcp-name", b"read_text_file")],
        [(b"mcp-protocol-version", b"2025-11-25"), (b"mcp-method", b"tools/call"), (b"mcp-name", b"read_text_file")],
        [(b"mcp-protocol-version", b"2026-07-28"), (b"mcp-name", b"read_text_file")],
        [(b"mcp-protocol-version", b"2026-07-28"), (b"mcp-method", b"tools/list"), (b"mcp-name", b"read_text_file")],
        [(b"mcp-protocol-version", b"2026-07-28"), (b"mcp-method", b"tools/call")],
        [(b"mcp-protocol-version", b"2026-07-28"), (b"mcp-method", b"tools/call"), (b"mcp-name", b"write_file")],
        [(b"mcp-protocol-version", b"2026-07-28"), (b"mcp-method", b"tools/call"), (b"mcp-name", b"=?base64?AA?=")],
        [(b"mcp-protocol-version", b"2026-07-28")] * 2
        + [(b"mcp-method", b"tools/call"), (b"mcp-name", b"read_text_file")],
    ],
)
def test_modern_headers_say_what_the_body_says(headers: list[tuple[bytes, bytes]]) -> None:
    body, _ = modern("tools/call", CALL)
    found = fault(body, *headers)
    assert (found.code, found.status) == (-32020, 400)


def test_a_name_that_no_header_can_hold_is_written_in_base64() -> None:
    body, headers = modern("resources/read", {"uri": "file:///Grüße"})
    written = [(name, value) for name, value in headers if name != b"mcp-name"]
    assert read(body, *written, (b"mcp-name", b"=?base64?ZmlsZTovLy9HcsO8w59l?=")).name == "file:///Grüße"


def test_a_legacy_message_may_not_be_routed_by_another_name_either() -> None:
    assert read(legacy("tools/call", CALL), (b"mcp-name", b"read_text_file")).name == "read_text_file"
    assert fault(legacy("tools/call", CALL), (b"mcp-name", b"write_file")).code == -32020
    assert fault(legacy("tools/call", CALL), (b"mcp-method", b"ping")).code == -32020


@pytest.mark.parametrize(
    "missing", ["io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities"]
)
def test_a_modern_request_says_all_of_itself(missing: str) -> None:
    _, headers = modern("tools/list")
    body = legacy("tools/list", {"_meta": {name: value for name, value in META.items() if name != missing}})
    found = fault(body, *headers)
    assert (found.code, found.status) == (-32602, 400)
    assert missing in found.message


def test_a_version_that_nobody_knows() -> None:
    body = legacy("tools/list", {"_meta": {**META, "io.modelcontextprotocol/protocolVersion": "2031-01-01"}})
    found = fault(body, (b"mcp-protocol-version", b"2031-01-01"), (b"mcp-method", b"tools/list"))
    assert (found.code, found.status) == (-32022, 400)
    assert found.data == {"supported": ["2026-07-28"], "requested": "2031-01-01"}
