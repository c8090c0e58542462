"""What providers report becomes our meters, exactly, or is said to be malformed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.pricing.usage import Usage
from comptroller.wire.openai_chat import Answer, read_answer, read_usage
from tests.wire.recorded import CHAT, Exchange

WHOLE = [exchange for exchange in CHAT if not exchange.stream]


def plainly(reported: Any, tier: str | None) -> Usage:
    """OpenAI's own numbers by an own, simple reading: their recordings have every field."""
    inside, made = reported["prompt_tokens_details"], reported["completion_tokens_details"]
    return Usage(
        input_tokens=reported["prompt_tokens"],
        output_tokens=reported["completion_tokens"],
        cached_tokens=inside["cached_tokens"],
        cache_write_tokens=inside.get("cache_write_tokens", 0),
        audio_input_tokens=inside["audio_tokens"],
        reasoning_tokens=made["reasoning_tokens"],
        audio_output_tokens=made["audio_tokens"],
        service_tier=tier,
    )


@pytest.mark.parametrize("exchange", WHOLE, ids=lambda exchange: exchange.name)
def test_a_recorded_answer(exchange: Exchange) -> None:
    answer = read_answer(exchange.response)
    truth = json.loads(exchange.response)
    assert not answer.malformed
    if exchange.status != 200:
        assert answer == Answer()
        return
    assert answer.usage == plainly(truth["usage"], truth["service_tier"])
    assert (answer.served_model, answer.service_tier) == (truth["model"], truth["service_tier"])


def test_the_recordings_have_what_is_hard() -> None:
    usages = [usage for exchange in WHOLE if (usage := read_answer(exchange.response).usage)]
    assert any(usage.cached_tokens for usage in usages)
    assert any(usage.reasoning_tokens for usage in usages)


def usage(prompt: int, completion: int, **fields: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **fields}


def made(reasoning: int) -> dict[str, Any]:
    return {"completion_tokens_details": {"reasoning_tokens": reasoning}}


def cached(tokens: int) -> dict[str, Any]:
    return {"prompt_tokens_details": {"cached_tokens": tokens}}


READ: dict[str, tuple[dict[str, Any], Usage]] = {
    "least": (usage(10, 5), Usage(10, 5)),
    "zero": (usage(0, 0, total_tokens=0), Usage(0, 0)),
    "nulls": (
        usage(10, 5, total_tokens=None, prompt_tokens_details=None, completion_tokens_details=None),
        Usage(10, 5),
    ),
    "null inside": (usage(10, 5, prompt_tokens_details={"cached_tokens": None, "audio_tokens": None}), Usage(10, 5)),
    "cached is inside of the total": (usage(10, 5, total_tokens=15, **cached(8)), Usage(10, 5, cached_tokens=8)),
    "cache write": (
        usage(10, 5, prompt_tokens_details={"cached_tokens": 2, "cache_write_tokens": 7}),
        Usage(10, 5, cached_tokens=2, cache_write_tokens=7),
    ),
    "audio": (
        usage(10, 5, prompt_tokens_details={"audio_tokens": 4}, completion_tokens_details={"audio_tokens": 3}),
        Usage(10, 5, audio_input_tokens=4, audio_output_tokens=3),
    ),
    "DeepSeek": (
        usage(10, 5, total_tokens=15, prompt_cache_hit_tokens=6, prompt_cache_miss_tokens=4),
        Usage(10, 5, cached_tokens=6),
    ),
    "Moonshot": (usage(10, 5, total_tokens=15, cached_tokens=6), Usage(10, 5, cached_tokens=6)),
    "an explicit zero stands": (usage(10, 5, prompt_cache_hit_tokens=6, **cached(0)), Usage(10, 5)),
    "OpenAI reasoning is inside": (usage(10, 50, total_tokens=60, **made(40)), Usage(10, 50, reasoning_tokens=40)),
    "xAI reasoning is beside": (usage(10, 5, total_tokens=55, **made(40)), Usage(10, 45, reasoning_tokens=40)),
    "Gemini thinking is unnamed": (usage(10, 5, total_tokens=55), Usage(10, 45, reasoning_tokens=40)),
    "images": (
        usage(10, 5, prompt_tokens_details={"image_tokens": 4}, completion_tokens_details={"image_tokens": 3}),
        Usage(10, 5, image_input_tokens=4, image_output_tokens=3),
    ),
    "sound and images of which some must be from the cache": (
        usage(10, 5, prompt_tokens_details={"cached_tokens": 8, "audio_tokens": 4, "image_tokens": 3}),
        Usage(
            *(10, 5, 8),
            audio_input_tokens=4,
            image_input_tokens=3,
            cached_audio_tokens=2,
            cached_image_tokens=3,
        ),
    ),
    "sound of which none need be from the cache": (
        usage(10, 5, prompt_tokens_details={"cached_tokens": 6, "audio_tokens": 4}),
        Usage(10, 5, 6, audio_input_tokens=4),
    ),
    "cached beside the prompt": (usage(10, 5, total_tokens=115, **cached(100)), Usage(110, 5, cached_tokens=100)),
    "a total that is too small": (usage(10, 5, total_tokens=3), Usage(10, 5)),
    "unknown fields": (usage(10, 5, cost=0.01, is_byok=False, queue_time=1.5, x={"y": []}), Usage(10, 5)),
}


