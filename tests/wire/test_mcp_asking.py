"""What the gateway asks of an MCP client in the middle of a call, and that none of it reaches a server."""

import json
from typing import Any

import pytest

from comptroller.core.refusal import Refusal
from comptroller.wire.mcp.asking import KEY, MARK, input_required_body, own_answer, own_state, without_ours
from comptroller.wire.mcp.message import Message, read_message

META: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}, "url": {}}},
}
HEADERS = [(b"mcp-protocol-version", b"2026-07-28"), (b"mcp-method", b"tools/call"), (b"mcp-name", b"delete")]
REFUSED = Refusal(code="approval_required", sentence="This call needs the approval of ops.", hint="ops was asked.")


def message(**more: Any) -> Message:
    params: dict[str, Any] = {"name": "delete", "arguments": {"path": "/srv/a"}, "_meta": META} | more
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).encode()
    read = read_message(body, HEADERS)
    assert isinstance(read, Message), read
    return read


def test_the_question_is_an_address_to_open_and_a_state_to_bring_back() -> None:
    asked = message()
    assert asked.elicits
    said = json.loads(input_required_body(asked, REFUSED, "http://gateway.example/apr_1", f"{MARK}x"))
    assert (said["id"], said["result"]["resultType"]) == (7, "input_required")
    assert said["result"]["requestState"] == f"{MARK}x"
    ((key, question),) = said["result"]["inputRequests"].items()
    assert (key, question["method"]) == (KEY, "elicitation/create")
    assert question["params"] == {"mode": "url", "message": REFUSED.message, "url": "http://gateway.example/apr_1"}


@pytest.mark.parametrize(
    ("state", "ours"),
    [(f"{MARK}x", True), ("of-the-server", False), ({"of": "the server"}, False), (f" {MARK}x", False), ("", False)],
)
def test_only_what_has_our_mark_is_ours(state: object, ours: bool) -> None:
    assert own_state(message(requestState=state)) == (state if ours else None)
    assert own_state(message()) is None


@pytest.mark.parametrize(
    ("responses", "said"),
    [
        ({KEY: {"action": "accept"}}, "accept"),
        ({KEY: {"action": "decline"}}, "decline"),
        ({KEY: {"action": "cancel"}}, "cancel"),
        ({}, "accept"),
        (None, "accept"),
    ],
)
def test_what_the_user_said_is_read(responses: Any, said: str) -> None:
    more = {} if responses is None else {"inputResponses": responses}
    assert own_answer(message(**more)) == said


@pytest.mark.parametrize("responses", [{KEY: "yes"}, {KEY: {"action": "approve"}}, {KEY: {}}, ["accept"], "accept"])
def test_an_answer_that_is_none_is_refused(responses: object) -> None:
    said = own_answer(message(inputResponses=responses))
    assert isinstance(said, Refusal)
    assert said.code == "request_invalid"


def test_nothing_of_ours_goes_on_and_what_the_server_had_been_told_does() -> None:
    plain = message()
    ours = message(requestState=f"{MARK}x", inputResponses={KEY: {"action": "accept"}})
    assert json.loads(without_ours(ours).body) == json.loads(plain.body)
    state, responses = b'"of-the-server"', b'{"q":{"action":"accept","content":{"a":1}}}'
    on = without_ours(ours, state, responses)
    params = json.loads(on.body)["params"]
    assert (params["requestState"], params["inputResponses"]) == (json.loads(state), json.loads(responses))
    assert params["arguments"] == {"path": "/srv/a"}
    assert (on.request_state, on.input_responses, on.id) == (state, responses, ours.id)
    assert json.loads(on.params) == params
