"""A caller asks what it may spend, and calls: over sockets, with the official SDK, and as an operator about it."""

import urllib.error
from collections.abc import Iterator
from datetime import date
from typing import Any

import openai
import pytest

from comptroller.client import open_session
from comptroller.wire.planned import PLANNED
from tests.end_to_end.caller import allowance, mint
from tests.harness.configuration import budget, model, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

SIZES = {f"sandbox-{size}": model("sandbox") for size in ("large", "small", "listener")}
HEARD = {"model": "sandbox-listener", "from": date(2026, 1, 1), "input": "0", "output": "0", "audio_hour": "0.36"}
BUDGETS = [
    budget("ant-day", "0.05 USD", "day", scope={"identity": "agent/ant"}, visible="caller"),
    budget("pool", "50.00 USD", "day", visible="operator"),
]


@pytest.fixture
def gateway(sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("allowance")
    known = registry(BUDGETS, models=SIZES)
    known["prices"] = [*known["prices"], HEARD]
    with GatewayProcess(folder, process(sandbox.url), known) as running:
        yield running


def test_what_is_said_is_what_happens(gateway: GatewayProcess) -> None:
    credential = mint(gateway)["credential"]
    sdk = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=credential, max_retries=0)
    said = allowance(gateway, credential, "?model=sandbox-large&input_tokens=100&max_output_tokens=4000")
    largest = said["planned"]["largest_output_tokens"]
    assert 0 < largest < 4_000, "five cents buy less than that"
    assert (said["planned"]["allowed"], said["planned"]["binds"]) == (True, "ant-day")
    assert said["planned"]["cheapest"]["model"] == "sandbox-small"
    by_name = {each["name"]: each for each in said["limits"]}
    assert by_name["ant-day"]["remaining"] == "0.05"
    assert "remaining" not in by_name["pool"], "amounts of a wider pool are not the caller's to see"
    messages: Any = [{"role": "user", "content": "x"}]
    answer = sdk.chat.completions.with_raw_response.create(
        model="sandbox-large", messages=messages, max_completion_tokens=4_000
    )
    assert 0 <= int(answer.headers["x-comptroller-output-limit"]) - largest < 20, "the text was a little shorter"


def test_a_refusal_carries_the_limits(gateway: GatewayProcess) -> None:
    credential = mint(gateway)["credential"]
    sdk = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=credential, max_retries=0)
    messages: Any = [{"role": "user", "content": "x" * 60_000}]
    with pytest.raises(openai.APIStatusError) as refused:
        sdk.chat.completions.create(model="sandbox-large", messages=messages, max_completion_tokens=100)
    details: Any = refused.value.body
    limits = {each["name"]: each for each in details["comptroller"]["allowance"]}
    assert details["comptroller"]["code"] == "budget_exhausted"
    assert limits["ant-day"]["remaining"] == "0.05"
    said = allowance(gateway, credential, "?model=sandbox-large&input_tokens=60000&max_output_tokens=100")
    assert said["planned"]["refusal"]["code"] == "budget_exhausted"
    assert said["planned"]["largest_output_tokens"] == 0


def test_an_operator_asks_for_an_identity_that_has_no_session(gateway: GatewayProcess) -> None:
    sent = {"identity": "agent/ant", "model": "sandbox-small", "input_tokens": 10, "max_output_tokens": 10}
    said = gateway.admin("POST", "/simulation", sent)
    assert said["planned"]["allowed"]
    assert {each["kind"] for each in said["limits"]} == {"budget", "session"}
    assert gateway.admin("GET", "/sessions") == [], "nothing was opened"
    shown = gateway.command("simulate", "agent/ant", "--model", "sandbox-large", "--input-tokens", "50000").stdout
    assert "would be refused (budget_exhausted)" in shown
    assert "sandbox-small" in shown


@pytest.mark.parametrize("dialect", [api.dialect.name for api in PLANNED])
def test_a_plan_without_an_output_limit_is_for_all_that_the_model_makes(gateway: GatewayProcess, dialect: str) -> None:
    query = f"?model=sandbox-small&input_tokens=10&dialect={dialect}"
    planned = allowance(gateway, mint(gateway)["credential"], query)["planned"]
    assert planned["allowed"], planned
    assert planned["output_limit"] == planned["largest_output_tokens"] == 4_096
    assert planned["cheapest"]["model"] == "sandbox-small", "what listens answers no such call"


def test_the_client_asks(gateway: GatewayProcess) -> None:
    with open_session(gateway.url, credential=mint(gateway)["credential"]) as session:
        assert session.allowance()["planned"] is None
        assert session.allowance("sandbox-small", input_tokens=5)["planned"]["allowed"]


@pytest.mark.parametrize(
    "query", ["?model=x&model=y", "?tokens=5", "?model=sandbox-large&input_tokens=-1", "?dialect=x"]
)
def test_a_question_that_is_none_is_said_so(gateway: GatewayProcess, query: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        allowance(gateway, mint(gateway)["credential"], query)
    with refused.value:
        assert refused.value.code == 422
