"""What a Messages request may be, and what leaves in its place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.refusal import Refusal
from comptroller.wire.anthropic_messages import MessagesRequest, read_request, rewrite
from comptroller.wire.anthropic_messages.fields import MORE_ANSWERS, OTHER_NAMES
from tests.wire.recorded import Exchange, load

LEAST = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
MESSAGES = load("anthropic_messages")
REQUESTS = [exchange for exchange in MESSAGES if exchange.request is not None]


def encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def read(**fields: Any) -> MessagesRequest:
    request = read_request(encode({**LEAST, **fields}))
    assert isinstance(request, MessagesRequest), request
    return request


def refused(**fields: Any) -> Refusal:
    refusal = read_request(encode({**LEAST, **fields}))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "request_invalid"
    return refusal


def sent(request: MessagesRequest, output_limit: int) -> dict[str, Any]:
    return json.loads(rewrite(request, output_limit=output_limit))


def test_the_least_request() -> None:
    request = read()
    asked = request.asked
    assert (asked.model, asked.stream, asked.choices, asked.images) == ("m", False, 1, 0)
    assert (asked.output_limit, asked.extra_output_tokens, asked.service_tier) == (100, 0, None)
    assert (asked.audio_input, asked.audio_output, asked.usage_asked) == (False, False, False)
    assert (asked.unbounded, asked.fees) == ((), ())
    assert (request.asked.long_cache_writes, request.thinking_tokens) == (False, None)


NULLS = (
    *("system", "stream", "thinking", "tools", "service_tier", "speed", "inference_geo", "cache_control", "thread"),
    *("context_management", "billing_policy", "mcp_servers", "container", "fallbacks", "n", "n_predict", "metadata"),
)


def as_dict(request: MessagesRequest) -> dict[str, Any]:
    asked = request.asked
    return {name: getattr(asked, name) for name in asked.__struct_fields__ if name != "text_tokens"}


@pytest.mark.parametrize("name", NULLS)
def test_null_is_the_same_as_nothing(name: str) -> None:
    with_null, without = read(**{name: None}), read()
    assert as_dict(with_null) == as_dict(without)
    assert with_null.asked.possible_tiers == without.asked.possible_tiers


@pytest.mark.parametrize("name", LEAST)
def test_what_every_request_needs(name: str) -> None:
    """The API itself demands `max_tokens`: no other API does."""
    refusal = read_request(encode({key: value for key, value in LEAST.items() if key != name}))
    assert isinstance(refusal, Refusal)
    assert refusal.param == name
    assert refusal.sentence.startswith(f"The request has no `{name}`: ")


WRONG: dict[str, list[Any]] = {
    "model": [None, "", 1, [], {}, "m" * 257, "a\nb", "a\x00"],
    "messages": [None, [], {}, "hi", 1],
    "max_tokens": [None, -1, -(10**30), 1.0, 1e9, True, False, "100", [], {}],
    "system": [1, True, {}, {"type": "text", "text": "x"}],
    "stream": [1, 0, "true", [], {}],
    "tools": [{}, "custom", 1, True],
    "thinking": ["enabled", 1, True, []],
    "service_tier": ["", 1, True, [], {}, "x" * 65],
    "speed": ["", 1, True, [], {}],
    "inference_geo": ["", 1, True, [], {}],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_named(name: str, value: Any) -> None:
    refusal = refused(**{name: value})
    assert refusal.param == name
    assert f"`{name}`" in refusal.sentence
    assert len(refusal.message) < 300


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [LEAST["messages"][0], "hi"]}, "messages[1]"),  # type: ignore[index]
        ({"messages": [None]}, "messages[0]"),
        ({"tools": ["web_search"]}, "tools"),
        ({"tools": [{"type": 1}]}, "tools"),
        ({"tools": [{"type": "custom", "Type": "web_search_20250305"}]}, "tools"),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": True}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": "1024"}}, "thinking.budget_tokens"),
        ({"billing_policy": {"type": "billing_policy", "bill_to": "user_profile"}}, "billing_policy"),
        ({"billing_policy": {"type": "billing_policy", "bill_to": ["self"]}}, "billing_policy"),
        ({"billing_policy": "user_profile"}, "billing_policy"),
    ],
)
def test_what_is_wrong_inside(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param


def test_our_own_account_may_pay() -> None:
    assert read(billing_policy={"type": "billing_policy"})
    assert read(billing_policy={"type": "billing_policy", "bill_to": "self"})


@pytest.mark.parametrize("name", ["Max_Tokens", "MAX_TOKENS", "Stream", "Tools", "Speed", "max_to\u212aens"])
def test_another_spelling_that_some_servers_read_is_refused(name: str) -> None:
    """Go's JSON takes names without regard to case, the last one wins: 'Max_Tokens' would replace our limit."""
    assert "not written as the API writes it" in refused(**{name: 10**6}).sentence


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text", "text": "x", "Type": "document"},
        {"Type": "document", "source": {"type": "url", "url": "https://a.example/x.pdf"}},
        {"type": "image", "Source": {"type": "base64", "data": "AAAA"}},
        {"type": "document", "source": {"type": "text", "data": "x", "Type": "file"}},
        {"type": "tool_result", "tool_use_id": "t", "Content": []},
        {"type": "text", "text": "x", "Cache_Control": {"type": "ephemeral", "ttl": "1h"}},
    ],
)
def test_another_spelling_in_a_message_is_refused(block: dict[str, Any]) -> None:
    assert refused(messages=[{"role": "user", "content": [block]}]).param == "messages"
    assert refused(system=[block]).param == "messages"


