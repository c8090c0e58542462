"""Gemini of a real process over a real socket: the `google-genai` package, unmodified, and the bill behind it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from hypothesis import given
from hypothesis import strategies as st

from comptroller.sandbox.gemini.prompt import read_segments
from comptroller.sandbox.gemini.request import read_generate
from comptroller.sandbox.prices import Counts, charge_nanos, find_model
from comptroller.sandbox.prompt import count_prompt
from tests.sandbox.process import Line, SandboxProcess

HELLO = "hello there"


@pytest.fixture
def client(sandbox: SandboxProcess) -> Iterator[genai.Client]:
    with connect(sandbox, "sandbox-sdk") as found:
        yield found


def connect(sandbox: SandboxProcess, key: str) -> genai.Client:
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=sandbox.url), vertexai=False)


def wishes(**control: Any) -> types.HttpOptions:
    return types.HttpOptions(extra_body={"sandbox": control})


def assert_billed(line: Line, usage: types.GenerateContentResponseUsageMetadata | None) -> None:
    """The line says what the usage report says, and its charge follows from its counts."""
    assert usage is not None
    assert line["input_tokens"] == usage.prompt_token_count
    assert line["cached_tokens"] == (usage.cached_content_token_count or 0)
    thoughts = usage.thoughts_token_count or 0
    assert (line["reasoning_tokens"], line["output_tokens"]) == (
        thoughts,
        (usage.candidates_token_count or 0) + thoughts,
    )
    assert usage.total_token_count == line["input_tokens"] + line["output_tokens"]
    model = find_model(line["model"])
    assert model is not None
    counts = Counts(line["input_tokens"], line["cached_tokens"], output_tokens=line["output_tokens"])
    assert int(line["charge_nanos"]) == charge_nanos(model, line["tier"], counts)


@pytest.mark.processes
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["sandbox-large", "sandbox-reasoner", "sandbox-small-2026-01-01"])
@pytest.mark.parametrize("limit", [None, 3])
def test_usage_is_the_bill(
    client: genai.Client, sandbox: SandboxProcess, model: str, stream: bool, limit: int | None
) -> None:
    given: Any = {"model": model, "contents": HELLO, "config": types.GenerateContentConfig(max_output_tokens=limit)}
    if stream:
        answer = list(client.models.generate_content_stream(**given))[-1]
    else:
        answer = client.models.generate_content(**given)
    (line,) = sandbox.settled()
    assert (line["state"], line["status"], line["surface"]) == ("done", 200, "gemini")
    assert_billed(line, answer.usage_metadata)
    assert limit is None or line["output_tokens"] <= limit


@pytest.mark.processes
def test_every_event_of_a_stream_reports_what_was_made_so_far(client: genai.Client, sandbox: SandboxProcess) -> None:
    config = types.GenerateContentConfig(http_options=wishes(output_tokens=5))
    chunks = list(client.models.generate_content_stream(model="sandbox-large", contents=HELLO, config=config))
    made = [chunk.usage_metadata.candidates_token_count for chunk in chunks if chunk.usage_metadata]
    assert made == [1, 2, 3, 4, 5, 5]
    (line,) = sandbox.settled()
    assert line["output_tokens"] == 5


@pytest.mark.processes
@pytest.mark.parametrize(("key", "status"), [("nobody", 400), ("sandbox-sdk", 404)])
def test_refusals_are_in_the_words_of_google(sandbox: SandboxProcess, key: str, status: int) -> None:
    with connect(sandbox, key) as client, pytest.raises(errors.ClientError) as caught:
        client.models.generate_content(model="nobody", contents=HELLO)
    assert caught.value.code == status
    assert caught.value.status in {"INVALID_ARGUMENT", "NOT_FOUND"}
    assert sandbox.total()["charge_nanos"] == "0"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("fault", "code"), [("rate_limited", 429), ("server_error", 500), ("payment_required", 402), ("overloaded", 529)]
)
def test_faults_are_in_the_words_of_google(sandbox: SandboxProcess, fault: str, code: int) -> None:
    options = types.HttpOptions(
        base_url=sandbox.url, extra_body={"sandbox": {"fault": fault}}, retry_options=types.HttpRetryOptions(attempts=1)
    )
    client = genai.Client(api_key="sandbox-sdk", http_options=options, vertexai=False)
    with client, pytest.raises(errors.APIError) as caught:
        client.models.generate_content(model="sandbox-large", contents=HELLO)
    assert caught.value.code == code
    (line,) = sandbox.settled()
    assert (line["fault"], line["charge_nanos"]) == (fault, "0")


@pytest.mark.processes
def test_embeddings_are_billed_by_their_input_and_counts_are_free(
    client: genai.Client, sandbox: SandboxProcess
) -> None:
    texts: Any = [HELLO, "and more"]
    found = client.models.embed_content(
        model="sandbox-small", contents=texts, config=types.EmbedContentConfig(output_dimensionality=4)
    )
    assert [len(each.values or ()) for each in found.embeddings or ()] == [4, 4]
    counted = client.models.count_tokens(model="sandbox-small", contents=HELLO)
    embedded, count = sandbox.settled(2)
    model = find_model("sandbox-small")
    assert model is not None
    charge = charge_nanos(model, "default", Counts(input_tokens=embedded["input_tokens"]))
    assert int(embedded["charge_nanos"]) == charge > 0
    assert (count["charge_nanos"], (counted.total_tokens or 0) > 0) == ("0", True)


JSON = st.recursive(
    st.none() | st.booleans() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
PART = (
    st.fixed_dictionaries({"text": st.text()})
    | st.fixed_dictionaries({"functionCall": st.fixed_dictionaries({"name": st.text(), "args": JSON})})
    | st.fixed_dictionaries({"functionResponse": st.fixed_dictionaries({"name": st.text(), "response": JSON})})
)
CONTENT = st.fixed_dictionaries({"role": st.sampled_from(["user", "model"]), "parts": st.lists(PART)})
FUNCTION = st.fixed_dictionaries({"name": st.text(), "parameters": JSON})


@given(st.lists(CONTENT, min_size=1), st.lists(FUNCTION), st.booleans())
def test_a_prompt_of_text_has_no_more_tokens_than_its_body_has_bytes(
    contents: list[object], functions: list[object], as_ascii: bool
) -> None:
    fields = {"contents": contents, "tools": [{"functionDeclarations": functions}]}
    body = json.dumps(fields, ensure_ascii=as_ascii, separators=(",", ":")).encode()
    request, _ = read_generate("sandbox-large", body)
    assert 0 < count_prompt(read_segments(request), b"salt").tokens <= len(body)
