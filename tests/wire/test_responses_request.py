"""What a Responses request may be, and what leaves in its place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import Named
from comptroller.wire.openai_responses import ResponsesRequest, read_request, rewrite
from tests.wire.recorded import Exchange, load
from tests.wire.test_chat_request import members

RESPONSES = load("openai_responses")
REQUESTS = [exchange for exchange in RESPONSES if exchange.request is not None]
LEAST: dict[str, Any] = {"model": "m", "input": "hi"}


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def read(**fields: Any) -> ResponsesRequest:
    request = read_request(encode({**LEAST, **fields}))
    assert isinstance(request, ResponsesRequest), request
    return request


def refused(code: str = "request_invalid", /, **fields: Any) -> Refusal:
    refusal = read_request(encode({**LEAST, **fields}))
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    return refusal


def test_the_least_request() -> None:
    asked = read().asked
    assert (asked.model, asked.stream, asked.choices, asked.images, asked.rounds) == ("m", False, 1, 0, 1)
    assert (asked.output_limit, asked.service_tier, asked.audio_input) == (None, None, False)
    assert (asked.unbounded, asked.fees, asked.web_searches, asked.file_searches) == ((), (), 0, 0)


NULLS = (
    *("stream", "max_output_tokens", "max_tool_calls", "service_tier", "tools", "instructions", "reasoning", "text"),
    *("background", "previous_response_id", "conversation", "prompt", "context_management", "prompt_cache_options"),
    *("max_tokens", "n_predict", "n", "web_search", "plugins", "store", "include"),
)


@pytest.mark.parametrize("name", NULLS)
def test_null_is_the_same_as_nothing(name: str) -> None:
    with_null, without = read(**{name: None}).asked, read().asked
    assert {**as_dict(with_null), "text_tokens": 0} == {**as_dict(without), "text_tokens": 0}


def as_dict(asked: Any) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in asked.__struct_fields__}


@pytest.mark.parametrize("name", LEAST)
def test_what_every_request_needs(name: str) -> None:
    refusal = read_request(encode({key: value for key, value in LEAST.items() if key != name}))
    assert isinstance(refusal, Refusal)
    assert refusal.param == name
    assert refusal.sentence.startswith(f"The request has no `{name}`: ")


WRONG: dict[str, list[Any]] = {
    "model": [None, "", 1, [], {}, "m" * 257, "a\nb"],
    "input": [None, {}, 1, True],
    "instructions": [1, {}, True],
    "stream": [1, 0, "true", [], {}],
    "max_output_tokens": [0, -1, 1.0, 1e9, True, False, "100", [], {}, -(10**30)],
    "max_tool_calls": [-1, 1.5, True, "3", []],
    "service_tier": ["", 1, True, [], {}, "x" * 65],
    "tools": [{}, "function", 1, True],
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
        ({"input": ["hi"]}, "input[0]"),
        ({"input": [{"role": "user", "content": "x"}, None]}, "input[1]"),
        ({"instructions": [7]}, "instructions[0]"),
        ({"tools": ["web_search"]}, "tools"),
        ({"tools": [{"type": 1}]}, "tools"),
        ({"tools": [{"type": "function", "Type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "namespace", "tools": [7]}]}, "tools"),
        ({"input": [{"type": "additional_tools", "role": "developer", "tools": ["x"]}]}, "tools"),
    ],
)
def test_what_is_wrong_inside(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields).param == param


@pytest.mark.parametrize("name", ["Input", "MAX_OUTPUT_TOKENS", "Stream", "Max_Tokens", "max_output_to\u212aens"])
def test_another_spelling_that_some_servers_read_is_refused(name: str) -> None:
    assert "not written as the API writes it" in refused(**{name: 10**6}).sentence


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "Content": [{"type": "input_text", "text": "x"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "x", "Type": "input_file"}]},
        {"type": "function_call_output", "call_id": "c", "output": "x", "Output": "y"},
        {"type": "additional_tools", "Tools": []},
    ],
)
def test_another_spelling_in_an_item_is_refused(item: dict[str, Any]) -> None:
    assert refused(input=[item]).param == "input"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n_predict", "max_new_tokens"])
def test_other_names_of_the_limit_are_refused(name: str) -> None:
    refusal = refused(**{name: 5})
    assert (refusal.param, refusal.hint) == (name, "Send `max_output_tokens`.")


def test_more_answers_are_refused() -> None:
    for name in ("n", "best_of", "n_cmpl"):
        assert refused(**{name: 2}).param == name
        assert read(**{name: 1}).asked.choices == 1


def test_fast_is_billed_as_what_the_answer_calls_priority() -> None:
    assert read(service_tier="fast").asked.possible_tiers == {"fast", "priority", "default"}
    assert read(service_tier="flex").asked.possible_tiers is None


# --- what is stored -----------------------------------------------------------------------------


def test_a_prompt_is_made_elsewhere() -> None:
    for prompt in ({"id": "pmpt_1", "variables": {}}, "pmpt_1", 7, {}):
        refusal = refused("object_unknown", prompt=prompt)
        assert (refusal.status, refusal.param) == (402, "prompt")


def used(item: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": "x"}, item]}


def offered(**tool: Any) -> dict[str, Any]:
    return {"tools": [tool]}


def part(**content: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [content]}]}


NAMED: list[tuple[dict[str, Any], Named]] = [
    ({"previous_response_id": 7}, Named("", "response", "previous_response_id")),
    ({"conversation": "conv_1"}, Named("conv_1", "conversation", "conversation")),
    ({"conversation": {"id": "conv_1"}}, Named("conv_1", "conversation", "conversation")),
    ({"conversation": {"ID": "conv_1"}}, Named("", "conversation", "conversation")),
    ({"conversation": 7}, Named("", "conversation", "conversation")),
    (
        {"prompt_cache_options": {"comparison_response_id": "resp_1"}},
        Named("resp_1", "response", "prompt_cache_options", False),
    ),
    (used({"type": "item_reference", "id": "msg_1"}), Named("msg_1", "item", "input[1]")),
    (used({"id": "msg_1"}), Named("msg_1", "item", "input[1]")),
    (used({"type": "reasoning", "id": "rs_1", "summary": []}), Named("rs_1", "item", "input[1]")),
    (used({"type": "image_generation_call", "id": "ig_1", "result": None}), Named("ig_1", "item", "input[1]")),
    (
        used({"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1"}),
        Named("cntr_1", "container", "input[1]", False),
    ),
    (part(type="input_file", file_id="file-1"), Named("file-1", "file", "input")),
    (part(type="input_image", file_id="file-1"), Named("file-1", "file", "input", False)),
    (offered(type="code_interpreter", container="cntr_1"), Named("cntr_1", "container", "tools", False)),
    (
        offered(type="code_interpreter", container={"type": "auto", "file_ids": ["file-1"]}),
        Named("file-1", "file", "tools", False),
    ),
    (
        offered(type="shell", environment={"type": "container_reference", "container_id": "cntr_1"}),
        Named("cntr_1", "container", "tools", False),
    ),
    (offered(type="file_search", vector_store_ids=["vs_1"]), Named("vs_1", "vector_store", "tools", False)),
    (
        offered(type="image_generation", input_image_mask={"file_id": "file-1"}),
        Named("file-1", "file", "tools", False),
    ),
]


@pytest.mark.parametrize(("fields", "named"), NAMED)
def test_what_a_provider_stores_is_somebodys(fields: dict[str, Any], named: Named) -> None:
    use = read(**fields).asked.stored
    assert use is not None
    assert use.named == (named,)


def test_what_a_tool_of_the_callers_is_given_names_nothing() -> None:
    function = {"type": "function", "name": "f", "parameters": {"properties": {"file_id": {"type": "string"}}}}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"file_id": "file-1"}'}
    use = read(tools=[function], **used(call)).asked.stored
    assert use is not None
    assert use.named == ()


@pytest.mark.parametrize("name", ["resp_1", "", "../x"])
def test_a_response_that_it_goes_on_with_is_for_our_records_to_know(name: str) -> None:
    use = read(previous_response_id=name).asked.stored
    assert use is not None
    assert (use.named, use.deletes) == ((Named(name, "response", "previous_response_id"),), False)


@pytest.mark.parametrize(
    ("fields", "keeps"), [({}, "response"), ({"store": None}, "response"), ({"store": False}, None)]
)
def test_an_answer_is_kept_unless_the_request_says_no(fields: dict[str, Any], keeps: str | None) -> None:
    use = read(**fields).asked.stored
    assert use is not None
    assert (use.named, use.keeps) == ((), keeps)


def test_a_context_that_may_be_shortened_is_larger_than_what_is_reported() -> None:
    assert [read(truncation=how).asked.shortened for how in (None, "disabled", "auto", {})] == [
        False,
        False,
        True,
        True,
    ]


def test_what_goes_on_after_its_answer_is_known_and_can_be_asked_for() -> None:
    for value in (1, "true", {}):
        assert refused("request_invalid", background=value).param == "background"
    assert refused("request_invalid", background=True, store=False).param == "store"
    assert [read(background=value).asked.deferred for value in (True, False, None)] == [True, False, False]


@pytest.mark.parametrize("store", [{}, {"store": True}, {"store": False}, {"store": None}])
def test_whether_it_is_stored_goes_on_as_asked(store: dict[str, Any]) -> None:
    sent = json.loads(rewrite(read(**store), output_limit=16))
    assert {name: value for name, value in sent.items() if name == "store"} == store


# --- rewrite ------------------------------------------------------------------------------------


@pytest.mark.parametrize("exchange", REQUESTS, ids=lambda exchange: exchange.name)
def test_a_recorded_request_keeps_every_byte_that_is_not_ours(exchange: Exchange) -> None:
    body = exchange.body()
    request = read_request(body)
    if isinstance(request, Refusal):
        assert request.code in {"object_unknown", "unsupported"}
        return
    before, after = members(body), members(rewrite(request, output_limit=77))
    assert after == before | {"max_output_tokens": "77"}


ODD = rb"""{ "model" : "m\u0031", "temperature":1.50e-1 , "user":"\u00e9\/\ud83d\ude00",
"input":[ {"role":"user", "content":"caf\u00c3\u00a9"} ], "metadata":{"k" : 1e2}, "client_metadata":{"x":[ 1 ]},
"unknown":{"deep":[ 1,2 ,{"x":[]}]}, "max_output_tokens":  50, "include":["reasoning.encrypted_content"]}"""


def test_spelling_and_order_are_kept() -> None:
    request = read_request(ODD)
    assert isinstance(request, ResponsesRequest)
    assert request.asked.output_limit == 50
    after = rewrite(request, output_limit=30)
    assert list(json.loads(after)) == list(json.loads(ODD))
    for kept in (
        rb'"m\u0031"',
        b"1.50e-1",
        rb'[ {"role":"user", "content":"caf\u00c3\u00a9"} ]',
        b'{"x":[ 1 ]}',
        b'{"deep":[ 1,2 ,{"x":[]}]}',
        b'"max_output_tokens":30',
    ):
        assert kept in after


def test_the_model_can_be_replaced() -> None:
    assert json.loads(rewrite(read(), output_limit=1, model='provider/"x"'))["model"] == 'provider/"x"'


@given(st.integers(1, 10**18))
def test_the_limit_that_binds_is_written_exactly(limit: int) -> None:
    assert json.loads(rewrite(read(max_output_tokens=5), output_limit=limit))["max_output_tokens"] == limit


# --- anything else ------------------------------------------------------------------------------

NAMES = st.sampled_from([*LEAST, *WRONG, *NULLS, "Model", "x", "models", "conversation", "user"])
INNER = st.sampled_from(
    [
        *("type", "text", "image_url", "id", "role", "content", "output", "file_id", "tools", "result", "Type"),
        *("encrypted_content", "summary", "action", "environment", "container", "mode", "ttl"),
    ]
)
WORDS = st.sampled_from(
    [
        *("message", "input_image", "input_file", "reasoning", "function_call_output", "web_search", "namespace"),
        *("image_generation_call", "additional_tools", "item_reference", "shell", "http://x", "function"),
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER | st.text(max_size=3), inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(NAMES, ANYTHING, max_size=4), st.lists(st.dictionaries(INNER, ANYTHING), max_size=2))
def test_json_of_any_shape_is_read_or_refused(fields: dict[str, Any], items: list[Any]) -> None:
    request = read_request(encode({**LEAST, "input": items, **fields}))
    if isinstance(request, ResponsesRequest):
        asked = request.asked
        assert asked.text_tokens >= 0
        assert asked.images >= 0
        assert 1 <= asked.rounds <= 1001
        assert json.loads(rewrite(request, output_limit=16))["max_output_tokens"] == 16
    else:
        assert request.code in {"request_invalid", "object_unknown", "unsupported"}


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_refused(body: bytes) -> None:
    assert isinstance(read_request(body), Refusal)
