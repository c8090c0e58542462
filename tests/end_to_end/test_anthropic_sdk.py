"""The official `anthropic` package against the gateway on real sockets: what works directly works through us."""

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import anthropic
import pytest

from tests.end_to_end.caller import Row, nanos, settled_row
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import Line, SandboxProcess, charged

pytestmark = pytest.mark.processes

ASK: list[Any] = [{"role": "user", "content": "Tell me about holds."}]
TOOL: Any = {
    "name": "lookup",
    "description": "looks things up",
    "input_schema": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
}
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}
LONG = "a long prompt that is sent more than once " * 40


def connect(gateway: GatewayProcess, identity: str = "agent/ant", **given: Any) -> anthropic.Anthropic:
    credential = gateway.admin("POST", "/sessions", {"identity": identity})["credential"]
    return anthropic.Anthropic(**{"base_url": gateway.url, "api_key": credential, "timeout": 30.0} | given)


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[anthropic.Anthropic]:
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


def test_a_message_is_answered_and_charged_as_the_provider_billed_it(
    client: anthropic.Anthropic, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    raw = client.messages.with_raw_response.create(model="sandbox-large", max_tokens=300, messages=ASK)
    answer = raw.parse()
    assert answer.content[0].type == "text"
    assert answer.content[0].text
    (line,) = sandbox.settled()
    row = the_row(gateway, line)
    assert raw.headers["x-comptroller-call-id"] == row["id"]
    assert nanos(raw.headers["x-comptroller-charge-usd"]) == charged([line])
    assert raw.headers["x-comptroller-model"].startswith("sandbox-large")
    assert raw.headers["request-id"].startswith("req_")  # the provider's own
    assert "anthropic-organization-id" not in raw.headers
    assert row["identity"] == "agent/ant"


@pytest.mark.parametrize("base", ["", "/anthropic"])
def test_the_gateway_sends_its_own_key_and_the_callers_version(
    gateway: GatewayProcess, sandbox: SandboxProcess, base: str
) -> None:
    with connect(gateway, base_url=gateway.url + base) as client:
        client.beta.messages.create(
            model="sandbox-small",
            max_tokens=50,
            messages=ASK,
            betas=["context-1m-2025-08-07", "interleaved-thinking-2025-05-14"],
            extra_headers={"anthropic-workspace-id": "w", "x-claude-code-session-id": "s", "cookie": "a=b"},
            extra_query={"account": "other", "beta": "true"},
        )
        version = client.default_headers["anthropic-version"]
    (line,) = sandbox.settled()
    sent = set(line["received_headers"])
    assert {"x-api-key", "anthropic-version", "anthropic-beta"} <= sent
    assert not sent & {"authorization", "anthropic-workspace-id", "x-claude-code-session-id", "cookie", "user-agent"}
    assert (line["api_version"], line["path_query"]) == (version, "/v1/messages?beta=true")
    assert line["key"] is not None


def test_a_stream_passes_and_is_charged_exactly(
    client: anthropic.Anthropic, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    with client.messages.stream(model="sandbox-large", max_tokens=300, messages=ASK) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text if final.content[0].type == "text" else False
    (line,) = sandbox.settled()
    assert final.usage.output_tokens == line["output_tokens"]
    assert line["state"] == "done"
    the_row(gateway, line)


@pytest.mark.parametrize("stream", [False, True])
def test_tools(client: anthropic.Anthropic, gateway: GatewayProcess, sandbox: SandboxProcess, stream: bool) -> None:
    given: Any = {"model": "sandbox-large", "max_tokens": 300, "tools": [TOOL], "tool_choice": {"type": "any"}}
    if stream:
        with client.messages.stream(messages=ASK, **given) as events:
            answer: Any = events.get_final_message()
    else:
        answer = client.messages.create(messages=ASK, **given)
    (use,) = answer.content
    assert (use.type, use.name, use.input) == ("tool_use", "lookup", {"word": "text"})
    assert answer.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "a hold is a pending charge"}
    turns: Any = [*ASK, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    after = client.messages.create(model="sandbox-large", max_tokens=300, tools=[TOOL], messages=turns)
    assert after.stop_reason == "end_turn"
    for line in sandbox.settled(2):
        the_row(gateway, line)


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_is_shown_and_charged(
    client: anthropic.Anthropic, gateway: GatewayProcess, sandbox: SandboxProcess, stream: bool
) -> None:
    given: Any = {"model": "sandbox-reasoner", "max_tokens": 2000, "thinking": THINKING, "messages": ASK}
    if stream:
        with client.messages.stream(**given) as events:
            answer: Any = events.get_final_message()
    else:
        answer = client.messages.create(**given)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    (line,) = sandbox.settled()
    assert line["reasoning_tokens"] > 0
    the_row(gateway, line)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ttl", [{}, {"ttl": "5m"}, {"ttl": "1h"}])
def test_cache_reads_and_writes_are_charged_at_their_own_prices(
    client: anthropic.Anthropic, gateway: GatewayProcess, sandbox: SandboxProcess, stream: bool, ttl: dict[str, str]
) -> None:
    system: Any = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", **ttl}}]
    for _ in range(2):
        if stream:
            with client.messages.stream(model="sandbox-small", max_tokens=50, system=system, messages=ASK) as events:
                usage = events.get_final_message().usage
        else:
            usage = client.messages.create(model="sandbox-small", max_tokens=50, system=system, messages=ASK).usage
    written, read = sandbox.settled(2)
    assert written["cache_write_tokens"] == read["cached_tokens"] == usage.cache_read_input_tokens
    assert read["cached_tokens"] > 0
    assert written["cache_write_1h_tokens"] == (written["cache_write_tokens"] if "1h" in ttl.values() else 0)
    for line in (written, read):
        the_row(gateway, line)


def test_the_async_client_at_once(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    token = gateway.token("agent/ant")

    async def all_at_once() -> list[Any]:
        async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key=token) as client:
            calls = [client.messages.create(model="sandbox-small", max_tokens=60, messages=ASK) for _ in range(20)]
            return await asyncio.gather(*calls)

    assert len(asyncio.run(all_at_once())) == 20
    for line in sandbox.settled(20):
        the_row(gateway, line)


def test_an_output_limit_that_is_not_affordable_is_lowered_and_thinking_with_it(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    with connect(gateway, "agent/poor") as client:
        with pytest.raises(anthropic.APIStatusError) as refused:
            client.messages.create(model="sandbox-large", max_tokens=2000, messages=ASK)
        detail: Any = refused.value.body
        fits = detail["error"]["comptroller"]["largest_output_tokens"]
        assert 0 < fits < 1024
        asked: Any = {"model": "sandbox-small", "max_tokens": 4000, "thinking": THINKING, "messages": ASK}
        assert client.messages.create(**asked).stop_reason == "end_turn"
    (line,) = sandbox.settled()
    the_row(gateway, line)


class Refused(NamedTuple):
    """Who asks for what, and what the SDK is to raise."""

    code: str
    identity: str
    given: dict[str, Any]
    kind: type[anthropic.APIStatusError]
    status: int
    type: str


PICTURE = {"type": "image", "source": {"type": "url", "url": "https://x.test/a"}}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
UNPAID = (anthropic.PaymentRequiredError, 402, "billing_error")
REFUSALS = [
    Refused("budget_exhausted", "agent/poor", {"max_tokens": 4000}, *UNPAID),
    Refused("model_unknown", "agent/ant", {"model": "nobody"}, anthropic.NotFoundError, 404, "not_found_error"),
    Refused("price_unknown", "agent/ant", {"model": "unpriced"}, *UNPAID),
    Refused("estimate_unbounded", "agent/ant", {"tools": [SEARCH]}, *UNPAID),
    Refused("provider_unavailable", "service/walled", {}, *UNPAID),
    Refused("request_invalid", "agent/ant", {"messages": []}, anthropic.BadRequestError, 400, "invalid_request_error"),
    Refused(
        "estimate_unbounded",
        "agent/ant",
        {"model": "no-images", "messages": [{"role": "user", "content": [PICTURE]}]},
        *UNPAID,
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=[case.code for case in REFUSALS])
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_the_right_exception_says_what_to_do_and_is_not_retried(
    gateway: GatewayProcess, sandbox: SandboxProcess, case: Refused, stream: bool
) -> None:
    before = gateway.admin("GET", "/calls?limit=1")
    asked: Any = {"model": "sandbox-large", "max_tokens": 500, "messages": ASK, "stream": stream, **case.given}
    with connect(gateway, case.identity, max_retries=2) as client, pytest.raises(case.kind) as raised:
        client.messages.create(**asked)
    refused = raised.value
    body: Any = refused.body
    assert (refused.status_code, body["error"]["type"]) == (case.status, case.type)
    assert body["error"]["comptroller"]["code"] == case.code
    assert body["error"]["comptroller"]["hint"] in body["error"]["message"]
    assert refused.request_id == body["request_id"] == refused.response.headers["x-comptroller-call-id"]
    rows = gateway.admin("GET", "/calls?limit=2")
    assert rows[1:] == before  # asked once, recorded once
    assert (rows[0]["id"], rows[0]["refusal"]) == (refused.request_id, case.code)
    assert sandbox.requests() == []


@pytest.mark.parametrize("key", ["sk-ant", "cptr_x.y.z"])
def test_a_wrong_credential_is_an_authentication_error(
    gateway: GatewayProcess, sandbox: SandboxProcess, key: str
) -> None:
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key=key) as client,
        pytest.raises(anthropic.AuthenticationError) as raised,
    ):
        client.messages.create(model="sandbox-large", max_tokens=50, messages=ASK)
    assert "comptroller token" in str(raised.value)
    assert sandbox.requests() == []


def test_an_ended_session_is_refused_at_once(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    session = gateway.admin("POST", "/sessions", {"identity": "agent/ant"})
    gateway.admin("POST", f"/sessions/{session['session']}/end", {"reason": "the test is over"})
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key=session["credential"]) as client,
        pytest.raises(anthropic.PaymentRequiredError) as raised,
    ):
        client.messages.create(model="sandbox-large", max_tokens=50, messages=ASK)
    assert "the test is over" in str(raised.value)
    assert sandbox.requests() == []


FAULTS: list[tuple[dict[str, Any], type[anthropic.APIStatusError], int]] = [
    ({"fault": "bad_request"}, anthropic.BadRequestError, 400),
    ({"fault": "rate_limited", "retry_after_s": 7}, anthropic.RateLimitError, 429),
    ({"fault": "server_error"}, anthropic.InternalServerError, 500),
    ({"fault": "overloaded"}, anthropic.OverloadedError, 529),
]


@pytest.mark.parametrize(("fault", "kind", "status"), FAULTS, ids=[each[0]["fault"] for each in FAULTS])
def test_a_providers_error_keeps_its_face(
    gateway: GatewayProcess, fault: dict[str, Any], kind: type[anthropic.APIStatusError], status: int
) -> None:
    asked: Any = {"model": "sandbox-small", "max_tokens": 50, "messages": ASK}
    with connect(gateway, max_retries=0) as client, pytest.raises(kind) as raised:
        client.messages.create(**asked, extra_body={"sandbox": fault})
    assert raised.value.status_code == status
    assert raised.value.response.headers["x-comptroller-error-source"] == "provider"
    assert str(raised.value.request_id).startswith("req_")
    if status == 429:
        assert raised.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("fault", ["unauthorized", "payment_required", "forbidden"])
def test_a_provider_that_refuses_our_key_is_our_fault(gateway: GatewayProcess, fault: str) -> None:
    asked: Any = {"model": "sandbox-small", "max_tokens": 50, "messages": ASK}
    with connect(gateway, max_retries=0) as client, pytest.raises(anthropic.InternalServerError) as raised:
        client.messages.create(**asked, extra_body={"sandbox": {"fault": fault}})
    body: Any = raised.value.body
    assert raised.value.status_code == 503
    assert body["error"]["comptroller"]["code"] == "provider_credential_rejected"
    assert "sandbox-" not in str(raised.value)


def test_a_stream_that_breaks_off_is_raised_with_our_text(client: anthropic.Anthropic, gateway: GatewayProcess) -> None:
    asked: Any = {"model": "sandbox-large", "max_tokens": 100, "messages": ASK, "stream": True}
    fault = {"fault": "cut", "after_tokens": 3, "output_tokens": 40}
    with pytest.raises(anthropic.APIStatusError) as raised:
        list(client.messages.create(**asked, extra_body={"sandbox": fault}))
    assert "broke off" in str(raised.value)
    row = gateway.admin("GET", "/calls")[0]
    assert (row["outcome"], row["presumed"], row["charge_usd"]) == ("provider_cut", True, row["held_usd"])


def test_a_session_that_ends_in_mid_stream_is_raised_with_our_text(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    session = gateway.admin("POST", "/sessions", {"identity": "agent/ant"})
    asked: Any = {"model": "sandbox-large", "max_tokens": 2000, "messages": ASK, "stream": True}
    slow: Any = {"output_tokens": 2000, "tokens_per_s": 20}
    with anthropic.Anthropic(base_url=gateway.url, api_key=session["credential"]) as client:
        events: Iterator[Any] = iter(client.messages.create(**asked, extra_body={"sandbox": slow}))
        assert [next(events).type for _ in range(4)][-1] == "content_block_delta"
        gateway.admin("POST", f"/sessions/{session['session']}/end", {"reason": "enough"})
        with pytest.raises(anthropic.APIStatusError) as raised:
            list(events)
    assert "was ended" in str(raised.value)
    row = gateway.admin("GET", "/calls")[0]
    assert (row["outcome"], row["presumed"]) == ("stopped", True)
    sandbox.settled()


def test_models_in_the_anthropic_shape(client: anthropic.Anthropic, gateway: GatewayProcess) -> None:
    names = [model.id for model in client.models.list(limit=1000)]
    assert {"no-images", "unpriced"} <= set(names)  # what the registry names
    assert not any("*" in name for name in names), "patterns name no model"
    assert client.models.retrieve("sandbox-large").type == "model"  # a pattern serves it
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nobody")
    with connect(gateway, "service/walled") as walled:
        assert list(walled.models.list()) == []
