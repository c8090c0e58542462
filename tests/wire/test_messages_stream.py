"""A Messages stream: metered to the provider's own report however it is cut, and passed on unchanged."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.pricing.usage import Usage
from comptroller.wire.anthropic_messages import StreamMeter
from comptroller.wire.event_stream import MOST_EVENT_BYTES
from tests.wire.recorded import Exchange
from tests.wire.test_messages_request import MESSAGES
from tests.wire.test_messages_usage import COMPACTION, Bill, as_bill, counts

STREAMS = [exchange for exchange in MESSAGES if exchange.stream]
EVERY_SPLIT_BYTES = 7_000  # longer streams are cut everywhere event by event, and as a whole in one place of 97


def facts(meter: StreamMeter) -> Any:
    return (
        *(meter.reported, meter.input_usage, meter.usage_final, meter.done, meter.malformed, meter.error),
        *(meter.served_model, meter.seen_output_tokens),
    )


def metered(*chunks: bytes, hour_cache: bool = False) -> StreamMeter:
    """A meter that has seen these chunks, which it passed on unchanged."""
    meter = StreamMeter(hour_cache)
    passed = b"".join([*map(meter.feed, chunks), meter.finish()])
    assert passed == b"".join(chunks)
    return meter


def events(stream: bytes) -> list[Any]:
    """An own, slow reading."""
    return [json.loads(line[6:]) for line in stream.split(b"\n") if line.startswith(b"data: ")]


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


# --- recordings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_a_recorded_stream(exchange: Exchange) -> None:
    meter = metered(exchange.response)
    head = events(exchange.response)[0]["message"]
    last = next(each["usage"] for each in reversed(events(exchange.response)) if each["type"] == "message_delta")
    assert meter.usage is not None
    assert as_bill(meter.usage) == Bill(
        last["input_tokens"],
        last["cache_read_input_tokens"],
        last["cache_creation_input_tokens"],
        last["output_tokens"],
    )
    assert meter.usage.service_tier == "default"
    assert meter.input_usage == Usage(
        input_tokens=head["usage"]["input_tokens"], output_tokens=0, service_tier="default"
    )
    assert (meter.served_model, meter.done, meter.usage_final) == (head["model"], True, True)
    assert (meter.malformed, meter.error) == (False, False)


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_what_was_seen_is_never_less_than_what_was_billed(exchange: Exchange) -> None:
    meter = metered(exchange.response)
    assert meter.usage is not None
    assert meter.seen_output_tokens >= meter.usage.output_tokens


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_a_recorded_stream_in_any_pieces(exchange: Exchange) -> None:
    stream = exchange.response
    whole = facts(metered(stream))
    step = 1 if len(stream) <= EVERY_SPLIT_BYTES else 97
    for cut in range(0, len(stream), step):
        assert facts(metered(stream[:cut], stream[cut:])) == whole, cut
    assert facts(metered(*(stream[place : place + 1] for place in range(len(stream))))) == whole
    assert facts(metered(*(stream[place : place + 7] for place in range(0, len(stream), 7)))) == whole


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_every_event_of_a_recorded_stream_in_two_pieces(exchange: Exchange) -> None:
    """Each between its neighbours, after the head of its stream and before the end. Far from its line ends, where
    one cut is as another, one in 97 is tried.
    """
    parts = [part + b"\n\n" for part in exchange.response.split(b"\n\n")[:-1]]
    for place, part in enumerate(parts):
        before = b"".join([*parts[:1], *parts[max(1, place - 1) : place]]) if place else b""
        after = b"".join([*parts[place + 1 : place + 2], *parts[-2:]])
        whole = facts(metered(before + part + after))
        for cut in {*range(min(200, len(part))), *range(0, len(part), 97), *range(max(0, len(part) - 50), len(part))}:
            assert facts(metered(before + part[:cut], part[cut:] + after)) == whole, (place, cut)


@pytest.mark.parametrize("ending", ["\r\n", "\r"])
@pytest.mark.parametrize("exchange", STREAMS[-1:], ids=lambda exchange: exchange.name)
def test_other_ends_of_lines(exchange: Exchange, ending: str) -> None:
    stream = exchange.response.decode().replace("\n", ending).encode()
    whole = facts(metered(exchange.response))
    for cut in range(len(stream)):
        assert facts(metered(stream[:cut], stream[cut:])) == whole, cut


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_whole_events_only(exchange: Exchange) -> None:
    """So that a stream that is cut can be ended cleanly with an event of ours."""
    meter, passed = StreamMeter(), b""
    for place in range(0, len(exchange.response), 11):
        passed += meter.feed(exchange.response[place : place + 11])
        assert not passed or passed.endswith(b"\n\n")


# --- usage --------------------------------------------------------------------------------------

START = event(
    "message_start",
    message={"model": "m-1", "usage": {**counts(10, 1, read=20, written=30), "service_tier": "standard"}},
)
TEXT = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
HELLO = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello"})
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5})
STOP = event("message_stop")


def test_the_input_side_is_known_at_the_head() -> None:
    meter = metered(START)
    assert meter.input_usage == Usage(60, 0, cached_tokens=20, cache_write_tokens=30, service_tier="default")
    assert (meter.usage, meter.usage_final, meter.seen_output_tokens) == (None, False, 0)
    assert meter.served_model == "m-1"


def test_a_cut_in_the_middle() -> None:
    meter = metered(START, TEXT, HELLO)
    assert (meter.usage, meter.usage_final, meter.done) == (None, False, False)
    assert meter.input_usage is not None
    assert meter.seen_output_tokens >= len("Hello")


def test_the_report_at_the_end_is_merged_into_the_one_at_the_head() -> None:
    meter = metered(START, TEXT, HELLO, END)
    assert meter.usage == Usage(60, 5, cached_tokens=20, cache_write_tokens=30, service_tier="default")
    assert (meter.usage_final, meter.done) == (True, False)  # it says why the answer ended
    assert metered(START, TEXT, HELLO, END, STOP).done


def test_a_report_in_the_middle_is_not_final() -> None:
    middle = event("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 2})
    meter = metered(START, TEXT, middle, HELLO)
    assert (meter.usage and meter.usage.output_tokens, meter.usage_final) == (2, False)
    meter = metered(START, TEXT, middle, HELLO, STOP)
    assert (meter.usage and meter.usage.output_tokens, meter.usage_final) == (2, False)  # it does not cover HELLO
    meter = metered(START, TEXT, HELLO, middle, STOP)
    assert (meter.usage and meter.usage.output_tokens, meter.usage_final) == (2, True)
    meter = metered(START, TEXT, middle, HELLO, END)
    assert (meter.usage and meter.usage.output_tokens, meter.usage_final) == (5, True)
    meter = metered(START, END, middle)
    assert meter.usage_final


def test_the_head_alone_is_no_report_of_the_output() -> None:
    """It says 1: what was made before the first event."""
    meter = metered(START, TEXT, HELLO, STOP)
    assert (meter.usage, meter.usage_final, meter.done) == (None, False, True)


def compaction_stream() -> bytes:
    """As recorded from claude-sonnet-4-6: the head tells the compaction's input, the end denies it."""
    head = {**counts(100, 7, read=55_096), "service_tier": "standard", "inference_geo": "global"}
    last = counts(181, 8, iterations=[COMPACTION, counts(181, 8, type="message")])
    return b"".join(
        (
            event("message_start", message={"model": "claude-sonnet-4-6", "usage": head}),
            event("content_block_start", index=0, content_block={"type": "compaction", "content": None}),
            event(
                "content_block_delta", index=0, delta={"type": "compaction_delta", "content": "They said hello. " * 17}
            ),
            event("content_block_stop", index=0),
            TEXT,
            HELLO,
            event("message_delta", delta={"stop_reason": "end_turn"}, usage=last, context_management={}),
            STOP,
        )
    )


