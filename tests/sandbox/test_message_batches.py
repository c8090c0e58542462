"""Message Batches of a real process, through the official SDK: what ends how, and what is billed for it."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from comptroller.sandbox.prices import Counts, charge_nanos, find_model
from tests.end_to_end.caller import eventually
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

LATER: Any = {"sandbox": {"first_byte_delay_s": 3600}}
BROKEN: Any = {"sandbox": {"fault": "server_error"}}


def line(name: str, **fields: Any) -> Any:
    params = {"model": "sandbox-large", "max_tokens": 50, "messages": [{"role": "user", "content": name}], **fields}
    return {"custom_id": name, "params": params}


@pytest.fixture
def client(sandbox: SandboxProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=sandbox.url, api_key="sandbox-batches", max_retries=0, timeout=20) as client:
        yield client


def ended(client: anthropic.Anthropic, batch_id: str) -> Any:
    def look() -> Any:
        batch = client.messages.batches.retrieve(batch_id)
        return batch if batch.processing_status == "ended" else None

    return eventually(look)


def kinds(client: anthropic.Anthropic, batch_id: str) -> dict[str, str]:
    return {each.custom_id: each.result.type for each in client.messages.batches.results(batch_id)}


def test_half_the_price_and_one_line_each(client: anthropic.Anthropic, sandbox: SandboxProcess) -> None:
    made = client.messages.batches.create(requests=[line("one"), line("two"), line("bad", **BROKEN)])
    batch = ended(client, made.id)
    assert batch.request_counts.model_dump() == {
        "processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 0,
    }  # fmt: skip
    assert kinds(client, made.id) == {"one": "succeeded", "two": "succeeded", "bad": "errored"}
    billed = [each for each in sandbox.requests() if each["surface"] == "batched_messages"]
    for each in (each for each in billed if each["status"] == 200):
        model = find_model("sandbox-large")
        assert model is not None
        counts = Counts(each["input_tokens"], output_tokens=each["output_tokens"])
        assert int(each["charge_nanos"]) == -(-charge_nanos(model, "default", counts) // 2) > 0
    assert sorted(each["status"] for each in billed) == [200, 200, 500]


def test_what_is_not_made_costs_nothing(client: anthropic.Anthropic, sandbox: SandboxProcess) -> None:
    made = client.messages.batches.create(requests=[line("now"), line("later", **LATER)])
    eventually(lambda: int(sandbox.total()["charge_nanos"]) > 0)
    assert client.messages.batches.cancel(made.id).processing_status in {"canceling", "ended"}
    ended(client, made.id)
    assert kinds(client, made.id) == {"now": "succeeded", "later": "canceled"}
    client.messages.batches.delete(made.id)
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(made.id)


def test_it_expires() -> None:
    with (
        SandboxProcess("--batch-expires-s", "0.2") as sandbox,
        anthropic.Anthropic(base_url=sandbox.url, api_key="sandbox-a", max_retries=0, timeout=20) as client,
    ):
        made = client.messages.batches.create(requests=[line("later", **LATER)])
        ended(client, made.id)
        assert kinds(client, made.id) == {"later": "expired"}
        assert sandbox.total()["charge_nanos"] == "0"


def test_a_batch_is_its_keys_own(client: anthropic.Anthropic, sandbox: SandboxProcess) -> None:
    made = client.messages.batches.create(requests=[line("mine")])
    assert made.id in {each.id for each in client.messages.batches.list()}
    other = client.with_options(api_key="sandbox-other")
    assert made.id not in {each.id for each in other.messages.batches.list()}
    with pytest.raises(anthropic.NotFoundError):
        other.messages.batches.retrieve(made.id)


def test_the_report_of_a_line_is_its_bill(client: anthropic.Anthropic, sandbox: SandboxProcess) -> None:
    made = client.messages.batches.create(requests=[line("one")])
    ended(client, made.id)
    [result] = client.messages.batches.results(made.id)
    assert result.result.type == "succeeded"
    usage = json.loads(result.result.message.usage.model_dump_json())
    [billed] = [each for each in sandbox.requests() if each["surface"] == "batched_messages"]
    assert usage["service_tier"] == "batch"
    assert (usage["input_tokens"], usage["output_tokens"]) == (billed["input_tokens"], billed["output_tokens"])
