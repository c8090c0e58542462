"""What Responses providers report becomes our meters, exactly, or is said to be malformed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.pricing.usage import Usage
from comptroller.wire.openai_responses import Answer, read_answer, read_usage
from tests.wire.recorded import Exchange
from tests.wire.test_responses_request import RESPONSES

WHOLE = [exchange for exchange in RESPONSES if not exchange.stream]


def plainly(response: Any) -> Usage:
    """OpenAI's own numbers by an own, simple reading: their recordings have every field."""
    reported = response["usage"]
    inside = reported["input_tokens_details"]
    kinds = [item["type"] for item in response["output"]]
    opened = [item for item in response["output"] if item.get("action", {}).get("type") == "open_page"]
    return Usage(
        input_tokens=reported["input_tokens"],
        output_tokens=reported["output_tokens"],
        cached_tokens=inside["cached_tokens"],
        cache_write_tokens=inside.get("cache_write_tokens", 0),
        reasoning_tokens=reported["output_tokens_details"]["reasoning_tokens"],
        service_tier=response.get("service_tier"),
        web_search_requests=kinds.count("web_search_call") - len(opened),
        file_search_requests=kinds.count("file_search_call"),
    )


@pytest.mark.parametrize("exchange", WHOLE, ids=lambda exchange: exchange.name)
def test_a_recorded_answer(exchange: Exchange) -> None:
    answer = read_answer(exchange.response)
    truth = json.loads(exchange.response)
    assert not answer.malformed
    if exchange.status != 200:
        assert answer == Answer()
        return
    assert answer.usage == plainly(truth)
    assert (answer.served_model, answer.service_tier) == (truth["model"], truth.get("service_tier"))


def test_the_recordings_have_what_is_hard() -> None:
    usages = [usage for exchange in WHOLE if (usage := read_answer(exchange.response).usage)]
    assert any(usage.cached_tokens for usage in usages)
    assert any(usage.reasoning_tokens for usage in usages)
    assert max(usage.web_search_requests for usage in usages) == 7


def usage(given_tokens: int, made: int, **fields: Any) -> dict[str, Any]:
    return {"input_tokens": given_tokens, "output_tokens": made, **fields}


def inside(**fields: Any) -> dict[str, Any]:
    return {"input_tokens_details": fields}


def made(reasoning: int) -> dict[str, Any]:
    return {"output_tokens_details": {"reasoning_tokens": reasoning}}


