"""A refusal in OpenAI's shape, and the facts about headers."""

import json

import pytest

from comptroller.core.refusal import REFUSALS, Refusal
from comptroller.wire.event_stream import EventSplitter, event_data
from comptroller.wire.openai_chat import REQUEST_HEADERS, RESPONSE_HEADERS, OpenAIChat, refusal_body, refusal_event

REFUSAL = Refusal(
    code="budget_exhausted",
    sentence='Budget "search-month" has too little left.',
    hint="Ask for less\noutput: é.",
    limit="search-month",
    unit="usd",
    remaining="0.25",
    needed="1.10",
    largest_output_tokens=0,
)


def test_everything_a_refusal_says_is_there() -> None:
    assert json.loads(refusal_body(REFUSAL, "call_1")) == {
        "error": {
            "message": 'Budget "search-month" has too little left. Ask for less\noutput: é.',
            "type": "billing_error",
            "param": None,
            "code": "budget_exhausted",
            "comptroller": {
                "code": "budget_exhausted",
                "sentence": 'Budget "search-month" has too little left.',
                "hint": "Ask for less\noutput: é.",
                "limit": "search-month",
                "unit": "usd",
                "remaining": "0.25",
                "needed": "1.10",
                "largest_output_tokens": 0,
                "call_id": "call_1",
            },
        }
    }


def test_an_event_is_one_event_with_the_same_in_it() -> None:
    event = refusal_event(REFUSAL, "call_1")
    assert EventSplitter().feed(event) == [event]
    assert event_data(event) == refusal_body(REFUSAL, "call_1")


TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    409: "invalid_request_error",
    413: "invalid_request_error",
    426: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    504: "api_error",
}


@pytest.mark.parametrize("code", REFUSALS)
def test_every_refusal_has_a_type(code: str) -> None:
    refusal = Refusal(code=code, sentence="No.", hint="", param="model")
    error = json.loads(refusal_body(refusal, "c"))["error"]
    assert (error["type"], error["code"], error["param"]) == (TYPES[refusal.status], code, "model")
    assert error["message"] == "No."
    assert error["code"] != "insufficient_quota"


def test_no_header_selects_an_account_or_carries_a_secret() -> None:
    for name in REQUEST_HEADERS | RESPONSE_HEADERS:
        assert name == name.lower()
        assert not any(word in name for word in (b"auth", b"key", b"cookie", b"organization", b"project", b"stainless"))


def test_the_dialect_takes_back_only_its_own_requests() -> None:
    dialect = OpenAIChat()
    request = dialect.read_request(b'{"model":"m","messages":[{}],"stream":true}')
    assert not isinstance(request, Refusal)
    assert b'"max_tokens":5' in dialect.rewrite(request, output_limit=5, field="max_tokens")
    assert dialect.stream_meter(request).feed(b"data: {}\n\n") == b"data: {}\n\n"

    class Foreign:
        asked = request.asked

    with pytest.raises(TypeError):
        dialect.rewrite(Foreign(), output_limit=5, field="max_tokens")


def test_an_empty_array_is_called_that() -> None:
    """That it must be a non-empty array, "and it is a JSON array", leaves the caller to find out."""
    refused = OpenAIChat().read_request(b'{"model": "sandbox-large", "messages": []}')
    assert isinstance(refused, Refusal)
    assert refused.sentence == "`messages` must be a non-empty array of objects, and it is an empty array."
