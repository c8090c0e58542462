"""The official `openai` package against the gateway on real sockets: what works directly works through us."""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess, charged

ASK: list[Any] = [{"role": "user", "content": "Tell me about holds."}]
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "looks things up",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    },
}


def connect(gateway: GatewayProcess, identity: str = "agent/ant", **given: Any) -> openai.OpenAI:
    credential = gateway.admin("POST", "/sessions", {"identity": identity})["credential"]
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=credential, **given)


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with connect(gateway) as found:
        yield found


def nanos(usd: str) -> int:
    whole, _, fraction = usd.partition(".")
    return int(whole) * 10**9 + int(fraction.ljust(9, "0"))


def test_a_chat_is_answered_and_charged_as_the_provider_billed_it(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    raw = client.chat.completions.with_raw_response.create(model="sandbox-large", messages=ASK)
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.usage is not None
    headers = raw.headers
    (line,) = sandbox.settled()
    assert nanos(headers["x-comptroller-charge-usd"]) == charged([line])
    assert headers["x-comptroller-model"].startswith("sandbox-large")
    assert "x-comptroller-remaining-usd" in headers
    (row,) = [
        row for row in gateway.admin("GET", "/calls?limit=10000") if row["id"] == headers["x-comptroller-call-id"]
    ]
    assert line["client_request_id"] == f"{row['id']}.1"
    assert (row["identity"], row["outcome"], row["presumed"]) == ("agent/ant", "completed", False)
    assert (row["input_tokens"], row["output_tokens"]) == (line["input_tokens"], line["output_tokens"])


def test_the_gateway_sends_no_credential_and_no_account_header_of_the_caller(
    client: openai.OpenAI, sandbox: SandboxProcess
) -> None:
    client.chat.completions.create(
        model="sandbox-small",
        messages=ASK,
        extra_headers={"openai-organization": "org-other", "openai-project": "p", "x-api-key": client.api_key},
    )
    (line,) = sandbox.settled()
    sent = set(line["received_headers"])
    assert not sent & {"openai-organization", "openai-project", "x-api-key", "x-stainless-lang", "cookie"}
    assert line["key"] is not None


@pytest.mark.parametrize("asked", [True, False])
def test_a_stream_passes_and_shows_usage_only_to_those_who_ask(
    client: openai.OpenAI, sandbox: SandboxProcess, asked: bool
) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if asked else {}
    chunks = list(client.chat.completions.create(model="sandbox-large", messages=ASK, stream=True, **options))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    (line,) = sandbox.settled()
    assert text
    assert bool([chunk for chunk in chunks if not chunk.choices]) is asked
    assert chunks[-1].usage is not None if asked else all(chunk.usage is None for chunk in chunks)
    assert line["state"] == "done"


def test_a_stream_that_nobody_asked_usage_for_is_charged_exactly(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    with client.chat.completions.with_streaming_response.create(
        model="sandbox-large", messages=ASK, stream=True
    ) as raw:
        call_id = raw.headers["x-comptroller-call-id"]
        for _ in raw.iter_lines():
            pass
    lines = sandbox.settled()
    (row,) = [row for row in gateway.admin("GET", "/calls?limit=10000") if row["id"] == call_id]
    assert nanos(row["charge_usd"]) == charged(lines)
    assert row["presumed"] is False


def test_reasoning_and_cached_tokens_are_charged_at_their_own_prices(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    long: list[Any] = [{"role": "user", "content": "a long prompt that is sent twice " * 40}]
    for _ in range(2):
        client.chat.completions.create(model="sandbox-reasoner", messages=long)
    lines = sandbox.settled(2)
    assert lines[1]["cached_tokens"] > 0
    assert lines[1]["reasoning_tokens"] > 0
    rows = {f"{row['id']}.1": row for row in gateway.admin("GET", "/calls?limit=10000")}
    for line in lines:
        row = rows[line["client_request_id"]]
        assert nanos(row["charge_usd"]) == int(line["charge_nanos"])
        assert (row["cached_tokens"], row["reasoning_tokens"]) == (line["cached_tokens"], line["reasoning_tokens"])


@pytest.mark.parametrize("stream", [False, True])
def test_tools(client: openai.OpenAI, stream: bool) -> None:
    given: Any = {"model": "sandbox-large", "messages": ASK, "tools": [TOOL], "tool_choice": "required"}
    if stream:
        chunks = list(client.chat.completions.create(stream=True, **given))
        calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
        assert calls[0].function is not None
        assert calls[0].function.name == "lookup"
        assert "".join(call.function.arguments or "" for call in calls if call.function).startswith("{")
    else:
        message = client.chat.completions.create(**given).choices[0].message
        assert message.tool_calls is not None
        assert message.tool_calls[0].type == "function"


def test_the_async_client_at_once(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    token = gateway.token("agent/ant")

    async def all_at_once() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=token) as client:
            calls = [client.chat.completions.create(model="sandbox-small", messages=ASK) for _ in range(20)]
            return await asyncio.gather(*calls)

    assert len(asyncio.run(all_at_once())) == 20
    rows = {f"{row['id']}.1": row for row in gateway.admin("GET", "/calls?limit=10000")}
    lines = sandbox.settled(20)
    assert sum(nanos(rows[line["client_request_id"]]["charge_usd"]) for line in lines) == charged(lines)


def test_an_output_limit_that_is_not_affordable_is_lowered_and_said(gateway: GatewayProcess) -> None:
    short: Any = {"sandbox": {"output_tokens": 3}}
    with connect(gateway, "agent/poor") as client:
        raw = client.chat.completions.with_raw_response.create(
            model="sandbox-small", messages=ASK, max_completion_tokens=4000, extra_body=short
        )
        assert "x-comptroller-output-limit" not in raw.headers  # 4000 tokens of the small model are affordable
        with pytest.raises(openai.APIStatusError) as refused:
            client.chat.completions.create(
                model="sandbox-large", messages=ASK, max_completion_tokens=2000, extra_body=short
            )
        detail: Any = refused.value.body
        fits = detail["comptroller"]["largest_output_tokens"]
        assert 0 < fits < 1024
        lowered = client.chat.completions.with_raw_response.create(
            model="sandbox-large", messages=ASK, max_completion_tokens=fits, extra_body=short
        )
        assert lowered.parse().choices[0].finish_reason == "stop"


REFUSALS: list[tuple[str, dict[str, Any], type[openai.APIStatusError], int, str]] = [
    ("agent/poor", {"model": "sandbox-large", "n": 8}, openai.APIStatusError, 402, "budget_exhausted"),
    ("agent/ant", {"model": "nobody-serves-this"}, openai.NotFoundError, 404, "model_unknown"),
    ("agent/ant", {"model": "unpriced"}, openai.APIStatusError, 402, "price_unknown"),
    ("agent/ant", {"model": "sandbox-large", "service_tier": "scale"}, openai.APIStatusError, 402, "price_unknown"),
    (
        "agent/ant",
        {"model": "sandbox-large", "web_search_options": {}},
        openai.APIStatusError,
        402,
        "estimate_unbounded",
    ),
    ("service/walled", {"model": "sandbox-large"}, openai.APIStatusError, 402, "provider_unavailable"),
    ("agent/ant", {"model": "sandbox-large", "n": 10**9}, openai.BadRequestError, 400, "request_invalid"),
    ("agent/ant", {"model": "sandbox-large", "messages": []}, openai.BadRequestError, 400, "request_invalid"),
    (
        "agent/ant",
        {
            "model": "no-images",
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a"}}]}
            ],
        },
        openai.APIStatusError,
        402,
        "estimate_unbounded",
    ),
]


@pytest.mark.parametrize(("identity", "given", "kind", "status", "code"), REFUSALS, ids=[each[4] for each in REFUSALS])
def test_a_refusal_is_the_right_exception_says_what_to_do_and_is_not_retried(
    gateway: GatewayProcess,
    sandbox: SandboxProcess,
    identity: str,
    given: dict[str, Any],
    kind: type[openai.APIStatusError],
    status: int,
    code: str,
) -> None:
    before = len(gateway.admin("GET", "/calls?limit=10000"))
    with connect(gateway, identity, max_retries=2) as client, pytest.raises(kind) as raised:
        client.chat.completions.create(**{"messages": ASK, **given})
    refused = raised.value
    body: Any = refused.body
    assert (refused.status_code, refused.code) == (status, code)
    assert body["comptroller"]["hint"] in body["message"]
    assert len(gateway.admin("GET", "/calls?limit=10000")) == before + 1  # asked once, recorded once
    assert sandbox.requests() == []


@pytest.mark.parametrize("key", ["", "sk", "cptr_x.y.z"])
def test_a_wrong_credential_is_an_authentication_error(
    gateway: GatewayProcess, sandbox: SandboxProcess, key: str
) -> None:
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key or "none")
    with client, pytest.raises(openai.AuthenticationError) as raised:
        client.chat.completions.create(model="sandbox-large", messages=ASK)
    assert "comptroller token" in str(raised.value)
    assert sandbox.requests() == []


FAULTS: list[tuple[dict[str, Any], type[openai.APIStatusError], int]] = [
    ({"fault": "bad_request"}, openai.BadRequestError, 400),
    ({"fault": "rate_limited", "retry_after_s": 7}, openai.RateLimitError, 429),
    ({"fault": "server_error"}, openai.InternalServerError, 500),
    ({"fault": "overloaded"}, openai.InternalServerError, 529),
]


@pytest.mark.parametrize(("fault", "kind", "status"), FAULTS, ids=[each[0]["fault"] for each in FAULTS])
def test_a_providers_error_keeps_its_face(
    gateway: GatewayProcess, fault: dict[str, Any], kind: type[openai.APIStatusError], status: int
) -> None:
    with connect(gateway, max_retries=0) as client, pytest.raises(kind) as raised:
        client.chat.completions.create(model="sandbox-small", messages=ASK, extra_body={"sandbox": fault})
    assert raised.value.status_code == status
    assert raised.value.response.headers["x-comptroller-error-source"] == "provider"
    if status == 429:
        assert raised.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("fault", ["unauthorized", "payment_required", "forbidden"])
def test_a_provider_that_refuses_our_key_is_our_fault(gateway: GatewayProcess, fault: str) -> None:
    with connect(gateway, max_retries=0) as client, pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="sandbox-small", messages=ASK, extra_body={"sandbox": {"fault": fault}})
    assert (raised.value.status_code, raised.value.code) == (503, "provider_credential_rejected")
    assert "sandbox-" not in str(raised.value)


def test_a_stream_that_breaks_off_ends_as_an_error_and_not_as_an_answer(
    client: openai.OpenAI, gateway: GatewayProcess
) -> None:
    extra: Any = {"sandbox": {"fault": "cut", "after_tokens": 3, "output_tokens": 40}}
    with pytest.raises(openai.APIError) as raised:
        list(client.chat.completions.create(model="sandbox-large", messages=ASK, stream=True, extra_body=extra))
    assert "broke off" in str(raised.value)
    row = gateway.admin("GET", "/calls?limit=10000")[0]
    assert (row["outcome"], row["presumed"], row["charge_usd"]) == ("provider_cut", True, row["held_usd"])
