"""Batches of the Gemini API through the gateway, with the official SDK."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google import genai
from google.genai import types

from tests.end_to_end.caller import Row, ask, budget_of, eventually, mint, nanos, row_of
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess, charged

pytestmark = pytest.mark.processes

MODEL = "sandbox-large"
DONE = types.JobState.JOB_STATE_SUCCEEDED
FILES = registry([budget("all", "100.00 USD")])
CREATE = f"/v1beta/models/{MODEL}:batchGenerateContent"


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("gemini"), process(sandbox_process.url), FILES) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


def client_of(gateway: GatewayProcess, identity: str = "agent/ant") -> genai.Client:
    options = types.HttpOptions(base_url=gateway.url, timeout=20_000)
    return genai.Client(api_key=mint(gateway, identity)["credential"], http_options=options)


def source(*texts: str) -> Any:
    return [{"contents": [{"parts": [{"text": text}]}], "metadata": {"key": text}} for text in texts]


def newest(gateway: GatewayProcess) -> str:
    rows = [row for row in gateway.admin("GET", "/calls?limit=1000") if row["dialect"] == "gemini_batches"]
    return rows[0]["id"]


def ended(gateway: GatewayProcess, call_id: str) -> Row:
    return eventually(lambda: row if (row := row_of(gateway, call_id))["outcome"] != "open" else None)


def wait_for(client: genai.Client, name: str) -> Any:
    return eventually(lambda: batch if (batch := client.batches.get(name=name)).state == DONE else None)


def billed(sandbox: SandboxProcess) -> list[Row]:
    return [each for each in sandbox.requests() if each["surface"] == "batched_gemini"]


def test_held_whole_and_charged_line_by_line(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    client = client_of(gateway)
    made = client.batches.create(model=MODEL, src=source("one", "two"), config={"display_name": "mine"})
    name, call_id = made.name or "", newest(gateway)
    batch = wait_for(client, name)
    row = ended(gateway, call_id)
    assert (row["outcome"], row["presumed"]) == ("completed", False)
    lines = billed(sandbox)
    assert 0 < nanos(row["charge_usd"]) == charged(lines) <= nanos(row["held_usd"])
    assert [each["tier"] for each in lines] == ["batch", "batch"]
    assert [each.metadata["key"] for each in batch.dest.inlined_responses] == ["one", "two"]
    assert all(each.response.text for each in batch.dest.inlined_responses)
    assert budget_of(gateway, "all")["held"] == "0.00"


def test_a_batch_is_its_makers_alone(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    client, other = client_of(gateway), client_of(gateway, "agent/bee")
    name = client.batches.create(model=MODEL, src=source("mine")).name or ""
    wait_for(client, name)
    ended(gateway, newest(gateway))
    assert [each.name for each in other.batches.list()] == []
    listed = next(each for each in client.batches.list() if each.name == name)
    assert listed.state == DONE
    acts: list[Callable[[genai.Client, str], object]] = [
        lambda who, which: who.batches.get(name=which),
        lambda who, which: who.batches.cancel(name=which),
        lambda who, which: who.batches.delete(name=which),
    ]
    for act in acts:
        said = []
        for which in (name, "batches/of-nobody"):
            with pytest.raises(genai.errors.ClientError) as refused:
                act(other, which)
            said.append((refused.value.code, refused.value.message))
        assert said[0] == said[1] == (404, said[0][1])
    client.batches.delete(name=name)
    with pytest.raises(genai.errors.ClientError):
        client.batches.get(name=name)


def test_what_is_not_made_costs_nothing(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    credential = mint(gateway)["credential"]
    later = {"contents": [{"parts": [{"text": "later"}]}], "sandbox": {"first_byte_delay_s": 3_600}}
    now = {"contents": [{"parts": [{"text": "now"}]}]}
    sent = {"batch": {"inputConfig": {"requests": {"requests": [{"request": now}, {"request": later}]}}}}
    made = ask(gateway, credential, sent, path=CREATE)
    name = json.loads(made.body)["name"]
    eventually(lambda: billed(sandbox))
    assert ask(gateway, credential, path=f"/v1beta/{name}:cancel").status == 200
    row = ended(gateway, made.call_id)
    assert (row["outcome"], row["presumed"]) == ("cancelled", False)
    assert nanos(row["charge_usd"]) == charged(billed(sandbox)) > 0


def test_a_batch_of_a_file_is_refused(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    client = client_of(gateway)
    with pytest.raises(genai.errors.ClientError, match="not those of a file") as refused:
        client.batches.create(model=MODEL, src="files/abc")
    assert refused.value.code == 402
    assert billed(sandbox) == []