def test_another_spelling_of_a_messages_content_is_refused() -> None:
    assert refused(messages=[{"role": "user", "Content": "x"}]).param == "messages"


@pytest.mark.parametrize("name", sorted(OTHER_NAMES))
def test_other_names_of_the_limit_are_refused(name: str) -> None:
    refusal = refused(**{name: 5})
    assert refusal.param == name
    assert "Send `max_tokens`" in refusal.hint


@pytest.mark.parametrize("name", sorted(MORE_ANSWERS))
def test_there_is_one_answer(name: str) -> None:
    assert refused(**{name: 2}).param == name
    assert refused(**{name: [1]}).param == name
    assert read(**{name: 1}).asked.choices == 1


@pytest.mark.parametrize("limit", [0, 1, 10**30])
def test_the_limit_as_asked(limit: int) -> None:
    """Zero is one: it fills the prompt cache and makes no answer."""
    assert read(max_tokens=limit).asked.output_limit == limit


# --- rewrite ------------------------------------------------------------------------------------


def members(body: bytes) -> dict[str, str]:
    """The top-level fields as text, in their order: an own, slow reading."""
    decoder, text, found = json.JSONDecoder(), body.decode(), {}
    place = 1
    while text[place] != "}":
        name, place = decoder.raw_decode(text, place + (text[place] == ","))
        _, end = decoder.raw_decode(text, place + 1)
        found[name] = text[place + 1 : end]
        place = end
    return found


@pytest.mark.parametrize("exchange", REQUESTS, ids=lambda exchange: exchange.name)
def test_a_recorded_request_keeps_every_byte_but_its_limit(exchange: Exchange) -> None:
    request = read_request(exchange.body())
    assert isinstance(request, MessagesRequest)
    asked = exchange.request["max_tokens"]
    assert rewrite(request, output_limit=asked) == exchange.body()
    lowered = members(rewrite(request, output_limit=asked - 1))
    assert lowered == {**members(exchange.body()), "max_tokens": str(asked - 1)}
    assert list(lowered) == list(exchange.request)


ODD = rb"""{ "model" : "m\u0031", "temperature":1.50e-1 , "stop_sequences":["\u00e9\/", "\ud83d\ude00"],
"messages":[ {"role":"user", "content":"caf\u00c3\u00a9"} ], "metadata":{"user_id" : "x"}, "top_p":1.0 ,
"unknown":{"deep":[ 1,2 ,{"x":[]}]}, "max_tokens":  5, "stream": true}"""


def test_spelling_is_kept() -> None:
    request = read_request(ODD)
    assert isinstance(request, MessagesRequest)
    after = rewrite(request, output_limit=3)
    for kept in (
        rb'"m\u0031"',
        b"1.50e-1",
        rb'["\u00e9\/", "\ud83d\ude00"]',
        rb'[ {"role":"user", "content":"caf\u00c3\u00a9"} ]',
        b'{"user_id" : "x"}',
        b'{"deep":[ 1,2 ,{"x":[]}]}',
        b'"max_tokens":3,',
        b'"stream":true',
    ):
        assert kept in after


