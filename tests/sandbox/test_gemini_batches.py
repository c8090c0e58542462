"""Batches of the Gemini API of a real process, through the official SDK."""

from typing import Any

import pytest
from google import genai
from google.genai import types

from tests.end_to_end.caller import eventually
from tests.sandbox.process import SandboxProcess
from tests.sandbox.raw import post

pytestmark = pytest.mark.processes

KEY = {"x-goog-api-key": "sandbox-gemini"}


@pytest.fixture
def client(sandbox: SandboxProcess) -> genai.Client:
    options = types.HttpOptions(base_url=sandbox.url, timeout=20_000)
    return genai.Client(api_key="sandbox-gemini", http_options=options)


def test_half_the_price_and_results_in_the_order_of_the_requests(client: genai.Client, sandbox: SandboxProcess) -> None:
    source: Any = [{"contents": [{"parts": [{"text": text}]}], "metadata": {"key": text}} for text in ("one", "two")]
    made = client.batches.create(model="sandbox-large", src=source, config={"display_name": "mine"})
    name = made.name or ""

    def ended() -> Any:
        batch = client.batches.get(name=name)
        return batch if batch.state == types.JobState.JOB_STATE_SUCCEEDED else None

    batch = eventually(ended)
    responses = batch.dest.inlined_responses
    assert [each.metadata["key"] for each in responses] == ["one", "two"]
    billed = [each for each in sandbox.requests() if each["surface"] == "batched_gemini"]
    assert [each["tier"] for each in billed] == ["batch", "batch"]
    assert sorted(each.response.usage_metadata.total_token_count for each in responses) == sorted(
        each["input_tokens"] + each["output_tokens"] for each in billed
    )
    assert name in {each.name for each in client.batches.list()}
    client.batches.delete(name=name)
    with pytest.raises(genai.errors.ClientError):
        client.batches.get(name=name)


def test_cancelled(client: genai.Client, sandbox: SandboxProcess) -> None:
    later = {"contents": [{"parts": [{"text": "later"}]}], "sandbox": {"first_byte_delay_s": 3600}}
    sent = {"batch": {"inputConfig": {"requests": {"requests": [{"request": later}]}}}}
    path = "/v1beta/models/sandbox-large:batchGenerateContent"
    name = post(sandbox, sent, path=path, key=None, headers=KEY).json()["name"]
    client.batches.cancel(name=name)
    eventually(lambda: client.batches.get(name=name).state == types.JobState.JOB_STATE_CANCELLED)
    assert sandbox.total()["charge_nanos"] == "0"
