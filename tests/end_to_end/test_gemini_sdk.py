"""The official `google-genai` package against the gateway on real sockets: what works directly works through us."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from comptroller.client import Refused
from tests.end_to_end.caller import Row, ask, budget_of, eventually, mint, nanos, settled_row
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import Line, SandboxProcess

pytestmark = pytest.mark.processes

ASK = "Tell me about holds."
LOOKUP = types.FunctionDeclaration(
    name="lookup",
    description="looks things up",
    parameters=types.Schema(type=types.Type.OBJECT, properties={"word": types.Schema(type=types.Type.STRING)}),
)
FORCED = types.GenerateContentConfig(
    tools=[types.Tool(function_declarations=[LOOKUP])],
    tool_config=types.ToolConfig(
        function_calling_config=types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.ANY)
    ),
    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
)


def connect(
    gateway: GatewayProcess, identity: str = "agent/ant", *, base: str = "", version: str | None = None
) -> genai.Client:
    options = types.HttpOptions(base_url=gateway.url + base, api_version=version, timeout=30_000)
    return genai.Client(api_key=mint(gateway, identity)["credential"], http_options=options, vertexai=False)


def rehearsed(**control: Any) -> types.GenerateContentConfig:
    """A wish to the sandbox, beside what the SDK knows."""
    return types.GenerateContentConfig(http_options=types.HttpOptions(extra_body={"sandbox": control}))


def generate(
    client: genai.Client, stream: bool, config: types.GenerateContentConfig, model: str = "sandbox-large"
) -> list[types.GenerateContentResponse]:
    """The answer, or all that came of it as a stream."""
    if stream:
        return list(client.models.generate_content_stream(model=model, contents=ASK, config=config))
    return [client.models.generate_content(model=model, contents=ASK, config=config)]


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[genai.Client]:
    with connect(gateway) as found:
        yield found


def the_row(gateway: GatewayProcess, line: Line) -> Row:
    """The call behind a line of the provider's bill, which must agree on every meter."""
    row = settled_row(gateway, line["client_request_id"].removesuffix(".1"))
    assert nanos(row["charge_usd"]) == int(line["charge_nanos"])
    for meter in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"):
        assert row[meter] == line[meter], meter
    assert (row["outcome"], row["presumed"]) == ("completed", False)
    return row


@pytest.mark.parametrize("base", ["", "/gemini"])
@pytest.mark.parametrize("version", [None, "v1", "v1beta"])
def test_content_is_answered_and_charged_as_the_provider_billed_it(
    gateway: GatewayProcess, sandbox: SandboxProcess, base: str, version: str | None
) -> None:
    with connect(gateway, base=base, version=version) as client:
        answer = client.models.generate_content(model="sandbox-large", contents=ASK)
    assert answer.text
    (line,) = sandbox.settled()
    row = the_row(gateway, line)
    assert (row["identity"], row["served_model"]) == ("agent/ant", answer.model_version)
    assert line["path_query"] == f"/{version or 'v1'}/models/sandbox-large:generateContent"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.total_token_count == line["input_tokens"] + line["output_tokens"]
    assert answer.sdk_http_response is not None
    headers = answer.sdk_http_response.headers or {}
    assert headers["x-comptroller-call-id"] == row["id"]
    assert nanos(headers["x-comptroller-charge-usd"]) == int(line["charge_nanos"])


