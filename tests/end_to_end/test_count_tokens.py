"""Counting tokens through the official `anthropic` package: free, policed, and never in the way of a call."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import pytest

from tests.end_to_end.caller import eventually, mint
from tests.end_to_end.test_anthropic_sdk import TOOL, connect
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess, charged

pytestmark = pytest.mark.processes

ASK: list[Any] = [{"role": "user", "content": "How long is this?"}]
AT_ONCE = 31  # what `/context` of Claude Code sends


def test_the_count_is_the_providers(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    with connect(gateway) as client:
        short = client.messages.count_tokens(model="sandbox-large", messages=ASK)
        long = client.messages.count_tokens(
            model="sandbox-large", messages=ASK, system="Be brief.", tools=[TOOL], thinking={"type": "adaptive"}
        )
        answer = client.messages.create(model="sandbox-large", messages=ASK, max_tokens=20)
        beta = client.beta.messages.count_tokens(model="sandbox-large", messages=ASK, betas=["token-counting"])
    assert short.input_tokens == answer.usage.input_tokens == beta.input_tokens < long.input_tokens
    count = "/v1/messages/count_tokens"
    assert [line["path_query"].partition("?")[0] for line in sandbox.settled(4)] == [
        count,
        count,
        "/v1/messages",
        count,
    ]


def test_a_session_with_nothing_left_counts_as_often_as_it_likes(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """Also for a model that no price is known for: neither money nor calls are drawn on."""
    bounds = {"usd": "0.00", "model_calls": 0}
    opened = mint(gateway, "agent/poor")
    gateway.admin("POST", f"/sessions/{opened['session']}/narrow", {"bounds": bounds, "reason": "nothing is left"})
    with anthropic.Anthropic(base_url=gateway.url, api_key=opened["credential"], max_retries=0) as client:

        def count(number: int) -> int:
            model = "sandbox-large" if number % 2 else "sandbox-small"
            return client.messages.count_tokens(model=model, messages=ASK).input_tokens

        with ThreadPoolExecutor(AT_ONCE) as pool:
            counted = list(pool.map(count, range(AT_ONCE)))
        assert len(set(counted)) == 1
        with pytest.raises(anthropic.NotFoundError, match="there is no such model"):  # the provider says so, not we
            client.messages.count_tokens(model="unpriced", messages=ASK)
        with pytest.raises(anthropic.APIStatusError) as refused:
            client.messages.create(model="sandbox-large", messages=ASK, max_tokens=20)
    assert refused.value.status_code == 402
    lines = sandbox.settled(AT_ONCE + 1)
    assert (len(lines), charged(lines)) == (AT_ONCE + 1, 0)
    path = f"/calls?limit=100&session={opened['session']}"
    assert eventually(lambda: len(gateway.admin("GET", path)) == AT_ONCE + 2)
    answered = [row for row in gateway.admin("GET", path) if row["outcome"] != "refused"]
    assert {(row["held_usd"], row["charge_usd"]) for row in answered} == {("0.00", "0.00")}
    assert len(answered) == AT_ONCE + 1
    (sums,) = gateway.admin("GET", f"/spend?by=session&session={opened['session']}")["rows"]
    assert (sums["calls"], sums["posted_calls"], sums["refused"]) == (AT_ONCE + 1, 0, 1), "free calls are told apart"


def test_who_may_not_use_a_model_may_not_count_for_it(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    with connect(gateway) as client, pytest.raises(anthropic.NotFoundError) as refused:
        client.messages.count_tokens(model="claude-nobody-serves", messages=ASK)
    assert refused.value.response.headers["x-comptroller-refusal"] == "model_unknown"
    assert sandbox.requests() == []
