"""The smaller surfaces of OpenAI through the official package, on real sockets: the provider's bill is ours."""

import base64
import struct
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.end_to_end.caller import Row, eventually, mint, nanos, settled_row
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import Line, SandboxProcess, charged

pytestmark = pytest.mark.processes


def connect(gateway: GatewayProcess, identity: str = "agent/ant") -> openai.OpenAI:
    credential = mint(gateway, identity)["credential"]
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=credential, timeout=30.0, max_retries=0)


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with connect(gateway) as found:
        yield found


def the_row(gateway: GatewayProcess, line: Line) -> Row:
    """The call behind a line of the provider's bill, which must agree on every meter."""
    row = settled_row(gateway, line["client_request_id"].removesuffix(".1"))
    assert nanos(row["charge_usd"]) == int(line["charge_nanos"]) <= nanos(row["held_usd"])
    assert (row["input_tokens"], row["output_tokens"]) == (line["input_tokens"], line["output_tokens"])
    assert (row["outcome"], row["presumed"]) == ("completed", False)
    return row


# Completions.

PROMPTS: list[Any] = ["Once upon a time", ["One", "Two and three"], [1, 22, 333], [[1, 2], [3, 4, 5], [6]]]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_completion_is_charged_as_the_provider_billed_it(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess, prompt: Any, stream: bool
) -> None:
    prompts = len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1
    texts = [""] * (2 * prompts)
    if stream:
        for chunk in client.completions.create(
            model="sandbox-large", prompt=prompt, n=2, max_tokens=30, stream=True, suffix="The end."
        ):
            for choice in chunk.choices:
                texts[choice.index] += choice.text
            assert chunk.usage is None, "nobody asked for it"
    else:
        answer = client.completions.create(
            model="sandbox-large", prompt=prompt, n=2, max_tokens=30, suffix="The end.", user="me"
        )
        texts = [choice.text for choice in answer.choices]
        assert answer.usage is not None
    assert len(texts) == 2 * prompts
    assert all(texts)
    (line,) = sandbox.settled()
    assert line["path_query"] == "/v1/completions"
    the_row(gateway, line)


def test_the_usage_of_a_stream_is_shown_to_who_asks(client: openai.OpenAI, sandbox: SandboxProcess) -> None:
    chunks = list(
        client.completions.create(
            model="sandbox-large", prompt="x", stream=True, stream_options={"include_usage": True}, echo=True
        )
    )
    (line,) = sandbox.settled()
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == line["output_tokens"] <= 16, "the limit that the API has by itself"
    assert chunks[0].choices[0].text == "x"


def test_all_of_what_is_made_is_held_though_the_best_alone_come(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    answer = client.completions.create(model="sandbox-large", prompt=["a", "b"], best_of=5, n=1, max_tokens=40)
    assert len(answer.choices) == 2
    (line,) = sandbox.settled()
    row = the_row(gateway, line)
    assert nanos(row["held_usd"]) >= 10 * 40 * 15_000, "ten answers of forty tokens at 15 USD a million"


def test_a_completion_too_dear_is_cut_to_what_is_left_or_refused(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    with connect(gateway, "agent/poor") as poor:
        with pytest.raises(openai.APIStatusError) as refused:
            poor.completions.create(model="sandbox-large", prompt="x", best_of=20, max_tokens=1_000)
        assert (refused.value.status_code, refused.value.code) == (402, "budget_exhausted")
        assert sandbox.requests() == []


# Embeddings.


@pytest.mark.parametrize("given", PROMPTS)
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_an_embedding_is_charged_by_its_input(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess, given: Any, encoding: Any
) -> None:
    answer = client.embeddings.create(model="sandbox-small", input=given, encoding_format=encoding, dimensions=16)
    assert len(answer.data) == (len(given) if isinstance(given, list) and not isinstance(given[0], int) else 1)
    vector: Any = answer.data[0].embedding
    if encoding == "base64":
        vector = struct.unpack("<16f", base64.b64decode(vector))
    assert len(vector) == 16
    (line,) = sandbox.settled()
    row = the_row(gateway, line)
    assert line["input_tokens"] == answer.usage.prompt_tokens == row["input_tokens"]


def test_ids_of_tokens_are_held_one_by_one(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    client.embeddings.create(model="sandbox-large", input=list(range(100_000, 101_000)))
    (line,) = sandbox.settled()
    row = the_row(gateway, line)
    assert row["input_tokens"] == 1_000
    assert nanos(row["held_usd"]) < 1_200 * 7_500, "seven bytes of each id are one token at the dearest rate of input"


@pytest.mark.parametrize(
    ("fault", "charged_exactly", "presumed"),
    [
        ("no_usage", False, True),
        ("server_error_billed", False, True),
        ("malformed_json", False, True),
        ("overrun", True, False),
    ],
)
def test_an_embedding_that_fails_is_never_free(
    client: openai.OpenAI,
    gateway: GatewayProcess,
    sandbox: SandboxProcess,
    fault: str,
    charged_exactly: bool,
    presumed: bool,
) -> None:
    asked = {"fault": fault} | ({"input_factor": 3} if fault == "overrun" else {})
    raw: Any = None
    try:
        raw = client.embeddings.with_raw_response.create(
            model="sandbox-reasoner", input="some text", extra_body={"sandbox": asked}
        )
    except openai.APIStatusError as error:
        raw = error.response
    (line,) = sandbox.settled()
    row = settled_row(gateway, raw.headers["x-comptroller-call-id"])
    assert 0 < int(line["charge_nanos"]) <= nanos(row["charge_usd"])
    assert row["presumed"] is presumed
    assert not charged_exactly or int(line["charge_nanos"]) == nanos(row["charge_usd"])


# Moderations.


@pytest.mark.parametrize("given", ["a text", ["a text", "another"], [{"type": "text", "text": "x"}]])
def test_a_moderation_is_policed_and_free(gateway: GatewayProcess, sandbox: SandboxProcess, given: Any) -> None:
    with connect(gateway, "agent/poor") as poor:
        answer = poor.moderations.with_raw_response.create(model="sandbox-moderation", input=given)
        assert len(answer.parse().results) >= 1
        with pytest.raises(openai.NotFoundError):
            poor.moderations.create(model="nobody-serves", input=given)
        with pytest.raises(openai.NotFoundError) as unnamed:
            poor.moderations.create(input=given)
    assert "omni-moderation-latest" in str(unnamed.value), "what the API takes where none is named is policed too"
    lines = sandbox.settled()
    assert (len(lines), charged(lines)) == (1, 0)
    row = settled_row(gateway, answer.headers["x-comptroller-call-id"])
    assert (row["charge_usd"], row["held_usd"], row["outcome"]) == ("0.00", "0.00", "completed")


def test_a_moderation_with_a_price_is_a_call_as_any_other(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """Its answer does not say what it used: what was held is presumed."""
    client.moderations.create(model="sandbox-large", input="a text")
    (line,) = sandbox.settled()
    call_id = line["client_request_id"].removesuffix(".1")
    row = eventually(lambda: row if (row := settled_row(gateway, call_id)) else None)
    assert row["presumed"]
    assert nanos(row["charge_usd"]) == nanos(row["held_usd"]) > 0