def test_the_gateway_sends_its_own_key_and_nothing_of_the_callers(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    with connect(gateway) as client:
        client.models.generate_content(
            model="sandbox-small",
            contents=ASK,
            config=types.GenerateContentConfig(
                http_options=types.HttpOptions(headers={"x-goog-user-project": "p", "x-goog-fieldmask": "candidates"})
            ),
        )
    (line,) = sandbox.settled()
    sent = set(line["received_headers"])
    assert "x-goog-api-key" in sent
    assert not sent & {"authorization", "x-goog-user-project", "x-goog-fieldmask", "x-goog-api-client", "user-agent"}
    assert line["key"] is not None
    the_row(gateway, line)


def test_a_stream_passes_and_is_charged_exactly(
    client: genai.Client, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    chunks = list(client.models.generate_content_stream(model="sandbox-large", contents=ASK))
    assert "".join(chunk.text or "" for chunk in chunks)
    last = chunks[-1]
    assert last.candidates is not None
    assert last.candidates[0].finish_reason is types.FinishReason.STOP
    (line,) = sandbox.settled()
    assert line["path_query"] == "/v1/models/sandbox-large:streamGenerateContent?alt=sse"
    assert last.usage_metadata is not None
    assert last.usage_metadata.candidates_token_count == line["output_tokens"]
    the_row(gateway, line)


def test_the_asynchronous_client(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    async def both() -> None:
        async with connect(gateway).aio as client:
            await client.models.generate_content(model="sandbox-small", contents=ASK)
            stream = await client.models.generate_content_stream(model="sandbox-small", contents=ASK)
            assert "".join([chunk.text or "" async for chunk in stream])

    asyncio.run(both())
    for line in sandbox.settled(2):
        the_row(gateway, line)


@pytest.mark.parametrize("stream", [False, True])
def test_functions(client: genai.Client, gateway: GatewayProcess, sandbox: SandboxProcess, stream: bool) -> None:
    calls = [call for answer in generate(client, stream, FORCED) for call in answer.function_calls or ()]
    assert [(call.name, call.args) for call in calls] == [("lookup", {"word": "text"})]
    (line,) = sandbox.settled()
    the_row(gateway, line)


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_are_shown_and_charged(
    client: genai.Client, gateway: GatewayProcess, sandbox: SandboxProcess, stream: bool
) -> None:
    config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
    answers = generate(client, stream, config, "sandbox-reasoner")
    parts = [part for answer in answers for part in answer.parts or ()]
    thought = [bool(part.thought) for part in parts if part.text]
    assert thought == sorted(thought, reverse=True)
    assert set(thought) == {True, False}
    (line,) = sandbox.settled()
    assert line["reasoning_tokens"] > 0
    assert answers[-1].usage_metadata is not None
    assert answers[-1].usage_metadata.thoughts_token_count == line["reasoning_tokens"]
    the_row(gateway, line)


def test_several_candidates_and_a_cached_prompt(
    client: genai.Client, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    config = types.GenerateContentConfig(candidate_count=3, system_instruction="a long prompt " * 400)
    for _ in range(2):
        answer = client.models.generate_content(model="sandbox-small", contents=ASK, config=config)
        assert len(answer.candidates or ()) == 3
    _, read = lines = sandbox.settled(2)
    assert read["cached_tokens"] > 0
    for line in lines:
        the_row(gateway, line)


@pytest.mark.parametrize("stream", [False, True])
def test_the_output_limit_binds(
    client: genai.Client, gateway: GatewayProcess, sandbox: SandboxProcess, stream: bool
) -> None:
    answer = generate(client, stream, types.GenerateContentConfig(max_output_tokens=3))[-1]
    assert answer.candidates is not None
    assert answer.candidates[0].finish_reason is types.FinishReason.MAX_TOKENS
    (line,) = sandbox.settled()
    assert line["output_tokens"] == 3
    the_row(gateway, line)


def test_counting_is_free(client: genai.Client, gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    assert (client.models.count_tokens(model="sandbox-large", contents=ASK).total_tokens or 0) > 0
    (line,) = sandbox.settled()
    row = settled_row(gateway, line["client_request_id"].removesuffix(".1"))
    assert (row["charge_usd"], row["held_usd"], line["charge_nanos"]) == ("0.00", "0.00", "0")


def test_embeddings(client: genai.Client, gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    given: Any = [ASK, "And about budgets?"]
    found = client.models.embed_content(model="sandbox-small", contents=given)
    assert [len(each.values or ()) for each in found.embeddings or ()] == [8, 8]
    (line,) = sandbox.settled()
    assert line["path_query"].startswith("/v1/models/sandbox-small:")
    the_row(gateway, line)


def test_the_models(client: genai.Client) -> None:
    assert {model.name for model in client.models.list()} >= {"models/no-images", "models/unpriced"}
    assert client.models.get(model="sandbox-large").output_token_limit == 4096


# --- refusals and faults ------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_raised_with_our_text_and_not_tried_again(
    gateway: GatewayProcess, sandbox: SandboxProcess, stream: bool
) -> None:
    config = types.GenerateContentConfig(max_output_tokens=4000)
    with connect(gateway, "agent/poor") as client, pytest.raises(errors.ClientError) as caught:
        generate(client, stream, config)
    assert (caught.value.code, caught.value.status) == (402, "FAILED_PRECONDITION")
    assert "poor-day" in (caught.value.message or "")
    no = Refused.of(caught.value)
    assert no is not None
    assert (no.code, no.status, no.limit) == ("budget_exhausted", 402, "poor-day")
    assert sandbox.requests() == []


@pytest.mark.parametrize(("model", "status"), [("nobody", 404), ("unpriced", 402)])
def test_models_that_cannot_be_called(client: genai.Client, model: str, status: int) -> None:
    with pytest.raises(errors.ClientError) as caught:
        client.models.generate_content(model=model, contents=ASK)
    assert caught.value.code == status
    assert model in (caught.value.message or "")


def test_a_tool_of_the_provider_is_refused_under_a_budget(client: genai.Client, sandbox: SandboxProcess) -> None:
    config = types.GenerateContentConfig(tools=[types.Tool(google_search=types.GoogleSearch())])
    with pytest.raises(errors.ClientError) as caught:
        client.models.generate_content(model="sandbox-large", contents=ASK, config=config)
    assert (caught.value.code, "googleSearch" in (caught.value.message or "")) == (402, True)
    assert sandbox.requests() == []


@pytest.mark.parametrize("fault", ["error_in_stream", "cut"])
def test_a_stream_that_breaks_is_raised_and_charged(
    client: genai.Client, gateway: GatewayProcess, sandbox: SandboxProcess, fault: str
) -> None:
    config = rehearsed(fault=fault, after_tokens=2, output_tokens=20)
    stream = client.models.generate_content_stream(model="sandbox-large", contents=ASK, config=config)
    heard = next(stream).text
    with pytest.raises(errors.APIError) as caught:
        list(stream)
    assert heard
    assert caught.value.code in {500, 502}
    (line,) = sandbox.settled()
    row = settled_row(gateway, line["client_request_id"].removesuffix(".1"))
    assert row["presumed"]
    assert nanos(row["charge_usd"]) >= int(line["charge_nanos"])


@pytest.mark.parametrize(
    ("fault", "presumed"), [("usage_twice", False), ("usage_zero", False), ("no_usage", True), ("overrun", False)]
)
@pytest.mark.parametrize("stream", [False, True])
def test_odd_reports(
    client: genai.Client, gateway: GatewayProcess, sandbox: SandboxProcess, fault: str, presumed: bool, stream: bool
) -> None:
    generate(client, stream, rehearsed(fault=fault))
    (line,) = sandbox.settled()
    row = settled_row(gateway, line["client_request_id"].removesuffix(".1"))
    assert row["presumed"] is presumed
    if presumed:
        assert nanos(row["charge_usd"]) == nanos(row["held_usd"]) > int(line["charge_nanos"])
    else:
        assert nanos(row["charge_usd"]) == int(line["charge_nanos"])


def test_a_stop_in_the_middle_of_a_stream_is_raised_with_its_reason(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    session = mint(gateway)
    options = types.HttpOptions(base_url=gateway.url, timeout=30_000)
    with genai.Client(api_key=session["credential"], http_options=options, vertexai=False) as client:
        config = rehearsed(output_tokens=2_000, tokens_per_s=100)
        stream = client.models.generate_content_stream(model="sandbox-large", contents=ASK, config=config)
        assert next(stream).text
        gateway.admin("POST", f"/sessions/{session['session']}/end", {"reason": "loops"})
        with pytest.raises(errors.ClientError, match="stopped in flight") as caught:
            list(stream)
    no = Refused.of(caught.value)
    assert no is not None
    assert (no.code, no.status) == ("session_ended", None)


def test_a_caller_that_hangs_up_is_charged(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    with connect(gateway) as client:
        stream = client.models.generate_content_stream(
            model="sandbox-large", contents=ASK, config=rehearsed(output_tokens=200, tokens_per_s=500)
        )
        assert next(iter(stream)).text
        del stream
    (line,) = sandbox.settled()
    row = settled_row(gateway, line["client_request_id"].removesuffix(".1"))
    assert nanos(row["charge_usd"]) >= int(line["charge_nanos"]) > 0
    assert eventually(lambda: budget_of(gateway, "ant-all")["held"] in {"0.00", "0"})


def test_embeddings_of_a_model_that_reports_no_usage_are_presumed(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    body = {"content": {"parts": [{"text": ASK}]}, "sandbox": {"fault": "no_usage"}}
    said = ask(gateway, mint(gateway)["credential"], body, path="/v1beta/models/sandbox-small:embedContent")
    assert (said.status, list(json.loads(said.body))) == (200, ["embedding"])
    row = settled_row(gateway, said.call_id)
    (line,) = sandbox.settled()
    assert row["presumed"]
    assert nanos(row["charge_usd"]) == nanos(row["held_usd"]) >= int(line["charge_nanos"]) > 0