def test_a_compaction_with_a_cache() -> None:
    stream = compaction_stream()
    meter = metered(stream)
    assert meter.usage is not None
    assert as_bill(meter.usage) == Bill(plain=281, read=55_096, written=0, made=91)
    assert meter.input_usage is not None
    assert meter.input_usage.input_tokens == 55_196
    assert meter.seen_output_tokens >= 91
    for cut in range(len(stream)):
        assert facts(metered(stream[:cut], stream[cut:])) == facts(meter)


def test_writes_to_the_cache_of_an_hour_that_only_the_request_tells() -> None:
    start = event("message_start", message={"usage": counts(10, 1)})
    end = event("message_delta", delta={"stop_reason": "end_turn"}, usage=counts(10, 5, written=40))
    for hour_cache, tokens in ((True, 40), (False, 0)):
        meter = metered(start, end, hour_cache=hour_cache)
        assert meter.reported is not None
        assert meter.reported.usage.cache_write_1h_tokens == tokens


def test_a_server_that_knows_the_input_only_at_the_end() -> None:
    start = event("message_start", message={"model": "m", "usage": {"input_tokens": 0, "output_tokens": 0}})
    end = event("message_delta", delta={"stop_reason": "end_turn"}, usage=counts(68, 40))
    meter = metered(start, TEXT, HELLO, end, STOP)
    assert (meter.usage and meter.usage.input_tokens, meter.usage_final) == (68, True)


