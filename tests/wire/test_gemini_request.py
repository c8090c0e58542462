"""A Gemini request: what is read, what is refused, and what leaves."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.refusal import Refusal
from comptroller.wire.gemini import GenerateRequest, read_request, rewrite
from comptroller.wire.gemini.names import snake
from comptroller.wire.head import Head
from tests.wire.recorded import Exchange, load

GEMINI = load("gemini")
HEAD = Head("gemini-x")
SAID: Any = [{"role": "user", "parts": [{"text": "hello"}]}]
LEAST: Any = {"contents": SAID}


def encode(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def read(body: Any = None, /, **fields: Any) -> GenerateRequest:
    found = read_request(encode({**LEAST, **fields} if body is None else body), HEAD, stream=False)
    assert not isinstance(found, Refusal), found
    return found


def refused(body: Any = None, /, head: Head = HEAD, **fields: Any) -> Refusal:
    found = read_request(encode({**LEAST, **fields} if body is None else body), head, stream=False)
    assert isinstance(found, Refusal)
    assert found.code == "request_invalid"
    assert found.hint
    return found


def sent(request: GenerateRequest, output_limit: int = 7, model: str | None = None) -> Any:
    return json.loads(rewrite(request, output_limit=output_limit, model=model))


# --- what is read -------------------------------------------------------------------------------


def test_the_least() -> None:
    asked = read().asked
    assert (asked.model, asked.stream, asked.output_limit, asked.choices) == ("gemini-x", False, None, 1)
    assert (asked.images, asked.unbounded, asked.fees, asked.free) == (0, (), (), False)
    assert asked.text_tokens >= len(encode(LEAST))


def test_the_stream_is_in_the_path() -> None:
    found = read_request(encode(LEAST), HEAD, stream=True)
    assert not isinstance(found, Refusal)
    assert found.asked.stream


@pytest.mark.parametrize("config", ["generationConfig", "generation_config"])
@pytest.mark.parametrize("limit", ["maxOutputTokens", "max_output_tokens"])
@pytest.mark.parametrize("count", ["candidateCount", "candidate_count"])
def test_both_spellings_mean_the_same(config: str, limit: str, count: str) -> None:
    asked = read(**{config: {limit: 50, count: 3}}).asked
    assert (asked.output_limit, asked.choices) == (50, 3)


@pytest.mark.parametrize(
    ("said", "tier", "possible"),
    [
        (None, None, {"default"}),
        ("unspecified", None, {"default"}),
        ("standard", "standard", None),
        ("flex", "flex", None),
        ("PRIORITY", "priority", None),
        ("SERVICE_TIER_FLEX", "flex", None),
    ],
)
def test_service_tiers(said: str | None, tier: str | None, possible: set[str] | None) -> None:
    for name in ("serviceTier", "service_tier"):
        asked = read(**{name: said}).asked
        assert (asked.service_tier, asked.possible_tiers) == (tier, possible)


@pytest.mark.parametrize(
    ("modalities", "audio", "fees"),
    [
        (["TEXT"], False, 0),
        (["TEXT", "IMAGE"], False, 0),
        (["AUDIO"], True, 0),
        (["audio"], True, 0),
        ("AUDIO", True, 0),
        (["VIDEO"], False, 1),
    ],
)
def test_what_the_answer_may_be(modalities: Any, audio: bool, fees: int) -> None:
    asked = read(generationConfig={"responseModalities": modalities}).asked
    assert (asked.audio_output, len(asked.fees)) == (audio, fees)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"contents": []}, "contents"),
        ({"contents": None}, "contents"),
        ({"generationConfig": 5}, "generationConfig"),
        ({"generationConfig": {"maxOutputTokens": "100"}}, "maxOutputTokens"),
        ({"generationConfig": {"maxOutputTokens": 0}}, "maxOutputTokens"),
        ({"generationConfig": {"maxOutputTokens": 1.5}}, "maxOutputTokens"),
        ({"generationConfig": {"max_output_tokens": -1}}, "maxOutputTokens"),
        ({"generationConfig": {"candidateCount": 9}}, "candidateCount"),
        ({"generationConfig": {"candidateCount": True}}, "candidateCount"),
        ({"generationConfig": {"responseModalities": [1]}}, "responseModalities"),
        ({"serviceTier": 2}, "serviceTier"),
        ({"tools": [5]}, "tools"),
    ],
)
def test_values_that_cannot_be(fields: Any, param: str) -> None:
    assert refused(**fields).param == param


@pytest.mark.parametrize(
    "body",
    [
        {"contents": SAID, "generationConfig": {"maxOutputTokens": 1}, "generation_config": {"maxOutputTokens": 9_000}},
        {"contents": SAID, "generationConfig": {"maxOutputTokens": 1, "max_output_tokens": 9_000}},
        {"contents": SAID, "generationConfig": {"candidateCount": 1, "candidate_count": 8}},
        {"contents": SAID, "cachedContent": None, "cached_content": "cachedContents/x"},
        {"contents": [{"parts": [{"fileData": None, "file_data": {"fileUri": "x"}}]}]},
        {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "mime_type": "video/mp4", "data": ""}}]}]},
        {"contents": SAID, "tools": [{"googleSearch": None, "google_search": {}}]},
    ],
)
def test_one_field_in_two_spellings_is_refused(body: Any) -> None:
    assert "twice" in refused(body).sentence


@pytest.mark.parametrize(
    "body",
    [
        {"contents": SAID, "GenerationConfig": {"maxOutputTokens": 9_000}},
        {"contents": SAID, "generationconfig": {"maxOutputTokens": 9_000}},
        {"contents": SAID, "generationConfig": {"MaxOutputTokens": 9_000}},
        {"contents": SAID, "generationConfig": {"max_outputTokens": 9_000}},
        {"contents": [{"parts": [{"FileData": {"fileUri": "x"}}]}]},
        {"contents": [{"Parts": [{"fileData": {"fileUri": "x"}}]}]},
        {"contents": SAID, "tools": [{"GoogleSearch": {}}]},
    ],
)
def test_what_only_some_parsers_would_read_is_refused(body: Any) -> None:
    assert "camelCase" in refused(body).hint


@pytest.mark.parametrize(
    "name", ["max_tokens", "maxTokens", "max_completion_tokens", "maxNewTokens", "maxOutputTokens"]
)
def test_other_names_of_the_limit_are_refused(name: str) -> None:
    assert "maxOutputTokens" in refused(**{name: 9_000}).hint
    if name != "maxOutputTokens":
        assert "maxOutputTokens" in refused(generationConfig={name: 9_000}).hint


def test_the_body_names_the_model_of_the_path_or_none() -> None:
    assert read(model="gemini-x").asked.model == read(model="models/gemini-x").asked.model == "gemini-x"
    for other in ("gemini-y", "models/gemini-y", "MODELS/gemini-x", 5, {}):
        assert refused(model=other).param == "model"


@pytest.mark.parametrize("named", ["", "x" * 257, "a\nb", "a\x00b"])
def test_names_that_no_model_has(named: str) -> None:
    assert refused(LEAST, head=Head(named)).param == "model"


# --- what leaves --------------------------------------------------------------------------------


@pytest.mark.parametrize("config", ["generationConfig", "generation_config"])
@pytest.mark.parametrize("limit", ["maxOutputTokens", "max_output_tokens"])
def test_one_limit_leaves_as_it_was_spelled(config: str, limit: str) -> None:
    body = {**LEAST, config: {"temperature": 0.5, limit: 50}}
    assert sent(read(body)) == {**LEAST, config: {"temperature": 0.5, limit: 7}}


@pytest.mark.parametrize("config", [{}, {"generationConfig": None}, {"generationConfig": {}}])
def test_a_limit_leaves_where_none_came(config: Any) -> None:
    assert sent(read(**config)) == {**LEAST, "generationConfig": {"maxOutputTokens": 7}}


def test_everything_else_leaves_as_it_came() -> None:
    body = b'{"contents":[{"parts":[{"text":"\\u00e9"}]}],"labels":{},"generationConfig":{"topP":1.00},"new":[1e2]}'
    found = read_request(body, HEAD, stream=False)
    assert not isinstance(found, Refusal)
    left = rewrite(found, output_limit=7)
    assert left == body.replace(b'{"topP":1.00}', b'{"topP":1.00,"maxOutputTokens":7}')


@pytest.mark.parametrize(
    ("asked", "limit", "budget", "left"),
    [
        (8_000, 4_000, 6_000, 2_000),  # no longer fits
        (None, 4_000, 6_000, 2_000),
        (8_000, 4_000, 3_000, 3_000),  # fits
        (8_000, 8_000, 9_000, 9_000),  # was not lowered: the caller's own choice
        (8_000, 800, 6_000, 512),  # the least that every model takes
        (8_000, 512, 6_000, 6_000),  # no room for that
        (8_000, 4_000, -1, -1),  # as the model likes
        (8_000, 4_000, 0, 0),
        (8_000, 4_000, None, None),
    ],
)
@pytest.mark.parametrize("spelled", [str, snake])
def test_thinking_leaves_room_for_an_answer_under_a_lowered_limit(
    asked: int | None, limit: int, budget: int | None, left: int | None, spelled: Any
) -> None:
    thinking = {spelled("includeThoughts"): True, spelled("thinkingBudget"): budget}
    config = {spelled("thinkingConfig"): thinking, **({} if asked is None else {spelled("maxOutputTokens"): asked})}
    found = sent(read(generationConfig=config), limit)["generationConfig"]
    assert found[spelled("thinkingConfig")] == {**thinking, spelled("thinkingBudget"): left}


def test_thinking_that_is_not_clear_is_refused() -> None:
    both = {"thinkingBudget": 1, "thinking_budget": 9_000}
    assert "twice" in refused(generationConfig={"thinkingConfig": both}).sentence
    assert refused(generationConfig={"thinkingConfig": 5}).param == "thinkingConfig"
    assert sent(read(generationConfig={"thinkingConfig": None}))["generationConfig"]["thinkingConfig"] is None


def test_another_model_is_named_only_where_the_body_names_one() -> None:
    assert "model" not in sent(read(), model="other")
    assert sent(read(model="gemini-x"), model="other")["model"] == "models/other"


@pytest.mark.parametrize("exchange", GEMINI, ids=lambda exchange: exchange.name)
def test_a_recorded_request_leaves_as_it_came_but_for_the_limit(exchange: Exchange) -> None:
    head = Head(exchange.model)
    found = read_request(exchange.body(), head, stream=exchange.stream)
    assert not isinstance(found, Refusal), found
    asked = exchange.request.get("generationConfig", {}).get("maxOutputTokens")
    assert (found.asked.model, found.asked.output_limit) == (exchange.model, asked)
    config = {**exchange.request.get("generationConfig", {}), "maxOutputTokens": 7}
    assert sent(found) == {**exchange.request, "generationConfig": config}


NAMES = st.sampled_from(
    ["maxOutputTokens", "max_output_tokens", "candidateCount", "temperature", "Maxoutputtokens", "x"]
)


@given(st.dictionaries(NAMES, st.integers(-1, 10) | st.none() | st.text(max_size=2), max_size=4))
def test_whatever_is_read_leaves_with_one_limit(config: Any) -> None:
    found = read_request(encode({**LEAST, "generationConfig": config}), HEAD, stream=False)
    if isinstance(found, Refusal):
        return
    left = json.loads(rewrite(found, output_limit=3))["generationConfig"]
    assert [value for name, value in left.items() if name.replace("_", "").casefold() == "maxoutputtokens"] == [3]


def test_snake_case() -> None:
    assert snake("maxOutputTokens") == "max_output_tokens"
    assert snake("topK") == "top_k"
