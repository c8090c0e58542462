"""Counting tokens: what of the request is read, and that the rest goes on as it came."""

import json

import pytest

from comptroller.core.refusal import Refusal
from comptroller.wire.anthropic_messages import AnthropicCountTokens
from comptroller.wire.openai_chat import OpenAIChat
from tests.wire.test_messages_request import encode

DIALECT = AnthropicCountTokens()
LEAST = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


def test_it_is_free_and_has_no_output() -> None:
    request = DIALECT.read_request(encode(LEAST))
    assert not isinstance(request, Refusal)
    assert (request.asked.free, request.asked.model, request.asked.output_limit) == (True, "m", 0)
    assert (DIALECT.name, DIALECT.family) == ("anthropic_count_tokens", "anthropic")
    assert DIALECT.upstream_path(request, None) == "/v1/messages/count_tokens"


def test_everything_but_the_model_goes_on_as_it_came() -> None:
    body = b'{"model":"m","messages":[{"role":"user", "content":"x"}],"of_tomorrow":{"a": [1e2, 2.50]}}'
    request = DIALECT.read_request(body)
    assert not isinstance(request, Refusal)
    assert DIALECT.rewrite(request, output_limit=0) == body
    assert json.loads(DIALECT.rewrite(request, output_limit=0, model="n")) == {**json.loads(body), "model": "n"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"messages":[]}', "model"),
        (b'{"model":"m","Model":"n","messages":[]}', "Model"),
        (b'{"model":"m","model":"n"}', "model"),
        (b'{"model":7}', "model"),
        (b'{"model":"m","billing_policy":{"bill_to":"org"}}', "billing_policy"),
        (b"[]", None),
        (b"{", None),
    ],
)
def test_what_two_servers_could_read_in_two_ways_is_refused(body: bytes, param: str | None) -> None:
    refusal = DIALECT.read_request(body)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.param) == ("request_invalid", param)


@pytest.mark.parametrize(("body", "malformed"), [(b'{"input_tokens":7}', False), (b"nothing", True), (b"7", True)])
def test_an_answer_is_of_no_use_but_to_the_caller(body: bytes, malformed: bool) -> None:
    request = DIALECT.read_request(encode(LEAST))
    assert not isinstance(request, Refusal)
    answer = DIALECT.read_answer(request, body)
    assert (answer.usage, answer.malformed) == (None, malformed)


def test_a_request_of_another_dialect_is_a_fault_of_ours() -> None:
    other = OpenAIChat().read_request(encode(LEAST))
    assert not isinstance(other, Refusal)
    with pytest.raises(TypeError):
        DIALECT.rewrite(other, output_limit=1)