# --- what was seen ------------------------------------------------------------------------------


def seen(*more: bytes) -> int:
    return metered(START, *more).seen_output_tokens


def delta(**fields: Any) -> bytes:
    return event("content_block_delta", index=0, delta=fields)


def block(**fields: Any) -> bytes:
    return event("content_block_start", index=0, content_block=fields)


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"type": "text_delta", "text": "é" * 50}, 100),
        ({"type": "thinking_delta", "thinking": "x" * 50}, 50),
        ({"type": "input_json_delta", "partial_json": '{"a":1}'}, 7),
        ({"type": "compaction_delta", "content": "x" * 50, "encrypted_content": "A" * 90}, 50),
        ({"type": "new_in_2027", "speech": "x" * 50}, 50),
        ({"type": "signature_delta", "signature": "A" * 90}, 0),
        ({"type": "text_delta", "text": ""}, 0),
        ({"type": "compaction_delta", "content": None}, 0),
        ({"type": "citations_delta", "citation": {"cited_text": "x" * 90, "start_char_index": 0}}, 16),
    ],
)
def test_every_text_of_a_delta_counts(fields: Any, tokens: int) -> None:
    assert seen(TEXT, HELLO, delta(**fields)) == seen(TEXT, HELLO) + tokens


def test_every_block_has_a_frame() -> None:
    """The call of a tool without arguments is billed as some forty tokens."""
    call = block(type="tool_use", id="toolu_1", name="get_weather", input={})
    assert seen(TEXT, call) >= seen(TEXT) + len("get_weather") + 40
    whole = block(type="tool_use", id="toolu_1", name="get_weather", input={"city": "x" * 100})
    assert seen(whole) >= seen(call) + 100
    assert seen(block(type="redacted_thinking", data="A" * 100)) >= seen(TEXT) + 100


@pytest.mark.parametrize(
    "kind", ["web_search_tool_result", "mcp_tool_result", "code_execution_tool_result", "fallback"]
)
def test_what_a_server_made_is_not_output(kind: str) -> None:
    assert seen(TEXT, block(type=kind, content=[{"text": "x" * 1_000}], name="x" * 1_000)) == seen(TEXT)


# --- errors and what is odd ---------------------------------------------------------------------

ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


@pytest.mark.parametrize(
    "error",
    [
        event("error", error=ERROR["error"]),
        b"data: " + json.dumps(ERROR).encode() + b"\n\n",
        b'data: {"error":{"message":"x"}}\n\n',
        b'event: error\ndata: {"message":"x"}\n\n',
        b"event:error\ndata:oops\n\n",
    ],
)
def test_an_error_in_the_middle(error: bytes) -> None:
    meter = metered(START, TEXT, HELLO, error)
    assert (meter.error, meter.done, meter.usage_final) == (True, False, False)


@pytest.mark.parametrize(
    "odd",
    [
        b": a comment\n\n",
        b"event: ping\ndata: {}\n\n",
        b"event: ping\n\n",
        b"data: \n\n",
        b"data: [DONE]\n\n",
        b"id: 5\nretry: 10\n\n",
        b"\n\n",
        event("new_in_2027", x=1),
        b'data: {"type":"message_delta"}\n\n',
        b'event: message_delta\nid: 5\ndata: {"type":\ndata: "message_delta"}\nretry: 1\n\n',
    ],
)
def test_what_says_nothing(odd: bytes) -> None:
    assert facts(metered(START, TEXT, odd, HELLO, END, STOP)) == facts(metered(START, TEXT, HELLO, END, STOP))


@pytest.mark.parametrize(
    "odd",
    [
        b"data: oops\n\n",
        b"event: content_block_delta\ndata: [1]\n\n",
        b"data: 5\n\n",
        b"data: " + b"[" * 5_000 + b"\n\n",
        event("content_block_delta", delta="x"),
        event("content_block_start", content_block=None),
        event("message_start", message=5),
    ],
)
def test_what_cannot_be(odd: bytes) -> None:
    assert metered(START, TEXT, odd).malformed


