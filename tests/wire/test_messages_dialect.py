"""The dialect as the story of a call sees it: what may pass, and how a refusal is said."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from comptroller.core.refusal import REFUSALS, Refusal
from comptroller.wire.anthropic_messages import AnthropicMessages, refusal_body, refusal_event
from comptroller.wire.anthropic_messages.refusals import error_type
from comptroller.wire.openai_chat import OpenAIChat
from tests.wire.test_messages_request import LEAST, encode

if TYPE_CHECKING:
    from comptroller.flow.dialect import Dialect

    fits: Dialect = AnthropicMessages()  # for the type checker

DIALECT = AnthropicMessages()


def test_names() -> None:
    assert (DIALECT.name, DIALECT.family) == ("anthropic_messages", "anthropic")


def test_the_story_of_a_call() -> None:
    request = DIALECT.read_request(encode({**LEAST, "stream": True}))
    assert not isinstance(request, Refusal)
    for field in ("max_tokens", "max_completion_tokens"):
        assert json.loads(DIALECT.rewrite(request, output_limit=3, field=field))["max_tokens"] == 3
    assert json.loads(DIALECT.rewrite(request, output_limit=3, model="n"))["model"] == "n"
    assert DIALECT.stream_meter(request).feed(b"event: ping\n\n") == b"event: ping\n\n"
    assert DIALECT.read_answer(request, b"{}").usage is None


@pytest.mark.parametrize(("ttl", "for_an_hour"), [("5m", 0), ("1h", 40)])
def test_writes_of_a_lifetime_that_only_the_request_tells(ttl: str, for_an_hour: int) -> None:
    """Older answers do not break them down."""
    request = DIALECT.read_request(encode({**LEAST, "cache_control": {"type": "ephemeral", "ttl": ttl}}))
    assert not isinstance(request, Refusal)
    usage = {"input_tokens": 1, "cache_creation_input_tokens": 40, "output_tokens": 2}
    found = DIALECT.read_answer(request, encode({"usage": usage})).usage
    assert found is not None
    assert (found.cache_write_tokens, found.cache_write_1h_tokens) == (40, for_an_hour)


def test_a_request_of_another_dialect_is_a_fault_of_ours() -> None:
    other = OpenAIChat().read_request(b'{"model":"m","messages":[{"role":"user","content":"x"}]}')
    assert not isinstance(other, Refusal)
    with pytest.raises(TypeError):
        DIALECT.rewrite(other, output_limit=1)


@pytest.mark.parametrize(
    "name",
    [
        *("x-api-key", "authorization", "cookie", "host", "anthropic-workspace-id", "anthropic-organization-id"),
        *("anthropic-user-profile-id", "user-agent", "x-stainless-os", "accept-encoding", "x-claude-code-session-id"),
        *("anthropic-dangerous-direct-browser-access", "content-length", "x-forwarded-for"),
    ],
)
def test_headers_that_never_go_upstream(name: str) -> None:
    assert name.encode() not in DIALECT.request_headers


@pytest.mark.parametrize("name", ["anthropic-version", "anthropic-beta", "accept"])
def test_headers_that_go_upstream(name: str) -> None:
    assert name.encode() in DIALECT.request_headers


@pytest.mark.parametrize("name", ["set-cookie", "anthropic-organization-id", "server", "cf-ray", "content-encoding"])
def test_headers_that_never_come_back(name: str) -> None:
    assert name.encode() not in DIALECT.response_headers


@pytest.mark.parametrize(
    "name",
    [
        *("content-type", "request-id", "retry-after", "x-should-retry", "anthropic-ratelimit-requests-limit"),
        *("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
        *("anthropic-ratelimit-output-tokens-reset", "anthropic-priority-input-tokens-limit"),
        "anthropic-fast-output-tokens-remaining",
    ],
)
def test_headers_that_come_back(name: str) -> None:
    assert name.encode() in DIALECT.response_headers


def test_headers_are_in_lower_case() -> None:
    for name in DIALECT.request_headers | DIALECT.response_headers | DIALECT.query_parameters:
        assert name == name.lower()
    assert DIALECT.query_parameters == {b"beta"}


# --- refusals -----------------------------------------------------------------------------------

REFUSAL = Refusal(
    code="budget_exhausted",
    sentence='The budget "é" has 0.10 USD left.',
    hint="Ask for at most 300 output tokens.",
    limit="search-month",
    unit="usd",
    remaining="0.10",
    largest_output_tokens=300,
)


def test_a_refusal() -> None:
    assert json.loads(refusal_body(REFUSAL, "call_1")) == {
        "type": "error",
        "error": {
            "type": "billing_error",
            "message": 'The budget "é" has 0.10 USD left. Ask for at most 300 output tokens.',
            "comptroller": {
                "code": "budget_exhausted",
                "sentence": 'The budget "é" has 0.10 USD left.',
                "hint": "Ask for at most 300 output tokens.",
                "limit": "search-month",
                "unit": "usd",
                "remaining": "0.10",
                "largest_output_tokens": 300,
                "call_id": "call_1",
            },
        },
        "request_id": "call_1",
    }


def test_a_refusal_in_the_middle_of_a_stream() -> None:
    said = refusal_event(REFUSAL, "call_1")
    assert said == b"event: error\ndata: " + refusal_body(REFUSAL, "call_1") + b"\n\n"
    assert said.count(b"\n") == 3


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (408, "timeout_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_types(status: int, kind: str) -> None:
    assert error_type(status) == kind


@pytest.mark.parametrize("code", REFUSALS)
def test_every_refusal_can_be_said(code: str) -> None:
    said: Any = json.loads(refusal_body(Refusal(code=code, sentence="No.", hint=""), "c"))
    assert said["error"]["type"] == error_type(REFUSALS[code].status)
    assert said["error"]["message"] == "No."
    assert said["error"]["comptroller"]["code"] == code
