"""How a Messages stream ended decides what is charged: a report counts as final only for what it covers."""

import pytest

from comptroller.wire.anthropic_messages import StreamMeter
from comptroller.wire.event_stream import MOST_EVENT_BYTES
from tests.wire.test_messages_stream import END, HELLO, START, STOP, TEXT, block, delta, event, metered

CITATION = delta(type="citations_delta", citation={"cited_text": "x"})
RESULT = block(type="web_search_tool_result", content=[])


@pytest.mark.parametrize("content", [TEXT, HELLO, CITATION, RESULT])
@pytest.mark.parametrize("end", [b"", STOP])
def test_a_report_does_not_cover_what_came_after_it(content: bytes, end: bytes) -> None:
    meter = metered(START, END, content, end)
    assert (meter.usage is not None, meter.usage_final) == (True, False)
    assert metered(START, END, content, END, end).usage_final, "a newer report covers it"
    assert not metered(START, END, STOP, content).usage_final
    late = event("message_delta", usage={"output_tokens": 7})
    assert metered(START, END, content, late, end).usage_final == bool(end), "nothing said that the answer stopped"


def test_what_holds_no_content_leaves_a_report_as_it_is() -> None:
    empty = delta(type="text_delta", text="")
    for after in (event("ping"), event("content_block_stop", index=0), empty, event("message_delta", delta={})):
        assert metered(START, TEXT, HELLO, END, after).usage_final
        assert metered(START, TEXT, HELLO, END, after, STOP).usage_final


def test_a_report_does_not_cover_a_flood() -> None:
    meter = metered(START, END, b"data: " + b"x" * MOST_EVENT_BYTES)
    assert not meter.usage_final
    assert MOST_EVENT_BYTES < meter.seen_output_tokens < MOST_EVENT_BYTES + 100, "counted once"


HALF = delta(type="text_delta", text="x" * 1_000)[:-10]


@pytest.mark.parametrize("before", [START, START + TEXT + HELLO])
def test_half_an_event_counts(before: bytes) -> None:
    meter = StreamMeter()
    meter.feed(before + HALF)
    seen = meter.seen_output_tokens
    assert seen >= 1_000, "cut before the end of the stream was read"
    meter.finish()
    assert meter.seen_output_tokens == seen
    assert meter.started
    assert meter.finish() == b""
    assert meter.seen_output_tokens == seen


def test_a_report_does_not_cover_half_an_event() -> None:
    for half, final in (
        (HALF, False),
        (HALF.partition(b"\n")[2], False),
        (STOP[:-5], True),
        (b"event: content_block_delta\n", True),
        (b"data: [DO", True),
        (b": wa", True),
    ):
        meter = StreamMeter()
        meter.feed(START + TEXT + HELLO + END + half)
        assert meter.usage_final == final, half
        meter.finish()
        assert meter.usage_final == final, half
