"""Completions, Embeddings and Moderations: what bounds a request, what is refused, and what an answer says was used."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from comptroller.core.pricing.estimate import Asked, ModelLimits, estimate
from comptroller.core.pricing.rates import Rates
from comptroller.core.pricing.tariff import Tariff
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.wire.openai_completions import OpenAICompletions
from comptroller.wire.openai_embeddings import OpenAIEmbeddings
from comptroller.wire.openai_moderations import OpenAIModerations
from comptroller.wire.openai_surface import JsonRequest
from tests.wire.test_messages_request import encode

if TYPE_CHECKING:
    from comptroller.flow.dialect import Dialect

    fits: tuple[Dialect, ...] = (OpenAICompletions(), OpenAIEmbeddings(), OpenAIModerations())  # for the type checker

COMPLETIONS, EMBEDDINGS, MODERATIONS = OpenAICompletions(), OpenAIEmbeddings(), OpenAIModerations()
TARIFF = Tariff({"default": Rates(input=1_000_000, output=1_000_000)})


def compact(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def read(dialect: Any, body: Any) -> JsonRequest:
    request = dialect.read_request(compact(body))
    assert not isinstance(request, Refusal), request
    return request


def asked(dialect: Any, **fields: Any) -> Asked:
    return read(dialect, {"model": "m"} | fields).asked


@pytest.mark.parametrize(
    ("fields", "choices", "contexts"),
    [
        ({"prompt": "x"}, 1, 1),
        ({}, 1, 1),
        ({"prompt": ["x", "y"]}, 2, 2),
        ({"prompt": [1, 2, 3]}, 1, 1),
        ({"prompt": [[1, 2], [3]]}, 2, 2),
        ({"prompt": ["x", "y"], "n": 3}, 6, 2),
        ({"prompt": ["x", "y"], "n": 3, "best_of": 5}, 10, 2),
        ({"prompt": "x", "best_of": 4}, 4, 1),
    ],
)
def test_every_prompt_is_answered_as_often_as_is_made(fields: Any, choices: int, contexts: int) -> None:
    found = asked(COMPLETIONS, **fields)
    assert (found.choices, found.rounds, found.output_limit) == (choices, contexts, 16)


def test_many_prompts_are_bounded_by_as_many_contexts() -> None:
    """A context window bounds one prompt, and not a request with several of them."""
    limits = ModelLimits(max_output_tokens=100, context_window=50)
    for dialect, name in ((COMPLETIONS, "prompt"), (EMBEDDINGS, "input")):
        bound = estimate(asked(dialect, **{name: ["x" * 60] * 3}), limits, TARIFF, 10_000, money=True, metered=True)
        assert not isinstance(bound, Refusal)
        assert bound.input_tokens == 150
        bound = estimate(asked(dialect, **{name: "x" * 60}), limits, TARIFF, 10_000, money=True, metered=True)
        assert not isinstance(bound, Refusal)
        assert bound.input_tokens == 50


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"input": [100_000] * 50}, 52),
        ({"input": [[100_000] * 50, [7]]}, 55),
    ],
)
def test_ids_of_tokens_count_one_each(fields: Any, tokens: int) -> None:
    rest = len(compact({"model": "m", "input": 0})) - 1
    assert asked(EMBEDDINGS, **fields).text_tokens == rest + tokens


def test_a_text_has_no_more_tokens_than_bytes() -> None:
    body = {"model": "m", "input": ["a text", "\u00e9\u4e2d"], "encoding_format": "base64"}
    assert read(EMBEDDINGS, body).asked.text_tokens == len(compact(body))
    assert read(EMBEDDINGS, body).asked.output_limit == 0


@pytest.mark.parametrize(
    ("dialect", "fields", "param"),
    [
        *((COMPLETIONS, {"prompt": wrong}, "prompt") for wrong in ([], 7, {}, ["x", 1], [[1], "x"], [[1.5]], [[-1]])),
        *(
            (COMPLETIONS, {name: wrong}, name)
            for name in ("n", "best_of", "max_tokens")
            for wrong in (0, "1", 1.5, True)
        ),
        (COMPLETIONS, {"n": 129}, "n"),
        (COMPLETIONS, {"echo": "yes"}, "echo"),
        (COMPLETIONS, {"max_completion_tokens": 9}, "max_completion_tokens"),
        (COMPLETIONS, {"n_predict": 9}, "n_predict"),
        (COMPLETIONS, {"n_cmpl": 9}, "n_cmpl"),
        (COMPLETIONS, {"Max_Tokens": 9}, "Max_Tokens"),
        (COMPLETIONS, {"stream_options": {"include_usage": True}}, "stream_options"),
        (COMPLETIONS, {"prompt": ["x"] * 2_049}, "prompt"),
        *((EMBEDDINGS, {"input": wrong}, "input") for wrong in (None, [], 7, {}, ["x", 1], [[1], "x"], [[]], [1, -1])),
        (EMBEDDINGS, {"Input": "x"}, "Input"),
        (EMBEDDINGS, {"input": ["x"] * 10_001}, "input"),
        (MODERATIONS, {}, "input"),
        (MODERATIONS, {"input": "x", "Model": "n"}, "Model"),
        (MODERATIONS, {"input": "x", "model": 7}, "model"),
    ],
)
def test_a_field_that_is_not_what_it_must_be_is_named(dialect: Any, fields: Any, param: str) -> None:
    refusal = dialect.read_request(compact({"model": "m"} | fields))
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.param) == ("request_invalid", param)


@pytest.mark.parametrize(
    ("dialect", "fields", "words"),
    [
        (COMPLETIONS, {"prompt": "x", "use_beam_search": True}, "a beam search"),
        (COMPLETIONS, {"prompt": "x", "models": ["n"]}, "another model than the one named"),
        (EMBEDDINGS, {"input": "x", "provider": {"only": ["n"]}}, "a choice of upstreams"),
        (EMBEDDINGS, {"input": [{"video": "x"}]}, "a video"),
        (EMBEDDINGS, {"input": "x", "of_tomorrow": "https://a.example/x"}, "an address"),
    ],
)
def test_what_leads_out_of_the_body_has_no_bound(dialect: Any, fields: Any, words: str) -> None:
    assert words in " ".join(asked(dialect, **fields).unbounded)


def test_what_goes_upstream() -> None:
    request = read(COMPLETIONS, {"model": "m", "prompt": "x", "stream": True, "of_tomorrow": 1})
    assert json.loads(COMPLETIONS.rewrite(request, output_limit=9, field="max_completion_tokens", model="n")) == {
        "model": "n",
        "prompt": "x",
        "stream": True,
        "of_tomorrow": 1,
        "max_tokens": 9,
        "stream_options": {"include_usage": True},
    }
    body = compact({"model": "m", "input": [1, 2], "of_tomorrow": [1.0]})
    request = EMBEDDINGS.read_request(body)
    assert not isinstance(request, Refusal)
    assert EMBEDDINGS.rewrite(request, output_limit=0) == body
    assert json.loads(EMBEDDINGS.rewrite(request, output_limit=0, model="n"))["model"] == "n"


def test_a_moderation_that_names_no_model_is_sent_with_the_one_it_is_judged_by() -> None:
    for body in ({"input": "x"}, {"input": "x", "model": None}):
        request = read(MODERATIONS, body)
        assert request.asked.model == "omni-moderation-latest"
        assert json.loads(MODERATIONS.rewrite(request, output_limit=0))["model"] == request.asked.model
        assert (request.asked.free, request.asked.free_unpriced) == (False, True)


@pytest.mark.parametrize(
    ("usage", "found"),
    [
        ({"prompt_tokens": 7, "total_tokens": 7}, Usage(7, 0)),
        ({"prompt_tokens": 7}, Usage(7, 0)),
        ({"total_tokens": 7}, Usage(7, 0)),
        ({"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}, Usage(7, 2)),
        ({"prompt_tokens": 0, "total_tokens": 0}, Usage(0, 0)),
        ({"prompt_tokens": 7, "total_tokens": 11}, Usage(11, 0)),
        ({}, None),
        (None, None),
        ({"prompt_tokens": -1}, None),
        ({"prompt_tokens": "7"}, None),
        ({"prompt_tokens": 2**40}, None),
        ([7], None),
    ],
)
@pytest.mark.parametrize("dialect", [EMBEDDINGS, MODERATIONS])
def test_what_an_answer_says_was_used(dialect: Any, usage: Any, found: Usage | None) -> None:
    request = read(dialect, {"model": "m", "input": "x"})
    answer = dialect.read_answer(request, encode({"object": "list", "data": [], "model": "m-1", "usage": usage}))
    assert (answer.usage, answer.served_model, answer.malformed) == (found, "m-1", False)
    assert dialect.read_answer(request, b'{"model":"m-1"}').usage is None
    for broken in (b"", b"[]", b'{"usage":', b"\xff"):
        assert dialect.read_answer(request, broken).malformed


def test_a_stream_of_completions_is_metered_at_every_split() -> None:
    chunk = '{{"id":"c","object":"text_completion","created":1,"model":"m-1","choices":[{}]{}}}'
    events = [
        chunk.format('{"text":"Once ","index":0,"logprobs":null,"finish_reason":null}', ""),
        chunk.format('{"text":"upon","index":1,"logprobs":null,"finish_reason":"length"}', ""),
        chunk.format("", ',"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}'),
        "[DONE]",
    ]
    whole = b"".join(f"data: {event}\n\n".encode() for event in events)
    request = read(COMPLETIONS, {"model": "m", "prompt": "x", "n": 2, "stream": True})
    for split in range(len(whole) + 1):
        meter = COMPLETIONS.stream_meter(request)
        passed = meter.feed(whole[:split]) + meter.feed(whole[split:]) + meter.finish()
        assert (meter.usage, meter.usage_final, meter.done) == (Usage(3, 2), True, True)
        assert (meter.served_model, meter.malformed) == ("m-1", False)
        assert meter.seen_output_tokens >= len("Once upon")
        assert b"usage" not in passed, "nobody asked for it"


def test_a_stream_that_is_cut_ends_as_at_the_limit_of_the_provider() -> None:
    request = read(COMPLETIONS, {"model": "m", "prompt": "x", "stream": True})
    for came in (b"", b'data: {"id":"c","object":"text_completion","choices":[{"text":"Once","index":0}]}\n\n'):
        meter = COMPLETIONS.stream_meter(request)
        meter.feed(came)
        last, done = meter.cut_short().rstrip().split(b"\n\n")
        said = json.loads(last.removeprefix(b"data: "))
        assert (said["object"], done) == ("text_completion", b"data: [DONE]")
        assert said["choices"] == [{"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}]


def test_a_request_of_another_dialect_is_a_fault_of_ours() -> None:
    class Other:
        asked = Asked("m", False, 0)

    for dialect in (COMPLETIONS, EMBEDDINGS, MODERATIONS):
        with pytest.raises(TypeError):
            dialect.rewrite(Other(), output_limit=1)