READ: dict[str, tuple[dict[str, Any], Usage]] = {
    "least": (usage(10, 5), Usage(10, 5)),
    "zero": (usage(0, 0, total_tokens=0), Usage(0, 0)),
    "nulls": (
        usage(10, 5, total_tokens=None, input_tokens_details=None, output_tokens_details=None),
        Usage(10, 5),
    ),
    "cached is inside of the total": (
        usage(10, 5, total_tokens=15, **inside(cached_tokens=8)),
        Usage(10, 5, cached_tokens=8),
    ),
    "cache write": (
        usage(10, 5, **inside(cached_tokens=2, cache_write_tokens=7)),
        Usage(10, 5, cached_tokens=2, cache_write_tokens=7),
    ),
    "cache writes of two lifetimes": (
        usage(
            *(10, 5),
            **inside(cache_write_tokens=7, cache_write_tokens_details={"ttl_12h_tokens": 4, "ttl_30m_tokens": 3}),
        ),
        Usage(10, 5, cache_write_tokens=7, cache_write_1h_tokens=4),
    ),
    "reasoning is inside": (usage(10, 50, total_tokens=60, **made(40)), Usage(10, 50, reasoning_tokens=40)),
    "reasoning beside, as some servers count": (
        usage(10, 5, total_tokens=55, **made(40)),
        Usage(10, 45, reasoning_tokens=40),
    ),
    "sound and images": (
        usage(10, 5, **inside(audio_tokens=4, image_tokens=3), output_tokens_details={"audio_tokens": 2}),
        Usage(10, 5, audio_input_tokens=4, image_input_tokens=3, audio_output_tokens=2),
    ),
    "unknown fields": (usage(10, 5, cost=0.01, num_sources_used=3, x={"y": []}), Usage(10, 5)),
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
    usage(10, 10**30),
    {"input_tokens": 10},
    {"output_tokens": 5},
    {"prompt_tokens": 10, "completion_tokens": 5},
    {"input_tokens": "10", "output_tokens": 5},
    {"input_tokens": 10, "output_tokens": 5.5},
    {"input_tokens": True, "output_tokens": 5},
    usage(10, 5, total_tokens="15"),
    usage(10, 5, input_tokens_details=[]),
    usage(10, 5, input_tokens_details={"cache_write_tokens_details": {"ttl_12h_tokens": -1}}),
    usage(10, 5, output_tokens_details={"reasoning_tokens": 1.5}),
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


def search(kind: Any = "search") -> dict[str, Any]:
    return {"type": "web_search_call", "action": {"type": kind}}


@pytest.mark.parametrize(
    ("fields", "web", "files"),
    [
        ({"output": [search(), search("open_page"), search("find_in_page"), search()]}, 2, 0),
        ({"output": [{"type": "web_search_call"}, search(None), search("something new")]}, 3, 0),
        ({"output": [{"type": "file_search_call"}, {"type": "file_search_call"}]}, 0, 2),
        ({"output": [search()], "tool_usage": {"web_search": {"num_requests": 4}}}, 4, 0),
        ({"output": [], "tool_usage": {"web_search": {"num_requests": 4}}}, 4, 0),
        ({"output": [search()], "tool_usage": {"web_search": {"num_requests": 0}}}, 0, 0),
        ({"output": [search()], "tool_usage": {"web_search": {"num_requests": -1}}}, 1, 0),
        ({"output": [search()], "tool_usage": {"web_search": None}}, 1, 0),
        ({"output": {"type": "web_search_call"}}, 0, 0),
        ({"output": "web_search_call"}, 0, 0),
    ],
)
def test_searches_are_counted(fields: dict[str, Any], web: int, files: int) -> None:
    read = read_answer(json.dumps({"usage": usage(10, 5), **fields}).encode()).usage
    assert read == Usage(10, 5, web_search_requests=web, file_search_requests=files)


@pytest.mark.parametrize("body", [b"{}", b'{"usage":null}', b'{"usage":{}}', b'{"output":[]}'])
def test_an_answer_without_usage_is_not_malformed(body: bytes) -> None:
    assert read_answer(body) == Answer()


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"x", b'{"a":', b'{"a":1}}', b'{"a":' * 100_000, b"\xff"])
def test_an_answer_that_is_malformed(body: bytes) -> None:
    assert read_answer(body) == Answer(malformed=True)


NAMES = st.sampled_from(
    [
        *("usage", "tool_usage", "output", "web_search", "num_requests", "type", "action"),
        *("input_tokens", "output_tokens", "total_tokens", "input_tokens_details"),
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["web_search_call", "search"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)


@given(st.binary(max_size=100) | st.dictionaries(NAMES, ANYTHING).map(lambda value: json.dumps(value).encode()))
def test_nothing_raises(body: bytes) -> None:
    answer = read_answer(body)
    if answer.usage is not None:
        assert answer.usage.input_tokens >= 0
        assert answer.usage.output_tokens >= 0


def test_writes_to_a_cache_that_lasts_are_known_by_the_request_where_the_report_does_not_tell() -> None:
    untold = usage(10, 5, **inside(cache_write_tokens=6))
    told = usage(10, 5, **inside(cache_write_tokens=6, cache_write_tokens_details={"ttl_12h_tokens": 2}))
    assert read_usage(untold, None, True) == Usage(10, 5, cache_write_tokens=6, cache_write_1h_tokens=6)
    assert read_usage(told, None, True) == Usage(10, 5, cache_write_tokens=6, cache_write_1h_tokens=2)
    assert read_usage(untold, None, False) == Usage(10, 5, cache_write_tokens=6)