@pytest.mark.parametrize("what", READ)
def test_usage_as_servers_report_it(what: str) -> None:
    reported, expected = READ[what]
    assert read_usage(reported, None) == expected
    answer = read_answer(json.dumps({"usage": reported, "service_tier": "flex", "model": "m"}).encode())
    assert answer.usage is not None
    assert answer.usage.service_tier == answer.service_tier == "flex"


UNREADABLE: list[Any] = [
    usage(-1, 5),
    usage(10, -5),
    usage(10, 10**30),
    usage(10**12, 5),
    {"prompt_tokens": 10},
    {"completion_tokens": 5},
    {"prompt_tokens": None, "completion_tokens": None},
    {"prompt_tokens": "10", "completion_tokens": 5},
    {"prompt_tokens": 10, "completion_tokens": 5.5},
    {"prompt_tokens": True, "completion_tokens": 5},
    usage(10, 5, total_tokens="15"),
    usage(10, 5, prompt_tokens_details=[]),
    usage(10, 5, prompt_tokens_details={"cached_tokens": -1}),
    usage(10, 5, completion_tokens_details={"reasoning_tokens": 1.5}),
    [1],
    "10",
    10,
    True,
]


@pytest.mark.parametrize("reported", UNREADABLE, ids=str)
def test_usage_that_cannot_be(reported: Any) -> None:
    assert read_usage(reported, None) is None
    answer = read_answer(json.dumps({"usage": reported, "model": "m"}).encode())
    assert answer == Answer(usage_malformed=True, served_model="m"), "the answer itself is good"


@pytest.mark.parametrize("body", [b"{}", b'{"usage":null}', b'{"usage":{}}', b'{"choices":[]}'])
def test_an_answer_without_usage_is_not_malformed(body: bytes) -> None:
    assert read_answer(body) == Answer()


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"x", b'{"a":', b'{"a":1}}', b'{"a":' * 100_000, b"\xff"])
def test_an_answer_that_is_malformed(body: bytes) -> None:
    assert read_answer(body) == Answer(malformed=True)


@pytest.mark.parametrize("name", [1, "", "a\r\nset-cookie: b", "m" * 300, ["m"], {}, True])
def test_a_name_that_could_not_stand_in_a_header(name: Any) -> None:
    answer = read_answer(json.dumps({"model": name, "service_tier": name, "usage": usage(1, 1)}).encode())
    assert (answer.served_model, answer.service_tier, answer.usage) == (None, None, Usage(1, 1))


NAMES = st.sampled_from([*Usage.__struct_fields__, "prompt_tokens", "completion_tokens", "total_tokens"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)


@given(st.binary(max_size=100) | ANYTHING.map(lambda value: json.dumps({"usage": value, "model": value}).encode()))
def test_nothing_raises(body: bytes) -> None:
    answer = read_answer(body)
    if answer.usage is not None:
        assert answer.usage.input_tokens >= 0
        assert answer.usage.output_tokens >= 0


def test_writes_to_a_cache_that_lasts_are_known_by_the_request_alone() -> None:
    reported = usage(10, 5, prompt_tokens_details={"cache_write_tokens": 6})
    for long_cache in (False, True):
        expected = Usage(10, 5, cache_write_tokens=6, cache_write_1h_tokens=6 if long_cache else 0)
        assert read_usage(reported, None, long_cache) == expected
        assert read_answer(json.dumps({"usage": reported}).encode(), long_cache).usage == expected
