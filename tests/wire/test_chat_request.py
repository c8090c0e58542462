"""What a chat request may be, and what leaves in its place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.refusal import Refusal
from comptroller.wire.openai_chat import ChatRequest, read_request, rewrite
from tests.wire.recorded import CHAT, Exchange

LEAST = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
REQUESTS = [exchange for exchange in CHAT if exchange.request is not None]


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def read(**fields: Any) -> ChatRequest:
    request = read_request(encode({**LEAST, **fields}))
    assert isinstance(request, ChatRequest), request
    return request


def refused(**fields: Any) -> Refusal:
    refusal = read_request(encode({**LEAST, **fields}))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "request_invalid"
    return refusal


def test_the_least_request() -> None:
    asked = read().asked
    assert (asked.model, asked.stream, asked.choices, asked.images) == ("m", False, 1, 0)
    assert (asked.output_limit, asked.extra_output_tokens, asked.service_tier) == (None, 0, None)
    assert (asked.audio_input, asked.audio_output, asked.usage_asked) == (False, False, False)
    assert (asked.unbounded, asked.fees) == ((), ())


NULLS = ("stream", "n", "max_tokens", "max_completion_tokens", "stream_options", "service_tier", "tools", "prediction")


@pytest.mark.parametrize("name", [*NULLS, "modalities", "audio", "web_search_options", "n_predict"])
def test_null_is_the_same_as_nothing(name: str) -> None:
    with_null, without = read(**{name: None}).asked, read().asked
    assert {**as_dict(with_null), "text_tokens": 0} == {**as_dict(without), "text_tokens": 0}


def as_dict(asked: Any) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in asked.__struct_fields__}


@pytest.mark.parametrize("name", ["model", "messages"])
def test_what_every_request_needs(name: str) -> None:
    refusal = read_request(encode({key: value for key, value in LEAST.items() if key != name}))
    assert isinstance(refusal, Refusal)
    assert refusal.param == name
    assert refusal.sentence.startswith(f"The request has no `{name}`: ")


WRONG: dict[str, list[Any]] = {
    "model": [None, "", 1, [], {}, "m" * 257, "a\nb", "a\x00"],
    "messages": [None, [], {}, "hi", 1],
    "stream": [1, 0, "true", [], {}],
    "n": [0, -1, 129, 10**9, 10**30, 1.0, 1.5, True, "1", []],
    "max_tokens": [0, -1, 1.0, 1e9, True, False, "100", [], {}],
    "max_completion_tokens": [0, -1, -(10**30), 100.0, True, "100", []],
    "service_tier": ["", 1, True, [], {}, "x" * 65],
    "tools": [{}, "function", 1, True],
    "prediction": ["text", [], 1, True],
    "modalities": ["audio", {}, 1, [1], [None], [["audio"]]],
    "stream_options": [[], "x", 1, True],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_named(name: str, value: Any) -> None:
    fields = {name: value, "stream": True} if name == "stream_options" else {name: value}
    refusal = refused(**fields)
    assert refusal.param == name
    assert f"`{name}`" in refusal.sentence
    assert len(refusal.message) < 300


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [LEAST["messages"][0], "hi"]}, "messages[1]"),
        ({"messages": [None]}, "messages[0]"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": False, "stream_options": {}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"stream": True, "stream_options": {"Include_Usage": False}}, "stream_options"),
        ({"tools": ["web_search"]}, "tools"),
        ({"tools": [{"type": 1}]}, "tools"),
        ({"tools": [{"type": "function", "Type": "web_search"}]}, "tools"),
    ],
)
def test_what_is_wrong_inside(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param


@pytest.mark.parametrize("name", ["N", "Max_Tokens", "MAX_COMPLETION_TOKENS", "Stream", "Messages", "max_to\u212aens"])
def test_another_spelling_that_some_servers_read_is_refused(name: str) -> None:
    """Go's JSON takes names without regard to case, the last one wins: 'Max_Tokens' would replace our limit."""
    assert "not written as the API writes it" in refused(**{name: 10**6}).sentence


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "Content": [{"type": "text", "text": "x"}]},
        {"role": "user", "content": [{"type": "text", "text": "x", "Type": "file"}]},
        {"role": "user", "content": [{"type": "text", "text": "x", "Image_Url": {"url": "https://a.example/x.png"}}]},
    ],
)
def test_another_spelling_in_a_message_is_refused(message: dict[str, Any]) -> None:
    assert refused(messages=[message]).param == "messages"


@pytest.mark.parametrize("name", ["n_predict", "max_new_tokens", "max_output_tokens", "best_of"])
def test_other_names_of_a_limit_are_refused(name: str) -> None:
    refusal = refused(**{name: 5})
    assert refusal.param == name
    assert "Send `" in refusal.hint


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 5),
        ({"max_tokens": 9, "max_completion_tokens": 7}, 7),
        ({"max_tokens": 10**30}, 10**30),
        ({"max_tokens": None, "max_completion_tokens": 7}, 7),
    ],
)
def test_the_smaller_output_limit_counts(fields: dict[str, Any], limit: int) -> None:
    assert read(**fields).asked.output_limit == limit


def test_what_else_is_read() -> None:
    asked = read(n=128, service_tier="flex", stream=True, stream_options={"include_usage": True}).asked
    assert (asked.choices, asked.service_tier, asked.stream, asked.usage_asked) == (128, "flex", True, True)


