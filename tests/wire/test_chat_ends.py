"""How a stream ended decides what is charged: a report counts as final only for what it covers."""

from typing import Any

import pytest

from comptroller.core.pricing.usage import Usage
from comptroller.wire.event_stream import MOST_EVENT_BYTES
from comptroller.wire.openai_chat import StreamMeter
from tests.wire.test_chat_stream import DONE, event, feed, says, tokens

EARLY = event(choices=[], usage=tokens(10, 0))
LAST = event(choices=[], usage=tokens(10, 100))
CALL = event(choices=[{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c", "type": "function"}]}}])


@pytest.mark.parametrize("content", [says("x" * 500), CALL, event(choices=[{"text": "x"}])])
@pytest.mark.parametrize("end", [b"", DONE])
def test_a_report_does_not_cover_what_came_after_it(content: bytes, end: bytes) -> None:
    meter, _ = feed(EARLY, content, end)
    assert (meter.usage, meter.usage_final) == (Usage(10, 0), False)
    meter, _ = feed(EARLY, content, LAST, end)
    assert (meter.usage, meter.usage_final) == (Usage(10, 100), True), "a newer report covers it"
    assert not feed(EARLY, DONE, content)[0].usage_final


def test_a_report_covers_the_content_of_its_own_chunk() -> None:
    chunks = [says("x" * 50, usage=tokens(10, 10)), says("y" * 50, usage=tokens(10, 20))]
    assert feed(*chunks, DONE)[0].usage_final
    assert not feed(*chunks)[0].usage_final
    assert not feed(*chunks, says("z"), DONE)[0].usage_final
    assert not feed(EARLY, *chunks)[0].usage_final, "the stream may have been cut"
    inside = event(choices=[{"index": 0, "delta": {"content": "x"}, "usage": tokens(10, 10)}])
    assert feed(inside, DONE)[0].usage_final


def test_what_holds_no_content_leaves_a_report_as_it_is() -> None:
    stop: dict[str, Any] = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}
    for after in (b": wait\n\n", event(choices=[stop]), event(choices=[]), event(choices=[stop], usage=None)):
        assert feed(LAST, after)[0].usage_final
        assert feed(LAST, after, DONE)[0].usage_final


def test_a_report_does_not_cover_a_flood() -> None:
    meter, _ = feed(EARLY, b"data: " + b"x" * MOST_EVENT_BYTES)
    assert not meter.usage_final
    assert MOST_EVENT_BYTES < meter.seen_output_tokens < MOST_EVENT_BYTES + 100, "counted once"


HALF = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 1_000


@pytest.mark.parametrize("before", [b"", says("hello")])
def test_half_an_event_counts(before: bytes) -> None:
    meter = StreamMeter(usage_asked=True)
    meter.feed(before + HALF)
    seen = meter.seen_output_tokens
    assert seen >= 1_000, "cut before the end of the stream was read"
    meter.finish()
    assert meter.seen_output_tokens == seen
    assert meter.started
    assert meter.finish() == b""
    assert meter.seen_output_tokens == seen


def test_half_an_event_that_became_whole_counts_once() -> None:
    whole = says("x" * 1_000)
    for place in range(0, len(whole), 13):
        meter = StreamMeter(usage_asked=True)
        meter.feed(whole[:place])
        meter.feed(whole[place:])
        assert meter.seen_output_tokens == 1_008
        meter.finish()
        assert meter.seen_output_tokens == 1_008


def test_a_report_does_not_cover_half_an_event() -> None:
    for ended in (True, False):
        meter = StreamMeter(usage_asked=True)
        meter.feed(EARLY + HALF)
        if ended:
            meter.finish()
        assert not meter.usage_final
    for half in (b"data: [DO", b"data: [DONE]", b"data:", b": wa", b"\n", b"da"):
        meter = StreamMeter(usage_asked=True)
        meter.feed(LAST + half)
        assert meter.usage_final, half
        meter.finish()
        assert meter.usage_final, half