def test_the_model_can_be_replaced() -> None:
    request = read()
    assert json.loads(rewrite(request, output_limit=1, model='provider/"x"'))["model"] == 'provider/"x"'


@given(st.integers(0, 10**18))
def test_the_limit_that_binds_is_written_exactly(limit: int) -> None:
    assert sent(read(max_tokens=7), limit) == {**LEAST, "max_tokens": limit}


THINKING = {"type": "enabled", "budget_tokens": 16_384, "display": "summarized"}


@pytest.mark.parametrize(
    ("limit", "thinking"),
    [
        (20_000, THINKING),  # as asked
        (16_385, THINKING),  # still fits
        (16_384, {**THINKING, "budget_tokens": 13_421}),  # in proportion: 16,384 of 20,000
        (10_000, {**THINKING, "budget_tokens": 8_192}),
        (1_100, {**THINKING, "budget_tokens": 1_024}),  # the least that the API takes
        (1_025, {**THINKING, "budget_tokens": 1_024}),
        (1_024, {"type": "disabled"}),
        (1, {"type": "disabled"}),
    ],
)
def test_a_thinking_budget_fits_under_a_lowered_limit(limit: int, thinking: Any) -> None:
    request = read(max_tokens=20_000, thinking=THINKING)
    assert request.thinking_tokens == 16_384
    assert sent(request, limit) == {**LEAST, "max_tokens": limit, "thinking": thinking}


@given(asked=st.integers(2, 100_000), share=st.floats(0, 1), lowered=st.floats(0, 1))
def test_the_api_takes_every_budget_that_is_sent(asked: int, share: float, lowered: float) -> None:
    budget = max(1, int(share * (asked - 1)))
    limit = max(1, int(lowered * asked))
    thinking = sent(read(max_tokens=asked, thinking={**THINKING, "budget_tokens": budget}), limit)["thinking"]
    if thinking["type"] == "enabled":
        assert thinking["budget_tokens"] < limit
        assert thinking["budget_tokens"] >= min(budget, 1_024)
    else:
        assert thinking == {"type": "disabled"}
        assert limit <= 1_024


@pytest.mark.parametrize(
    "thinking",
    [
        {"type": "adaptive", "display": "omitted"},
        {"type": "disabled"},
        {"type": "enabled", "budget_tokens": 50_000},  # interleaved thinking: above the limit from the start
        {"type": "enabled", "budget_tokens": 20_000},
    ],
)
def test_other_thinking_stays_as_it_was(thinking: Any) -> None:
    assert sent(read(max_tokens=20_000, thinking=thinking), 5_000)["thinking"] == thinking


# --- anything else ------------------------------------------------------------------------------

NAMES = st.sampled_from([*LEAST, *WRONG, *NULLS, "plugins", "Model", "x", "output_config", "compaction"])
INNER = st.sampled_from(
    [
        *(
            "type",
            "text",
            "source",
            "data",
            "url",
            "file_id",
            "role",
            "content",
            "citations",
            "tool",
            "tool_references",
        ),
        *("cache_control", "ttl", "name", "input", "definition", "edits", "bill_to", "budget_tokens", "max_uses"),
        *("tool_name", "Type", "caching", "tool_changes"),
    ]
)
WORDS = st.sampled_from(
    [
        *("text", "image", "document", "base64", "file", "content", "tool_use", "tool_reference", "tool_definition"),
        *("tool_addition", "tool_result", "container_upload", "custom", "bash_20250124", "web_search_20250305"),
        *("1h", "5m", "ephemeral", "http://x", "clear_thinking_20251015", "create", "self", "fast", "us"),
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER | st.text(max_size=3), inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(NAMES, ANYTHING, max_size=4), st.lists(st.dictionaries(INNER, ANYTHING), max_size=2))
def test_json_of_any_shape_is_read_or_refused(fields: dict[str, Any], messages: list[Any]) -> None:
    given_ = {**LEAST, "messages": messages, **fields}
    request = read_request(encode(given_))
    if isinstance(request, MessagesRequest):
        assert 0 <= request.asked.text_tokens < 10**6
        assert 0 <= request.asked.images < 1_000
        after = sent(request, 1)
        assert {**after, "thinking": None} == {**given_, "max_tokens": 1, "thinking": None}
    else:
        assert request.code in {"request_invalid", "object_unknown"}


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_refused(body: bytes) -> None:
    assert isinstance(read_request(body), Refusal)
