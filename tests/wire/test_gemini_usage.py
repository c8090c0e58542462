"""What a Gemini provider reports, in our meters."""

from typing import Any

import pytest

from comptroller.core.pricing.usage import Usage
from comptroller.wire.gemini import read_answer, read_usage
from tests.wire.test_gemini_bound import GEMINI, usage
from tests.wire.test_gemini_request import encode


def of(**counts: int) -> list[dict[str, Any]]:
    return [{"modality": kind.upper(), "tokenCount": tokens} for kind, tokens in counts.items()]


@pytest.mark.parametrize(
    ("reported", "meters"),
    [
        ({"promptTokenCount": 5}, Usage(5, 0)),
        ({"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}, Usage(0, 0)),
        ({"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}, Usage(5, 3)),
        # thoughts stand beside the candidates
        (
            {"promptTokenCount": 5, "candidatesTokenCount": 3, "thoughtsTokenCount": 9, "totalTokenCount": 17},
            Usage(5, 12, reasoning_tokens=9),
        ),
        # cached tokens stand inside of the prompt
        ({"promptTokenCount": 50, "cachedContentTokenCount": 40}, Usage(50, 0, cached_tokens=40)),
        # what tools of the provider read stands beside it
        ({"promptTokenCount": 5, "toolUsePromptTokenCount": 70, "totalTokenCount": 75}, Usage(75, 0)),
        # whatever the total has and no part tells is output
        ({"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 10}, Usage(5, 5)),
        ({"promptTokenCount": 5, "serviceTier": "flex"}, Usage(5, 0, service_tier="flex")),
        ({"promptTokenCount": 5, "serviceTier": "standard"}, Usage(5, 0, service_tier="standard")),
        ({"promptTokenCount": 5, "serviceTier": "unspecified"}, Usage(5, 0)),
        ({"promptTokenCount": 5, "trafficType": "ON_DEMAND"}, Usage(5, 0, service_tier="default")),
        ({"promptTokenCount": 5, "trafficType": "ON_DEMAND_PRIORITY"}, Usage(5, 0, service_tier="priority")),
        ({"promptTokenCount": 5, "trafficType": "TRAFFIC_TYPE_UNSPECIFIED"}, Usage(5, 0)),
        (
            {"promptTokenCount": 5, "trafficType": "PROVISIONED_THROUGHPUT"},
            Usage(5, 0, service_tier="provisioned_throughput"),
        ),
        (
            {"promptTokenCount": 60, "promptTokensDetails": of(text=10, audio=20, image=30)},
            Usage(60, 0, audio_input_tokens=20, image_input_tokens=30),
        ),
        (
            {"promptTokenCount": 9, "candidatesTokenCount": 50, "candidatesTokensDetails": of(image=30, audio=20)},
            Usage(9, 50, image_output_tokens=30, audio_output_tokens=20),
        ),
        (  # two of one kind, and a kind that nobody has a price for
            {"promptTokenCount": 9, "promptTokensDetails": [*of(audio=2), *of(audio=3), *of(document=4)]},
            Usage(9, 0, audio_input_tokens=5),
        ),
        (
            {"promptTokenCount": 9, "toolUsePromptTokenCount": 9, "toolUsePromptTokensDetails": of(image=9)},
            Usage(18, 0, image_input_tokens=9),
        ),
        # embeddings tell their details by another name
        ({"promptTokenCount": 9, "promptTokenDetails": of(image=9)}, Usage(9, 0, image_input_tokens=9)),
    ],
)
def test_meters(reported: Any, meters: Usage) -> None:
    assert read_usage(reported) == meters


@pytest.mark.parametrize(
    "reported",
    [
        {},
        {"candidatesTokenCount": 5},
        {"promptTokenCount": None},
        {"promptTokenCount": -1},
        {"promptTokenCount": "5"},
        {"promptTokenCount": 5.5},
        {"promptTokenCount": True},
        {"promptTokenCount": 5, "thoughtsTokenCount": -1},
        {"promptTokenCount": 5, "candidatesTokenCount": 10**10},
        {"promptTokenCount": 10**9, "candidatesTokenCount": 10**9},
        {"promptTokenCount": 5, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": -5}]},
        [1],
        5,
        "x",
    ],
)
def test_what_cannot_be(reported: Any) -> None:
    assert read_usage(reported) is None


# --- the cache and media ------------------------------------------------------------------------


def test_cached_media_is_told_apart() -> None:
    """As recorded: a video with its sound, nearly all of it from the cache."""
    reported = {
        "promptTokenCount": 17_713,
        "cachedContentTokenCount": 17_379,
        "promptTokensDetails": of(text=16, video=15_780, audio=1_917),
        "cacheTokensDetails": of(audio=1_881, text=15, video=15_483),
    }
    assert read_usage(reported) == Usage(
        17_713,
        0,
        cached_tokens=17_379,
        audio_input_tokens=1_917,
        cached_audio_tokens=1_881,
        video_input_tokens=297,  # the rest of it is among the cached tokens
    )


@pytest.mark.parametrize(
    ("cached", "details", "audio", "image", "video"),
    [
        (40, {"text": 50, "audio": 50}, 0, 0, 0),  # all of it may be text
        (70, {"text": 50, "audio": 50}, 20, 0, 0),  # at least so much is not
        (70, {"text": 50, "image": 30, "audio": 20}, 0, 20, 0),
        (95, {"text": 50, "image": 30, "audio": 20}, 15, 30, 0),
        (70, {"text": 50, "video": 50}, 0, 0, 20),
        (100, {"video": 100}, 0, 0, 100),
    ],
)
def test_where_nobody_tells_what_came_from_the_cache_as_little_media_as_can_be(
    cached: int, details: dict[str, int], audio: int, image: int, video: int
) -> None:
    reported = {"promptTokenCount": 100, "cachedContentTokenCount": cached, "promptTokensDetails": of(**details)}
    found = read_usage(reported)
    assert found is not None
    assert (found.cached_audio_tokens, found.cached_image_tokens) == (audio, image)
    assert found.video_input_tokens == details.get("video", 0) - video


# --- answers ------------------------------------------------------------------------------------


def test_the_recorded_answers() -> None:
    for exchange in GEMINI:
        if exchange.stream:
            continue
        answer, said = read_answer(exchange.response), usage(exchange)
        assert answer.usage is not None
        assert answer.usage.total_tokens == said["totalTokenCount"]
        assert answer.usage.cached_tokens == said.get("cachedContentTokenCount", 0)
        assert answer.usage.reasoning_tokens == said.get("thoughtsTokenCount", 0)
        assert answer.served_model is not None
        assert answer.served_model.startswith("gemini-")
        assert (answer.malformed, answer.usage_malformed) == (False, False)


@pytest.mark.parametrize("body", [b"", b"[]", b"5", b"{", b"\xff", b"[" * 5_000])
def test_what_is_no_answer(body: bytes) -> None:
    assert read_answer(body).malformed


def test_an_answer_without_usage_and_one_with_a_bad_one() -> None:
    assert read_answer(b"{}") == read_answer(b'{"usageMetadata":null}')
    bad = read_answer(encode({"usageMetadata": {"promptTokenCount": -1}, "modelVersion": "m"}))
    assert (bad.usage, bad.usage_malformed, bad.served_model) == (None, True, "m")
    assert read_answer(b'{"modelVersion":5}').served_model is None
