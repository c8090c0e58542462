"""A Responses stream: metered to the provider's own report however it is cut, and passed on unchanged."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.pricing.usage import Usage
from comptroller.wire.event_stream import MOST_EVENT_BYTES
from comptroller.wire.openai_responses import StreamMeter
from tests.wire.recorded import Exchange, load

STREAMS = [exchange for exchange in load("openai_responses") if exchange.stream]
# The middle of a long stream repeats itself: there it is cut in one place of many.
EVERY_SPLIT_BYTES = 9_000


def metered(*chunks: bytes, long_cache: bool = False) -> StreamMeter:
    """A meter that has seen these chunks, which it passed on unchanged."""
    meter = StreamMeter(long_cache)
    passed = b"".join([*map(meter.feed, chunks), meter.finish()])
    assert passed == b"".join(chunks)
    return meter


def facts(meter: StreamMeter) -> Any:
    return (
        *(meter.usage, meter.usage_final, meter.done, meter.malformed, meter.error, meter.started),
        *(meter.served_model, meter.service_tier, meter.seen_output_tokens),
    )


def events(stream: bytes) -> list[Any]:
    """An own, slow reading."""
    return [json.loads(line[6:]) for line in stream.split(b"\n") if line.startswith(b"data: {")]


def last_of(stream: bytes) -> Any:
    """The response as the last event tells it."""
    return events(stream)[-1]["response"]


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def about(kind: str, **response: Any) -> bytes:
    return event(f"response.{kind}", response={"id": "resp_1", "model": "m", **response})


def added(index: int = 0, **item: Any) -> bytes:
    return event("response.output_item.added", output_index=index, item={"id": f"i{index}", **item})


def done(index: int = 0, **item: Any) -> bytes:
    return event("response.output_item.done", output_index=index, item={"id": f"i{index}", **item})


def says(text: str, **fields: Any) -> bytes:
    return event("response.output_text.delta", **{"output_index": 0, "content_index": 0, "delta": text, **fields})


def tokens(given_tokens: int, made: int) -> dict[str, Any]:
    return {"usage": {"input_tokens": given_tokens, "output_tokens": made}}


START = about("created", service_tier="auto")
MESSAGE = added(type="message", role="assistant", status="in_progress", content=[])
END = about("completed", service_tier="default", **tokens(10, 5))

# --- recordings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_a_recorded_stream(exchange: Exchange) -> None:
    meter, last = metered(exchange.response), last_of(exchange.response)
    reported = last["usage"]
    kinds = [item["type"] for item in last["output"]]
    assert meter.usage == Usage(
        input_tokens=reported["input_tokens"],
        output_tokens=reported["output_tokens"],
        cached_tokens=reported["input_tokens_details"]["cached_tokens"],
        reasoning_tokens=reported["output_tokens_details"]["reasoning_tokens"],
        service_tier=last.get("service_tier"),
        web_search_requests=kinds.count("web_search_call"),
        file_search_requests=kinds.count("file_search_call"),
    )
    assert (meter.usage_final, meter.done, meter.malformed, meter.error) == (True, True, False, False)
    assert (meter.served_model, meter.service_tier) == (last["model"], last.get("service_tier"))


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_what_was_seen_is_never_less_than_what_was_billed_and_visible(exchange: Exchange) -> None:
    meter = metered(exchange.response)
    assert meter.usage is not None
    assert meter.seen_output_tokens >= meter.usage.output_tokens - meter.usage.reasoning_tokens


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_a_recorded_stream_in_any_pieces(exchange: Exchange) -> None:
    stream = exchange.response
    whole = facts(metered(stream))
    step = 1 if len(stream) <= EVERY_SPLIT_BYTES else 397
    for cut in range(0, len(stream), step):
        assert facts(metered(stream[:cut], stream[cut:])) == whole, cut
    assert facts(metered(*(stream[place : place + 7] for place in range(0, len(stream), 7)))) == whole


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_every_event_of_a_recorded_stream_in_two_pieces(exchange: Exchange) -> None:
    """Each after the head of its stream and before its end. Far from its line ends, where one cut is as another, one
    in 197 is tried; and of events of one kind the first three.
    """
    parts = [part + b"\n\n" for part in exchange.response.split(b"\n\n")[:-1]]
    tried: dict[bytes, int] = {}
    for place, part in enumerate(parts):
        kind = part.partition(b"\n")[0]
        tried[kind] = tried.get(kind, 0) + 1
        if tried[kind] > 3:
            continue
        before, after = b"".join(parts[:1]) if place else b"", b"".join(parts[-2:])
        whole = facts(metered(before + part + after))
        for cut in {*range(min(99, len(part))), *range(0, len(part), 197), *range(max(0, len(part) - 50), len(part))}:
            assert facts(metered(before + part[:cut], part[cut:] + after)) == whole, (place, cut)


@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 200_000), max_size=30))
def test_cut_into_many(exchange: Exchange, places: list[int]) -> None:
    stream = exchange.response
    edges = [0, *sorted(place % len(stream) for place in places), len(stream)]
    assert facts(metered(*[stream[a:b] for a, b in pairwise(edges)])) == facts(metered(stream))


@pytest.mark.parametrize("ending", ["\r\n", "\r"])
def test_other_ends_of_lines(ending: str) -> None:
    shortest = min(STREAMS, key=lambda exchange: len(exchange.response))
    stream = shortest.response.decode().replace("\n", ending).encode()
    whole = facts(metered(shortest.response))
    for cut in range(0, len(stream), 3):
        assert facts(metered(stream[:cut], stream[cut:])) == whole, cut


def test_whole_events_only() -> None:
    """So that a stream that is cut can be ended cleanly with an event of ours."""
    for exchange in STREAMS[:5]:
        meter, passed = StreamMeter(), b""
        for place in range(0, len(exchange.response), 11):
            passed += meter.feed(exchange.response[place : place + 11])
            assert not passed or passed.endswith(b"\n\n")


# --- usage and ends -----------------------------------------------------------------------------


@pytest.mark.parametrize("last", ["completed", "incomplete", "failed"])
def test_the_last_event_reports_and_ends(last: str) -> None:
    meter = metered(START, MESSAGE, says("x"), about(last, service_tier="flex", **tokens(10, 5)))
    assert (meter.usage, meter.usage_final, meter.done) == (Usage(10, 5, service_tier="flex"), True, True)
    assert meter.error == (last == "failed")


@pytest.mark.parametrize("last", ["completed", "incomplete", "failed"])
@pytest.mark.parametrize("fields", [{}, {"usage": None}, {"usage": {}}])
def test_no_usage(last: str, fields: dict[str, Any]) -> None:
    meter = metered(START, MESSAGE, says("x"), about(last, **fields))
    assert (meter.usage, meter.usage_final, meter.done, meter.malformed) == (None, False, True, False)


def test_a_report_before_the_end_is_not_final() -> None:
    meter = metered(START, about("in_progress", **tokens(10, 1)), says("x"))
    assert (meter.usage, meter.usage_final) == (Usage(10, 1, service_tier=None), False)


@pytest.mark.parametrize(
    "content",
    [
        says("x"),
        MESSAGE,
        done(type="function_call", name="f", arguments="{}"),
        event("response.brand_new.delta", delta="x"),
    ],
)
def test_a_report_does_not_cover_what_came_after_it(content: bytes) -> None:
    assert not metered(START, END, content).usage_final
    assert metered(START, END, content, END).usage_final, "a newer report covers it"


def test_a_usage_that_comes_twice_is_one() -> None:
    assert metered(START, says("x"), END, END).usage == Usage(10, 5, service_tier="default")


def test_an_explicit_zero_is_a_number() -> None:
    meter = metered(START, MESSAGE, says("x"), about("completed", **tokens(0, 0)))
    assert (meter.usage, meter.usage_final) == (Usage(0, 0), True)


@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b"data: [DONE]"])
def test_the_end_mark_of_another_api_changes_nothing(end: bytes) -> None:
    meter = metered(START, says("x"), END, end)
    assert (meter.usage_final, meter.done, meter.malformed) == (True, True, False)
    assert not metered(START, says("x"), end).usage_final


HALF = says("x" * 1_000)[:-10]


@pytest.mark.parametrize("before", [START, START + MESSAGE + says("x")])
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
        (END[:-9], True),
        (b"event: response.output_text.delta\n", True),
        (b"data: [DO", True),
        (b": wa", True),
    ):
        meter = StreamMeter()
        meter.feed(START + says("x") + END + half)
        assert meter.usage_final == final, half
        meter.finish()
        assert meter.usage_final == final, half


def test_a_last_event_without_its_blank_line_counts() -> None:
    assert metered(START, says("x"), END.rstrip()).usage_final


@pytest.mark.parametrize(
    "bad",
    [
        event("error", code="server_error", message="x", param=None),
        b'event: error\ndata: {"error": {"message": "x"}}\n\n',
        b'data: {"error": {"code": 500, "message": "x"}}\n\n',
        b'event: error\ndata: {"message": "x"}\n\n',
        b"event: error\ndata: x\n\n",
        about("failed", error={"code": "server_error", "message": "x"}),
    ],
)
def test_an_error_in_mid_stream(bad: bytes) -> None:
    meter = metered(START, says("a"), bad)
    assert meter.error
    assert not meter.usage_final


MALFORMED = [
    b"data: x\n\n",
    b'data: {"type": [\n\n',
    b"data: []\n\n",
    b"data: null\n\n",
    b"data: " + b'{"a":' * 100_000 + b"\n\n",
    event("response.completed"),
    event("response.completed", response=7),
]


@pytest.mark.parametrize("bad", MALFORMED, ids=lambda bad: bad[:60].decode("latin-1").strip())
def test_what_is_malformed(bad: bytes) -> None:
    meter = metered(START, says("a"), bad, says("b"))
    assert (meter.malformed, meter.usage, meter.error) == (True, None, False)


@pytest.mark.parametrize("reported", [{"input_tokens": -1, "output_tokens": 1}, {"x": 1}, [1], "1"])
def test_usage_that_cannot_be_is_not_a_broken_stream(reported: Any) -> None:
    meter = metered(START, says("a"), about("completed", usage=reported))
    assert (meter.usage_malformed, meter.malformed, meter.usage, meter.usage_final) == (True, False, None, False)
    assert metered(START, says("a"), about("completed", usage=reported), END).usage_final


# --- what was seen ------------------------------------------------------------------------------

FRAME, LAST = 24, 8
SEEN: dict[str, tuple[list[bytes], int]] = {
    "text": ([MESSAGE, says("héé")], FRAME + 5),
    "text, and all of it again": (
        [
            *(MESSAGE, event("response.content_part.added", output_index=0, content_index=0, part={"text": ""})),
            *(says("ab"), says("cd", obfuscation="xxxxxxxx", logprobs=[{"token": "cd"}])),
            event("response.output_text.done", output_index=0, content_index=0, text="abcd"),
            event("response.content_part.done", output_index=0, content_index=0, part={"text": "abcd"}),
            done(type="message", role="assistant", content=[{"type": "output_text", "text": "abcd"}]),
        ],
        FRAME + 4,
    ),
    "a refusal": ([MESSAGE, event("response.refusal.delta", output_index=0, delta="no")], FRAME + 2),
    "a summary": (
        [added(type="reasoning"), event("response.reasoning_summary_text.delta", output_index=0, delta="abc")],
        FRAME + 3,
    ),
    "reasoning": (
        [added(type="reasoning"), event("response.reasoning_text.delta", output_index=0, delta="abc")],
        FRAME + 3,
    ),
    "encrypted reasoning": ([added(type="reasoning"), done(type="reasoning", encrypted_content="A" * 900)], FRAME),
    "the call of a function": (
        [
            added(type="function_call", name="get", call_id="call_1", arguments=""),
            event("response.function_call_arguments.delta", output_index=0, delta="{}"),
            event("response.function_call_arguments.done", output_index=0, arguments="{}"),
            done(type="function_call", name="get", call_id="call_1", arguments="{}"),
        ],
        FRAME + 3 + 2,
    ),
    "an item that came in one piece": ([done(type="function_call", name="get", arguments="{}")], FRAME + 3 + 2),
    "what was left out of the pieces": (
        [added(type="tool_search_call", arguments=None), done(type="tool_search_call", arguments={"query": "abc"})],
        FRAME + 3,
    ),
    "sound": (
        [
            event("response.audio.delta", delta="AAAA"),
            event("response.audio.transcript.delta", delta="hi"),
        ],
        6,
    ),
    "free text for a tool": (
        [added(type="custom_tool_call", name="f"), event("response.custom_tool_call_input.delta", delta="abc")],
        FRAME + 1 + 3,
    ),
    "something new": ([event("response.brand_new", x={"y": ["ab", "c"]}, item_id="not this")], 3),
    "something new in pieces": ([event("response.brand_new.delta", delta={"y": "ab"})], 2),
    "two items": ([added(0, type="message"), says("ab"), added(1, type="message"), says("c", output_index=1)], 51),
    "what a server made": ([done(type="mcp_list_tools", tools=[{"name": "x" * 99}])], 0),
    "without numbers, as llama.cpp has it": (
        [
            event("response.output_item.added", item={"id": "msg_1", "type": "message"}),
            event("response.output_text.delta", item_id="msg_1", delta="abcd"),
            event("response.output_item.done", item={"id": "msg_1", "type": "message", "content": [{"text": "abcd"}]}),
        ],
        FRAME + 4,
    ),
}


@pytest.mark.parametrize("what", SEEN)
def test_every_visible_byte_counts_as_a_token(what: str) -> None:
    chunks, count = SEEN[what]
    meter = metered(START, *chunks)
    assert meter.started == (count > 0)
    assert meter.seen_output_tokens == (count + LAST if count else 0)


def test_nothing_came_yet() -> None:
    waiting = event("response.web_search_call.searching", output_index=0, item_id="ws_1")
    meter = metered(b": wait\n\n", START, about("in_progress"), about("queued"), waiting)
    assert (meter.started, meter.seen_output_tokens) == (False, 0)


def test_the_tier_and_model_last_said() -> None:
    meter = metered(START, about("completed", model="m-1", service_tier="flex"))
    assert (meter.served_model, meter.service_tier) == ("m-1", "flex")


def test_a_flood_without_an_end_passes_unread() -> None:
    flood = b"data: " + b"x" * MOST_EVENT_BYTES
    meter = metered(START, says("a"), END, flood[:5_000_000], flood[5_000_000:], says("b"))
    assert (meter.malformed, meter.usage_final) == (True, False)
    assert len(flood) <= meter.seen_output_tokens < len(flood) + 300


NAMES = st.sampled_from(
    [
        *("type", "delta", "item", "item_id", "output_index", "content_index", "sequence_number", "part", "response"),
        *("error", "usage", "id", "text", "output", "model", "input_tokens", "output_tokens"),
    ]
)
KINDS = st.sampled_from(
    [
        *("response.created", "response.completed", "response.failed", "response.output_item.added", "error"),
        *("response.output_item.done", "response.output_text.delta", "response.content_part.added", "message"),
        *("response.refusal.delta", "response.content_part.done", "output_text"),
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.text(max_size=3) | KINDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)
TYPED = st.builds(lambda kind, fields: {**fields, "type": kind}, KINDS, st.dictionaries(NAMES, ANYTHING, max_size=5))
GARBAGE = st.binary(max_size=60) | (ANYTHING | TYPED).map(
    lambda value: b"data: " + json.dumps(value).encode() + b"\n\n"
)


@given(st.lists(GARBAGE, max_size=8))
def test_nothing_raises_and_nothing_is_changed(chunks: list[bytes]) -> None:
    meter = metered(*chunks)
    assert meter.seen_output_tokens >= 0
    assert not meter.usage_final or meter.usage is not None
    assert isinstance(meter.cut_short(), bytes)
