"""Responses through the official `openai` package on real sockets: what works directly works through us."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.end_to_end.caller import eventually, nanos, settled_row
from tests.end_to_end.test_openai_sdk import connect
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess, charged

ASK = "Tell me about holds."
TOOL: Any = {
    "type": "function",
    "name": "lookup",
    "description": "looks things up",
    "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    "strict": True,
}


class City(BaseModel):
    name: str
    inhabitants: int


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with connect(gateway, max_retries=0) as found:
        yield found


def test_a_response_is_answered_and_charged_as_the_provider_billed_it(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    raw = client.responses.with_raw_response.create(
        model="sandbox-reasoner",
        input=[{"role": "user", "content": ASK}],
        instructions="Be short.",
        extra_headers={"session-id": "of-codex", "originator": "codex_exec", "x-codex-turn-metadata": "{}"},
    )
    answer = raw.parse()
    assert answer.output_text
    assert answer.usage is not None
    (line,) = sandbox.settled()
    assert answer.usage.output_tokens_details.reasoning_tokens == line["reasoning_tokens"] > 0
    assert nanos(raw.headers["x-comptroller-charge-usd"]) == charged([line])
    row = settled_row(gateway, raw.headers["x-comptroller-call-id"])
    assert (row["outcome"], row["presumed"]) == ("completed", False)
    assert (row["input_tokens"], row["output_tokens"]) == (line["input_tokens"], line["output_tokens"])
    assert not set(line["received_headers"]) & {"session-id", "originator", "x-codex-turn-metadata"}


def test_every_event_of_a_stream_comes_through(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    with client.responses.stream(
        model="sandbox-reasoner", input=ASK, reasoning={"summary": "auto"}, include=["reasoning.encrypted_content"]
    ) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert "response.reasoning_summary_text.delta" in kinds
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.output_text == "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert final.usage is not None
    (line,) = sandbox.settled()
    assert (final.usage.input_tokens, final.usage.output_tokens) == (line["input_tokens"], line["output_tokens"])
    row = gateway.admin("GET", "/calls?limit=1")[0]
    assert (row["outcome"], nanos(row["charge_usd"])) == ("completed", charged([line]))


def test_a_tool_is_called_and_answered(client: openai.OpenAI) -> None:
    with client.responses.stream(model="sandbox-large", input=ASK, tools=[TOOL], tool_choice="required") as stream:
        first = stream.get_final_response()
    (call,) = first.output
    assert call.type == "function_call"
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "a word"}
    turn: Any = [{"role": "user", "content": ASK}, call.model_dump(exclude={"parsed_arguments"}), output]
    assert client.responses.create(model="sandbox-large", input=turn, tools=[TOOL]).output_text


def test_structured_output(client: openai.OpenAI) -> None:
    answer = client.responses.parse(model="sandbox-large", input=ASK, text_format=City)
    assert answer.output_parsed == City(name="text", inhabitants=1)


def test_an_answer_that_reached_its_limit_is_incomplete(client: openai.OpenAI, sandbox: SandboxProcess) -> None:
    extra: Any = {"sandbox": {"output_tokens": 40}}
    answer = client.responses.create(model="sandbox-large", input=ASK, max_output_tokens=20, extra_body=extra)
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert sandbox.settled()[0]["output_tokens"] == 20


REFUSALS: list[tuple[str, dict[str, Any], int, str]] = [
    ("agent/poor", {"max_output_tokens": 2000}, 402, "budget_exhausted"),
    ("agent/ant", {"model": "nobody-serves-this"}, 404, "model_unknown"),
    ("agent/ant", {"model": "unpriced"}, 402, "price_unknown"),
    ("agent/ant", {"tools": [{"type": "web_search"}]}, 402, "estimate_unbounded"),
    ("agent/ant", {"previous_response_id": "resp_1"}, 402, "object_unknown"),
    ("agent/ant", {"background": True, "store": False}, 400, "request_invalid"),
    ("agent/ant", {"max_output_tokens": -1}, 400, "request_invalid"),
    ("service/walled", {}, 402, "provider_unavailable"),
]


@pytest.mark.parametrize(("identity", "given", "status", "code"), REFUSALS, ids=[each[3] for each in REFUSALS])
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_stops_the_client_says_what_to_do_and_is_not_retried(
    gateway: GatewayProcess,
    sandbox: SandboxProcess,
    identity: str,
    given: dict[str, Any],
    status: int,
    code: str,
    stream: bool,
) -> None:
    before = len(gateway.admin("GET", "/calls?limit=10000"))
    asked: dict[str, Any] = {"model": "sandbox-large", "input": ASK, "stream": stream} | given
    with connect(gateway, identity, max_retries=2) as client, pytest.raises(openai.APIStatusError) as raised:
        client.responses.create(**asked)
    refused = raised.value
    body: Any = refused.body
    assert (refused.status_code, refused.code) == (status, code)
    assert body["comptroller"]["hint"] in body["message"]
    assert len(gateway.admin("GET", "/calls?limit=10000")) == before + 1  # asked once, recorded once
    assert sandbox.requests() == []


def test_an_answer_that_nobody_limited_has_a_binding_limit(client: openai.OpenAI) -> None:
    answer = client.responses.create(model="sandbox-large", input=ASK)
    assert answer.max_output_tokens is not None


@pytest.mark.parametrize("after_tokens", [0, 3])
def test_a_stream_that_breaks_off_has_failed_with_our_text(
    client: openai.OpenAI, gateway: GatewayProcess, after_tokens: int
) -> None:
    extra: Any = {"sandbox": {"fault": "cut", "after_tokens": after_tokens, "output_tokens": 40}}
    with client.responses.stream(model="sandbox-large", input=ASK, extra_body=extra) as stream:
        last = list(stream)[-1]
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.code == "upstream_failed"
    assert "broke off" in last.response.error.message
    row = gateway.admin("GET", "/calls?limit=1")[0]
    assert (row["outcome"], row["presumed"], row["charge_usd"]) == ("provider_cut", True, row["held_usd"])


def test_a_stream_in_which_the_provider_fails_is_presumed(client: openai.OpenAI, gateway: GatewayProcess) -> None:
    extra: Any = {"sandbox": {"fault": "error_in_stream", "after_tokens": 3, "output_tokens": 40}}
    with client.responses.stream(model="sandbox-large", input=ASK, extra_body=extra) as stream:
        assert [event.type for event in stream][-2:] == ["error", "response.failed"]
    row = gateway.admin("GET", "/calls?limit=1")[0]
    assert (row["outcome"], row["presumed"]) == ("provider_error", True)


def test_who_hangs_up_is_charged(client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    extra: Any = {"sandbox": {"output_tokens": 200, "tokens_per_s": 200}}
    with client.responses.stream(model="sandbox-large", input=ASK, extra_body=extra) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                break
    eventually(lambda: gateway.admin("GET", "/calls?limit=1")[0]["outcome"] == "client_gone")
    (line,) = sandbox.settled()
    row = gateway.admin("GET", "/calls?limit=1")[0]
    assert 0 < int(line["charge_nanos"]) <= nanos(row["charge_usd"]) <= nanos(row["held_usd"])
