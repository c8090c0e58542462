"""The dialects as the story of a call sees them: paths, what may pass, and how a refusal is said."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from comptroller.core.pricing.estimate import ModelLimits, estimate
from comptroller.core.pricing.rates import Rates
from comptroller.core.pricing.tariff import Tariff
from comptroller.core.refusal import REFUSALS, Refusal
from comptroller.wire.gemini import CALLS, REFUSING, GeminiGenerate, refusal_body, refusal_event
from comptroller.wire.gemini.refusals import error_status
from comptroller.wire.head import Head
from comptroller.wire.openai_chat import OpenAIChat
from tests.wire.test_gemini_request import LEAST, SAID, encode

if TYPE_CHECKING:
    from comptroller.flow.dialect import Dialect

    fits: list[Dialect] = list(CALLS.values())  # for the type checker

HEAD = Head("gemini-x")
GENERATE = GeminiGenerate("v1beta")
ONE: Any = {"content": SAID[0]}
BODIES: dict[str, Any] = {
    "generateContent": LEAST,
    "streamGenerateContent": LEAST,
    "countTokens": LEAST,
    "embedContent": ONE,
    "batchEmbedContents": {"requests": [{"model": "models/gemini-x", **ONE}]},
}


def method_of(path: str) -> str:
    return path.rpartition(":")[2]


def head_of(path: str, named: str = "gemini-x") -> Head:
    return Head(named, b"alt=sse" if method_of(path).startswith("stream") else b"")


def read(path: str, named: str = "gemini-x") -> Any:
    found = CALLS[path].read_request(encode(BODIES[method_of(path)]), head_of(path, named))
    assert not isinstance(found, Refusal)
    return found


def test_every_method_in_both_versions() -> None:
    methods = BODIES.keys()
    assert CALLS.keys() == {
        f"/{version}/models/{{name}}:{method}" for version in ("v1", "v1beta") for method in methods
    }
    assert {dialect.family for dialect in CALLS.values()} == {"gemini"}
    assert {dialect.name for dialect in CALLS.values()} == {"gemini", "gemini_count_tokens", "gemini_embeddings"}


@pytest.mark.parametrize("path", CALLS)
def test_the_path_upstream_is_the_callers_with_the_model_that_serves(path: str) -> None:
    dialect, request = CALLS[path], read(path)
    query = "?alt=sse" if "stream" in path else ""
    assert dialect.upstream_path(request, None) == path.format(name="gemini-x") + query
    assert dialect.upstream_path(request, "other") == path.format(name="other") + query
    assert dialect.upstream_path(request, "a/../b?c#d e") == path.format(name="a%2F..%2Fb%3Fc%23d%20e") + query


def test_a_strange_name_is_one_step_of_the_path_upstream() -> None:
    request = GENERATE.read_request(encode(LEAST), Head("x?alt=json&key=y/é"))
    assert not isinstance(request, Refusal)
    path = GENERATE.upstream_path(request, None)
    assert path == "/v1beta/models/x%3Falt%3Djson%26key%3Dy%2F%C3%A9:generateContent"


def test_query_of_a_stream() -> None:
    stream = GeminiGenerate("v1", stream=True)
    for good in (b"alt=sse", b"%24alt=sse", b"key=x&alt=sse", b"alt=SSE"):
        assert not isinstance(stream.read_request(encode(LEAST), Head("m", good)), Refusal)
    for bad in (b"", b"alt=json", b"alt=", b"alt=sse&alt=json", b"alt=sse&$alt=json", b"salt=sse"):
        refused = stream.read_request(encode(LEAST), Head("m", bad))
        assert isinstance(refused, Refusal)
        assert (refused.code, refused.param) == ("request_invalid", "alt")
        assert "alt=sse" in refused.hint


def test_query_of_an_answer() -> None:
    for good in (b"", b"alt=json", b"$alt=json%3Benum-encoding%3Dint", b"key=x&prettyPrint=false"):
        assert not isinstance(GENERATE.read_request(encode(LEAST), Head("m", good)), Refusal)
    for bad in (b"alt=sse", b"alt=proto", b"$alt=media"):
        assert isinstance(GENERATE.read_request(encode(LEAST), Head("m", bad)), Refusal)


def test_a_request_of_another_dialect_is_a_fault_of_ours() -> None:
    other = OpenAIChat().read_request(b'{"model":"m","messages":[{"role":"user","content":"x"}]}')
    assert not isinstance(other, Refusal)
    for dialect in CALLS.values():
        with pytest.raises(TypeError):
            dialect.rewrite(other, output_limit=1)


@pytest.mark.parametrize(
    "name",
    [
        *("x-goog-api-key", "authorization", "cookie", "host", "x-goog-user-project", "x-goog-fieldmask"),
        *("x-goog-api-client", "user-agent", "accept-encoding", "x-http-method-override", "x-goog-request-params"),
    ],
)
def test_headers_that_never_go_upstream(name: str) -> None:
    assert name.encode() not in REFUSING.request_headers


def test_nothing_of_the_callers_query_goes_upstream() -> None:
    assert REFUSING.query_parameters == frozenset()


@pytest.mark.parametrize("name", ["set-cookie", "server", "alt-svc", "content-encoding", "x-goog-project"])
def test_headers_that_never_come_back(name: str) -> None:
    assert name.encode() not in REFUSING.response_headers


# --- embeddings ---------------------------------------------------------------------------------

TARIFF = Tariff({"default": Rates(input=1_000, output=0)})
EMBED, BATCH = CALLS["/v1beta/models/{name}:embedContent"], CALLS["/v1beta/models/{name}:batchEmbedContents"]


def test_embeddings_have_no_output() -> None:
    for dialect, body in ((EMBED, ONE), (BATCH, {"requests": [ONE, ONE]})):
        request = dialect.read_request(encode(body), HEAD)
        assert not isinstance(request, Refusal)
        asked = request.asked
        assert (asked.output_limit, asked.stream, asked.free, asked.images) == (0, False, False, 0)
        assert asked.text_tokens >= len(encode(body))
        assert json.loads(dialect.rewrite(request, output_limit=0)) == body


def test_each_input_of_a_batch_fills_a_context_of_its_own() -> None:
    text = {"content": {"parts": [{"text": "a long text " * 200}]}}
    for inputs in (1, 40):
        body = encode({"requests": [text] * inputs})
        request = BATCH.read_request(body, HEAD)
        assert not isinstance(request, Refusal)
        limits = ModelLimits(max_output_tokens=1, context_window=2_048)
        bound = estimate(request.asked, limits, TARIFF, 10_000, money=True, metered=True)
        assert not isinstance(bound, Refusal)
        assert bound.input_tokens == min(len(body), inputs * 2_048)


def test_a_batch_names_one_model_everywhere() -> None:
    body = {"requests": [{"model": "models/gemini-x", **ONE}, ONE]}
    request = BATCH.read_request(encode(body), HEAD)
    assert not isinstance(request, Refusal)
    left = json.loads(BATCH.rewrite(request, output_limit=0, model="other"))
    assert [each["model"] for each in left["requests"]] == ["models/other"] * 2
    refused = BATCH.read_request(encode({"requests": [ONE, {"model": "models/dear", **ONE}]}), HEAD)
    assert isinstance(refused, Refusal)
    assert refused.param == "requests[1].model"


def test_media_in_embeddings() -> None:
    image = {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "A" * 400}}]}}
    file = {"content": {"parts": [{"fileData": {"fileUri": "x"}}]}}
    for body, images, unbounded in ((image, 1, ()), (file, 0, ("a file",))):
        for dialect, sent in ((EMBED, body), (BATCH, {"requests": [body]})):
            request = dialect.read_request(encode(sent), HEAD)
            assert not isinstance(request, Refusal)
            assert (request.asked.images, request.asked.unbounded) == (images, unbounded)


@pytest.mark.parametrize(
    ("dialect", "body", "param"),
    [
        (EMBED, {}, "content"),
        (EMBED, {"content": None}, "content"),
        (EMBED, {**ONE, "model": "dear"}, "model"),
        (EMBED, {**ONE, "Content": {}}, "Content"),
        (BATCH, {}, "requests"),
        (BATCH, {"requests": []}, "requests"),
        (BATCH, {"requests": [5]}, "requests[0]"),
        (BATCH, {"requests": [{}]}, "content"),
    ],
)
def test_embeddings_that_cannot_be(dialect: Any, body: Any, param: str) -> None:
    refused = dialect.read_request(encode(body), HEAD)
    assert isinstance(refused, Refusal)
    assert (refused.code, refused.param) == ("request_invalid", param)


# --- counting -----------------------------------------------------------------------------------

COUNT = CALLS["/v1/models/{name}:countTokens"]


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (LEAST, LEAST),
        (
            {"generateContentRequest": {"model": "models/gemini-x", **LEAST}},
            {"generateContentRequest": {"model": "models/other", **LEAST}},
        ),
        ({"generate_content_request": LEAST}, {"generate_content_request": {**LEAST, "model": "models/other"}}),
    ],
)
def test_counting_is_free_and_names_one_model(body: Any, left: Any) -> None:
    request = COUNT.read_request(encode(body), HEAD)
    assert not isinstance(request, Refusal)
    assert (request.asked.free, request.asked.model) == (True, "gemini-x")
    assert json.loads(COUNT.rewrite(request, output_limit=0)) == body
    assert json.loads(COUNT.rewrite(request, output_limit=0, model="other")) == left


@pytest.mark.parametrize(
    "body",
    [
        {"model": "dear", **LEAST},
        {"generateContentRequest": {"model": "models/dear"}},
        {"generateContentRequest": 5},
        {"generateContentRequest": {}, "generate_content_request": {"model": "models/dear"}},
    ],
)
def test_counts_that_cannot_be(body: Any) -> None:
    assert isinstance(COUNT.read_request(encode(body), HEAD), Refusal)


# --- refusals -----------------------------------------------------------------------------------

REFUSAL = Refusal(
    code="budget_exhausted",
    sentence='The budget "é" has 0.10 USD left.',
    hint="Ask for at most 300 output tokens.",
    limit="search-month",
)


def test_a_refusal() -> None:
    assert json.loads(refusal_body(REFUSAL, "call_1")) == {
        "error": {
            "code": 402,
            "message": 'The budget "é" has 0.10 USD left. Ask for at most 300 output tokens.',
            "status": "FAILED_PRECONDITION",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "BUDGET_EXHAUSTED",
                    "domain": "comptroller",
                    "metadata": {"call_id": "call_1"},
                }
            ],
            "comptroller": {
                "code": "budget_exhausted",
                "sentence": 'The budget "é" has 0.10 USD left.',
                "hint": "Ask for at most 300 output tokens.",
                "limit": "search-month",
                "call_id": "call_1",
            },
        }
    }


def test_a_refusal_in_the_middle_of_a_stream() -> None:
    """The google-genai SDK looks for an event that begins so."""
    assert refusal_event(REFUSAL, "c") == b"data: " + refusal_body(REFUSAL, "c") + b"\r\n\r\n"
    assert refusal_event(REFUSAL, "c").startswith(b'data: {"error":')


@pytest.mark.parametrize("code", REFUSALS)
def test_every_refusal_can_be_said(code: str) -> None:
    status = REFUSALS[code].status
    error = json.loads(refusal_body(Refusal(code=code, sentence="No.", hint=""), "c"))["error"]
    assert (error["code"], error["status"], error["message"]) == (status, error_status(status), "No.")
    assert error["status"].isupper()
