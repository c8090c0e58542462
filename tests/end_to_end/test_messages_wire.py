"""Messages as older SDKs and plain HTTP clients speak it: `x-api-key`, version 2023-06-01 or none at all."""

import json
from typing import Any

import pytest

from tests.end_to_end.caller import Row, Said, ask, mint, nanos, settled_row
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

MESSAGES = "/v1/messages"
OLD = {"anthropic-version": "2023-06-01", "anthropic-beta": "tools-2024-04-04", "x-stainless-lang": "python"}


def message(text: str = "Tell me about holds.", /, **fields: Any) -> Row:
    return {"model": "sandbox-large", "max_tokens": 200, "messages": [{"role": "user", "content": text}]} | fields


def ask_as_old(gateway: GatewayProcess, credential: str, body: Row | bytes, path: str = MESSAGES) -> Said:
    return ask(gateway, None, body, path=path, headers={**OLD, "x-api-key": credential})


def events_of(said: Said) -> list[tuple[str, Any]]:
    parts = [event.partition("\ndata: ") for event in said.body.decode().split("\n\n") if event]
    return [(head.removeprefix("event: "), json.loads(data)) for head, _, data in parts]


def assert_charged_as_billed(gateway: GatewayProcess, sandbox: SandboxProcess, call_id: str) -> None:
    (line,) = sandbox.settled()
    row = settled_row(gateway, call_id)
    assert line["client_request_id"] == f"{call_id}.1"
    assert nanos(row["charge_usd"]) == int(line["charge_nanos"]) > 0
    assert (row["input_tokens"], row["output_tokens"]) == (line["input_tokens"], line["output_tokens"])
    assert (row["outcome"], row["presumed"], row["identity"]) == ("completed", False, "agent/ant")


@pytest.fixture
def credential(gateway: GatewayProcess) -> str:
    return mint(gateway)["credential"]


@pytest.mark.parametrize("path", [MESSAGES, "/anthropic/v1/messages", "/v1/messages?beta=true&key=k"])
def test_a_message(gateway: GatewayProcess, sandbox: SandboxProcess, credential: str, path: str) -> None:
    said = ask_as_old(gateway, credential, message(), path)
    answer = json.loads(said.body)
    assert (said.status, answer["type"], answer["stop_reason"]) == (200, "message", "end_turn")
    assert_charged_as_billed(gateway, sandbox, said.call_id)
    (line,) = sandbox.settled()
    assert nanos(said.headers["x-comptroller-charge-usd"]) == int(line["charge_nanos"])
    assert (line["api_version"], line["path_query"]) == ("2023-06-01", f"/v1/messages{'?beta=true' * ('?' in path)}")
    assert {"x-api-key", "anthropic-beta"} <= set(line["received_headers"])
    assert not {"authorization", "x-stainless-lang"} & set(line["received_headers"])


def test_a_stream(gateway: GatewayProcess, sandbox: SandboxProcess, credential: str) -> None:
    said = ask_as_old(gateway, credential, message(stream=True))
    names = [name for name, _ in events_of(said)]
    assert (names[0], names[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert_charged_as_billed(gateway, sandbox, said.call_id)


def test_tools(gateway: GatewayProcess, sandbox: SandboxProcess, credential: str) -> None:
    tool = {"name": "lookup", "input_schema": {"type": "object", "properties": {"word": {"type": "string"}}}}
    said = ask_as_old(gateway, credential, message(tools=[tool], tool_choice={"type": "any"}))
    assert json.loads(said.body)["content"][0]["input"] == {"word": "text"}
    assert_charged_as_billed(gateway, sandbox, said.call_id)


def test_a_version_is_added_where_the_caller_sent_none(
    gateway: GatewayProcess, sandbox: SandboxProcess, credential: str
) -> None:
    assert ask(gateway, credential, message(), path=MESSAGES).status == 200
    (line,) = sandbox.settled()
    assert line["api_version"] == "2023-06-01"


@pytest.mark.parametrize(
    ("fields", "status", "kind", "code"),
    [
        ({"model": "nobody"}, 404, "not_found_error", "model_unknown"),
        ({"model": "unpriced"}, 402, "billing_error", "price_unknown"),
        ({"max_tokens": None}, 400, "invalid_request_error", "request_invalid"),
        (
            {"service_tier": "standard_only", "mcp_servers": [{"type": "url"}]},
            402,
            "billing_error",
            "estimate_unbounded",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_has_the_shape_that_old_clients_know(
    gateway: GatewayProcess,
    sandbox: SandboxProcess,
    credential: str,
    fields: Row,
    status: int,
    kind: str,
    code: str,
    stream: bool,
) -> None:
    said = ask_as_old(gateway, credential, message(**fields, stream=stream))
    body = json.loads(said.body)
    assert (said.status, body["type"], body["error"]["type"]) == (status, "error", kind)
    assert body["error"]["comptroller"]["code"] == said.headers["x-comptroller-refusal"] == code
    assert said.headers["request-id"] == body["request_id"] == said.call_id
    assert said.headers["x-should-retry"] == "false"
    assert sandbox.requests() == []


def test_a_bad_credential_in_the_slot(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    said = ask_as_old(gateway, "sk-ant-api03-x", message())
    assert (said.status, said.error["type"]) == (401, "authentication_error")
    assert sandbox.requests() == []


def test_a_stream_that_breaks_off_ends_with_an_error_event(
    gateway: GatewayProcess, sandbox: SandboxProcess, credential: str
) -> None:
    said = ask_as_old(gateway, credential, message(stream=True, sandbox={"fault": "cut", "after_tokens": 3}))
    name, data = events_of(said)[-1]
    assert (name, data["type"], data["error"]["type"]) == ("error", "error", "api_error")
    assert "broke off" in data["error"]["message"]
    row = settled_row(gateway, said.call_id)
    (line,) = sandbox.settled()
    assert (row["outcome"], row["presumed"]) == ("provider_cut", True)
    assert nanos(row["charge_usd"]) >= int(line["charge_nanos"])