def test_a_bad_report_is_not_final() -> None:
    bad = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": "5"})
    meter = metered(START, TEXT, HELLO, bad, STOP)
    assert (meter.usage, meter.usage_final, meter.usage_malformed, meter.malformed) == (None, False, True, False)
    meter = metered(START, TEXT, HELLO, bad, END, STOP)
    assert (meter.usage_final, meter.usage_malformed) == (True, False)


@pytest.mark.parametrize("reported", [5, {"output_tokens": -5}])
def test_usage_that_cannot_be_is_not_a_broken_stream(reported: Any) -> None:
    meter = metered(START, TEXT, event("message_delta", usage=reported))
    assert (meter.malformed, meter.usage_malformed, meter.usage) == (False, True, None)


def test_a_stream_without_its_last_blank_line() -> None:
    stream = START + TEXT + HELLO + END + STOP
    whole = facts(metered(stream))
    for missing in (1, 2):
        assert facts(metered(stream[:-missing])) == whole
    meter = metered(stream[:-4])  # cut in the middle of the last event's data
    assert (meter.malformed, meter.done, meter.usage_final) == (False, False, True)


def test_an_event_that_is_too_large() -> None:
    meter = metered(START, b"data: " + b"x" * MOST_EVENT_BYTES, b"x" * 1_000, STOP)
    assert (meter.malformed, meter.done) == (True, False)
    assert meter.seen_output_tokens > MOST_EVENT_BYTES


FIELDS = st.sampled_from(
    [
        *("type", "delta", "message", "usage", "content_block", "error", "text", "input", "citation", "stop_reason"),
        *("model", "input_tokens", "output_tokens", "iterations", "cache_creation"),
    ]
)
KINDS = st.sampled_from(
    ["message_start", "message_delta", "content_block_start", "content_block_delta", "message_stop", "error", "text"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | KINDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)
LINES = st.builds(
    lambda kind, value: event(kind, **value), KINDS, st.dictionaries(FIELDS.filter("type".__ne__), VALUES)
)


@given(st.lists(LINES | st.binary(max_size=20), max_size=6), st.lists(st.integers(0, 500), max_size=4))
def test_a_stream_of_any_shape_passes_unchanged_and_is_read_the_same_in_any_pieces(
    parts: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(parts)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut <= len(stream))})
    pieces = [stream[start:end] for start, end in pairwise(places)]
    meter = metered(*pieces)
    assert facts(meter) == facts(metered(stream))
    assert not meter.usage_final or meter.usage is not None


def test_an_event_of_a_new_kind_counts_whole() -> None:
    """A beta that the caller turns on may bring one, and what it holds may be billed."""
    new = event("content_block_more", delta={"type": "more_delta", "text": "a" * 500})
    assert metered(new).seen_output_tokens >= 500
    assert metered(event("ping")).seen_output_tokens == 0


@pytest.mark.parametrize(
    ("said", "written"),
    [({}, 10), ({"cache_creation_input_tokens": 0}, 0), ({"cache_creation_input_tokens": 7}, 7),
     ({"cache_read_input_tokens": 5}, 10)],
    ids=["nothing of writes", "no writes", "some", "only of reads"],
)  # fmt: skip
def test_until_writes_are_told_all_that_can_have_been_written_counts_as_that(
    said: dict[str, int], written: int
) -> None:
    """Some servers tell them with the end of the answer."""
    meter = StreamMeter()
    meter.feed(event("message_start", message={"usage": {"input_tokens": 10, "output_tokens": 1, **said}}))
    assert meter.input_usage is not None
    assert (meter.input_usage.cache_write_tokens, meter.input_usage.cache_write_1h_tokens) == (written, 0)
    meter = StreamMeter(hour_cache=True)
    meter.feed(event("message_start", message={"usage": {"input_tokens": 10, "output_tokens": 1, **said}}))
    assert meter.input_usage is not None
    assert meter.input_usage.cache_write_1h_tokens == written


def test_a_usage_of_zero_that_is_said_at_the_end_is_known() -> None:
    nothing = {"input_tokens": 0, "output_tokens": 0}
    start = event("message_start", message={"model": "m", "usage": nothing})
    meter = metered(start, TEXT, HELLO, event("message_delta", delta={"stop_reason": "end_turn"}, usage=nothing), STOP)
    assert (meter.usage, meter.usage_final) == (Usage(0, 0), True)


def test_a_head_of_zeros_is_no_report_of_the_input() -> None:
    start = event("message_start", message={"model": "m", "usage": {"input_tokens": 0, "output_tokens": 0}})
    meter = metered(start, TEXT, HELLO, END, STOP)
    assert meter.usage is None
