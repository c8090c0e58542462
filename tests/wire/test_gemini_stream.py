"""A Gemini stream: metered to the provider's own report however it is cut, and passed on unchanged."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.pricing.usage import Usage
from comptroller.wire.event_stream import MOST_EVENT_BYTES
from comptroller.wire.gemini import StreamMeter, read_usage
from tests.wire.recorded import Exchange
from tests.wire.test_gemini_request import GEMINI

STREAMS = [exchange for exchange in GEMINI if exchange.stream]
EVERY_SPLIT_BYTES = 3_000


def facts(meter: StreamMeter) -> Any:
    return (
        *(meter.usage, meter.input_usage, meter.usage_final, meter.done, meter.malformed, meter.error),
        *(meter.served_model, meter.seen_output_tokens, meter.cut_short()),
    )


def metered(*chunks: bytes, candidates: int = 1) -> StreamMeter:
    """A meter that has seen these chunks, which it passed on unchanged."""
    meter = StreamMeter(candidates)
    passed = b"".join([*map(meter.feed, chunks), meter.finish()])
    assert passed == b"".join(chunks)
    return meter


def events(stream: bytes) -> list[Any]:
    """An own, slow reading."""
    return [json.loads(line[6:]) for line in stream.split(b"\r\n") if line.startswith(b"data: ")]


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\r\n\r\n"


def said(*parts: Any, index: int = 0, finish: str | None = None, **fields: Any) -> bytes:
    ended = {} if finish is None else {"finishReason": finish}
    return event(candidates=[{"content": {"parts": list(parts), "role": "model"}, "index": index, **ended}], **fields)


def reported(prompt: int, made: int, thoughts: int = 0) -> Any:
    return {"promptTokenCount": prompt, "candidatesTokenCount": made, "thoughtsTokenCount": thoughts}


# --- recordings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_a_recorded_stream(exchange: Exchange) -> None:
    meter = metered(exchange.response)
    last = events(exchange.response)[-1]
    assert meter.usage == read_usage(last["usageMetadata"])
    assert meter.usage is not None
    assert meter.usage.total_tokens == last["usageMetadata"]["totalTokenCount"]
    assert (meter.served_model, meter.done, meter.usage_final) == (last["modelVersion"], True, True)
    assert (meter.malformed, meter.error, meter.cut_short()) == (False, False, b"")
    assert meter.seen_output_tokens >= meter.usage.output_tokens


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_a_recorded_stream_in_any_pieces(exchange: Exchange) -> None:
    stream = exchange.response
    whole = facts(metered(stream))
    step = 1 if len(stream) <= EVERY_SPLIT_BYTES else 37
    for cut in range(0, len(stream), step):
        assert facts(metered(stream[:cut], stream[cut:])) == whole, cut
    assert facts(metered(*(stream[place : place + 1] for place in range(len(stream))))) == whole
    assert facts(metered(*(stream[place : place + 7] for place in range(0, len(stream), 7)))) == whole


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_every_event_of_a_recorded_stream_in_two_pieces(exchange: Exchange) -> None:
    parts = [part + b"\r\n\r\n" for part in exchange.response.split(b"\r\n\r\n")[:-1]]
    for place, part in enumerate(parts):
        whole = facts(metered(part + parts[-1]))
        for cut in {*range(min(100, len(part))), *range(0, len(part), 97), *range(max(0, len(part) - 50), len(part))}:
            assert facts(metered(part[:cut], part[cut:] + parts[-1])) == whole, (place, cut)


@pytest.mark.parametrize("ending", ["\n", "\r"])
def test_other_ends_of_lines(ending: str) -> None:
    stream = STREAMS[2].response
    other = stream.decode().replace("\r\n", ending).encode()
    for cut in range(len(other)):
        assert facts(metered(other[:cut], other[cut:])) == facts(metered(stream)), cut


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_whole_events_only(exchange: Exchange) -> None:
    """So that a stream that is cut can be ended cleanly with an event of ours."""
    meter, passed = StreamMeter(), b""
    for place in range(0, len(exchange.response), 11):
        passed += meter.feed(exchange.response[place : place + 11])
        assert not passed or passed.endswith((b"\r\n\r\n", b"\r\n\r"))


# --- usage --------------------------------------------------------------------------------------

HELLO = said({"text": "Hello"}, usageMetadata=reported(10, 1), modelVersion="m-1", responseId="r")
MORE = said({"text": " there"}, usageMetadata=reported(10, 2))
BARE = said({"text": " there"})
END = said({"text": ""}, finish="STOP", usageMetadata=reported(10, 3, 4))


def test_the_last_report_counts() -> None:
    meter = metered(HELLO, MORE, END)
    assert meter.usage == Usage(10, 7, reasoning_tokens=4)
    assert (meter.done, meter.usage_final) == (True, True)


def test_a_cut_in_the_middle() -> None:
    meter = metered(HELLO, MORE)
    assert (meter.usage, meter.usage_final, meter.done) == (Usage(10, 2), False, False)
    assert meter.input_usage == Usage(10, 0)
    assert meter.seen_output_tokens >= len("Hello there")


@pytest.mark.parametrize("reason", ["STOP", "MAX_TOKENS", "SAFETY", "OTHER", "MALFORMED_FUNCTION_CALL", 2])
def test_every_reason_ends_it(reason: Any) -> None:
    assert metered(HELLO, said(finish=reason, usageMetadata=reported(10, 3))).usage_final


def test_an_end_that_nothing_reports_is_not_final() -> None:
    assert not metered(HELLO, said({"text": "x"}, finish="STOP")).usage_final
    assert metered(HELLO, said({"text": "x"}, finish="STOP"), event(usageMetadata=reported(10, 9))).usage_final
    assert not metered(HELLO, END, BARE).usage_final
    assert not metered(HELLO, said(finish="STOP", usageMetadata={"promptTokenCount": -1})).usage_final


def test_half_an_event_after_the_end_may_hold_more() -> None:
    assert not metered(HELLO, END, BARE[:-9]).usage_final
    assert metered(HELLO, END, b"\r\n").usage_final


def test_a_prompt_that_is_blocked() -> None:
    meter = metered(event(promptFeedback={"blockReason": "SAFETY"}, usageMetadata={"promptTokenCount": 10}))
    assert (meter.usage, meter.done, meter.usage_final) == (Usage(10, 0), True, True)
    assert not metered(event(promptFeedback={"safetyRatings": []})).done


def test_an_end_without_a_mark_is_an_end_of_all_candidates() -> None:
    first, second = said(index=0, finish="STOP"), said(index=1, finish="STOP", usageMetadata=reported(10, 3))
    assert not metered(first, candidates=2).done
    assert metered(first, second, candidates=2).usage_final
    assert not metered(said(index=0), said(index=1, finish="STOP"), candidates=1).done


def test_an_explicit_zero_stays_zero() -> None:
    meter = metered(HELLO, said(finish="STOP", usageMetadata=reported(0, 0)))
    assert (meter.usage, meter.usage_final) == (Usage(0, 0), True)


# --- what was seen ------------------------------------------------------------------------------


def seen(*more: bytes) -> int:
    return metered(BARE, *more).seen_output_tokens


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        ({"text": "é" * 50}, 100),
        ({"text": "x" * 50, "thought": True}, 50),
        ({"text": "x", "thoughtSignature": "A" * 90}, 1),
        ({"functionCall": {"name": "x" * 50, "args": {}}}, 50),
        ({"functionCall": {"name": "f", "args": {"x" * 50: 1}}}, 50),
        ({"executableCode": {"language": "PYTHON", "code": "x" * 50}}, 50),
        ({"inlineData": {"mimeType": "image/png", "data": "A" * 90}}, 2_520),
        ({"newIn2027": ["x" * 50]}, 50),
    ],
)
def test_every_text_of_a_part_counts(part: Any, tokens: int) -> None:
    assert seen(said(part)) >= seen() + tokens


def test_nothing_is_seen_before_anything_came() -> None:
    assert StreamMeter().seen_output_tokens == 0
    assert metered(event(usageMetadata={"promptTokenCount": 10})).seen_output_tokens == 0


def test_thoughts_that_only_the_report_tells_are_seen() -> None:
    assert metered(said({"text": "x"}, usageMetadata=reported(10, 1, 5_000))).seen_output_tokens >= 5_001


# --- a clean end at a limit ---------------------------------------------------------------------


def test_cut_short_says_that_the_limit_was_reached() -> None:
    meter = metered(HELLO, MORE)
    (last,) = events(meter.cut_short())
    assert last == {
        "candidates": [
            {"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}
        ],
        "usageMetadata": reported(10, 2),
        "modelVersion": "m-1",
        "responseId": "r",
    }


def test_cut_short_ends_every_candidate_that_goes_on() -> None:
    meter = metered(said(index=0), said(index=1), said(index=2, finish="STOP"), candidates=3)
    (last,) = events(meter.cut_short())
    assert [candidate["index"] for candidate in last["candidates"]] == [0, 1]


def test_cut_short_before_any_report() -> None:
    (last,) = events(StreamMeter().cut_short())
    assert last["usageMetadata"] == {"candidatesTokenCount": 0}
    (last,) = events(metered(BARE).cut_short())
    assert last["usageMetadata"]["candidatesTokenCount"] >= len(" there")


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_cut_short_ends_a_recorded_stream_after_any_part_of_it(exchange: Exchange) -> None:
    for cut in range(0, len(exchange.response), 53):
        meter = StreamMeter()
        heard = meter.feed(exchange.response[:cut])
        ended = metered(heard.removesuffix(b"\n").removesuffix(b"\r\n\r") + b"\r\n\r\n" + meter.cut_short())
        assert ended.done, cut


# --- errors and what is odd ---------------------------------------------------------------------

ERROR = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize(
    "error",
    [
        event(**ERROR),
        b"event: error\r\ndata: oops\r\n\r\n",
        json.dumps(ERROR, indent=2).encode() + b"\r\n\r\n",
    ],
)
def test_an_error_in_the_middle(error: bytes) -> None:
    meter = metered(HELLO, error)
    assert (meter.error, meter.done, meter.usage_final) == (True, False, False)


@pytest.mark.parametrize(
    "odd",
    [b": a comment\n\n", b"data: \n\n", b"id: 5\nretry: 10\n\n", b"\n\n", event(newIn2027=1), event(candidates=[])],
)
def test_what_says_nothing(odd: bytes) -> None:
    assert facts(metered(HELLO, odd, END)) == facts(metered(HELLO, END))


@pytest.mark.parametrize(
    "odd",
    [
        b"data: oops\n\n",
        b"data: [1]\n\n",
        b"data: " + b"[" * 5_000 + b"\n\n",
        event(candidates=5),
        event(candidates=[5]),
    ],
)
def test_what_cannot_be(odd: bytes) -> None:
    assert metered(HELLO, odd).malformed


def test_an_event_that_is_too_large_passes_unread() -> None:
    meter = StreamMeter()
    large = b"data: " + b"x" * (MOST_EVENT_BYTES + 1)
    assert meter.feed(large) + meter.feed(b"more") == large + b"more"
    assert (meter.malformed, meter.usage_final) == (True, False)
    assert meter.seen_output_tokens >= MOST_EVENT_BYTES


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["candidates", "usageMetadata", "promptFeedback", "error", "modelVersion", "responseId"])


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=4), max_size=4), st.integers(1, 40))
def test_whatever_comes_passes_and_is_metered(chunks: list[Any], size: int) -> None:
    stream = b"".join(event(**chunk) for chunk in chunks)
    whole = facts(metered(stream))
    assert facts(metered(*(stream[place : place + size] for place in range(0, len(stream), size)))) == whole