def test_fast_is_billed_as_what_the_answer_calls_priority() -> None:
    assert read(service_tier="fast").asked.possible_tiers == {"fast", "priority", "default"}
    assert read(service_tier="flex").asked.possible_tiers is None


# --- rewrite ------------------------------------------------------------------------------------


def members(body: bytes) -> dict[str, str]:
    """The top-level fields as text: an own, slow reading."""
    decoder, text, found = json.JSONDecoder(), body.decode(), {}
    place = 1
    while text[place] != "}":
        name, place = decoder.raw_decode(text, place + (text[place] == ","))
        _, end = decoder.raw_decode(text, place + 1)
        found[name] = text[place + 1 : end]
        place = end
    return found


OURS = {"max_tokens", "max_completion_tokens", "stream_options", "model"}


@pytest.mark.parametrize("exchange", REQUESTS, ids=lambda exchange: exchange.name)
@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_recorded_request_keeps_every_byte_that_is_not_ours(exchange: Exchange, field: Any) -> None:
    body = exchange.body()
    request = read_request(body)
    assert isinstance(request, ChatRequest)
    before, after = members(body), members(rewrite(request, output_limit=77, field=field))
    assert {n: t for n, t in after.items() if n not in OURS} == {n: t for n, t in before.items() if n not in OURS}
    assert after.keys() & {"max_tokens", "max_completion_tokens"} == {field}
    assert after[field] == "77"
    assert after["model"] == before["model"]
    assert after.get("stream_options") == ('{"include_usage":true}' if exchange.stream else None)


ODD = rb"""{ "model" : "m\u0031", "seed":-0, "temperature":1.50e-1 , "stop":["\u00e9\/", "\ud83d\ude00"],
"messages":[ {"role":"user", "content":"caf\u00c3\u00a9"} ], "metadata":{"k" : 1e2}, "top_p":1.0 ,
"unknown":{"deep":[ 1,2 ,{"x":[]}]}, "max_tokens":  5}"""


def test_spelling_is_kept() -> None:
    request = read_request(ODD)
    assert isinstance(request, ChatRequest)
    after = rewrite(request, output_limit=3, field="max_completion_tokens")
    for kept in (
        rb'"m\u0031"',
        b'"seed":-0,',
        b"1.50e-1",
        rb'["\u00e9\/", "\ud83d\ude00"]',
        rb'[ {"role":"user", "content":"caf\u00c3\u00a9"} ]',
        b'{"k" : 1e2}',
        b'{"deep":[ 1,2 ,{"x":[]}]}',
        b'"max_completion_tokens":3',
    ):
        assert kept in after
    assert b'"max_tokens"' not in after


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (None, {"include_usage": True}),
        ({}, {"include_usage": True}),
        ({"include_usage": False}, {"include_usage": True}),
        ({"include_usage": True, "include_obfuscation": False}, {"include_usage": True, "include_obfuscation": False}),
    ],
)
def test_usage_is_asked_for_in_streams(options: Any, sent: Any) -> None:
    request = read(stream=True, stream_options=options)
    assert json.loads(rewrite(request, output_limit=1, field="max_tokens"))["stream_options"] == sent
    assert request.asked.usage_asked == bool(options and options.get("include_usage"))


def test_a_whole_answer_needs_no_stream_options() -> None:
    assert b"stream_options" not in rewrite(read(stream=False), output_limit=1, field="max_tokens")


def test_the_model_can_be_replaced() -> None:
    sent = json.loads(rewrite(read(), output_limit=1, field="max_tokens", model='provider/"x"'))
    assert sent["model"] == 'provider/"x"'


@given(st.integers(1, 10**18))
def test_the_limit_that_binds_is_written_exactly(limit: int) -> None:
    request = read(max_tokens=5, max_completion_tokens=7)
    sent = json.loads(rewrite(request, output_limit=limit, field="max_tokens"))
    assert (sent["max_tokens"], "max_completion_tokens" in sent) == (limit, False)


# --- anything else ------------------------------------------------------------------------------

NAMES = st.sampled_from([*LEAST, *WRONG, *NULLS, "audio", "plugins", "Model", "x", "models", "functions"])
INNER = st.sampled_from(["type", "text", "image_url", "url", "role", "content", "file", "audio", "tool_calls", "Type"])
WORDS = st.sampled_from(
    ["text", "image_url", "input_audio", "file", "function", "data:image/png;base64,AA", "http://x"]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER | st.text(max_size=3), inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(NAMES, ANYTHING, max_size=4), st.lists(st.dictionaries(INNER, ANYTHING), max_size=2))
def test_json_of_any_shape_is_read_or_refused(fields: dict[str, Any], messages: list[Any]) -> None:
    body = encode({**LEAST, "messages": messages, **fields})
    request = read_request(body)
    if isinstance(request, ChatRequest):
        asked = request.asked
        assert asked.text_tokens >= 0
        assert 1 <= asked.choices <= 128
        assert asked.images >= 0
        assert json.loads(rewrite(request, output_limit=1, field="max_tokens"))["max_tokens"] == 1
    else:
        assert request.code == "request_invalid"


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_refused(body: bytes) -> None:
    assert isinstance(read_request(body), Refusal)
