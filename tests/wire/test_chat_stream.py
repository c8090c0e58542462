"""A stream is metered exactly, however it is cut, and its bytes pass unchanged."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.pricing.usage import Usage
from comptroller.wire.openai_chat import StreamMeter
from tests.wire.recorded import CHAT, Exchange
from tests.wire.test_chat_usage import plainly

STREAMS = [exchange for exchange in CHAT if exchange.stream]
# The same answer was recorded with several frameworks: one of each is enough for the long tests.
DIFFERENT = list({(len(each.response), each.response.count(b"\n\n")): each for each in STREAMS}.values())


def chunks_of(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in stream.split(b"\n") if line.startswith(b"data: {")]


def feed(*chunks: bytes, usage_asked: bool = True) -> tuple[StreamMeter, bytes]:
    meter = StreamMeter(usage_asked)
    passed = b"".join([meter.feed(chunk) for chunk in chunks]) + meter.finish()
    return meter, passed


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def says(text: str, **fields: Any) -> bytes:
    return event(choices=[{"index": 0, "delta": {"content": text}}], **fields)


def tokens(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion}


DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    "fields",
    [
        {"response": "hello"},
        {"choices": [], "output": {"parts": [{"said": "hello"}]}},
        {"choices": [{"index": 0, "delta": {"content": ""}, "reasoned": "hello"}]},
    ],
    ids=["another shape", "beside its choices", "beside its delta"],
)
def test_text_under_a_key_that_nobody_knows_counts(fields: dict[str, Any]) -> None:
    meter, _ = feed(event(id="x", object="chat.completion.chunk", created=1, model="m", provider="P", **fields))
    assert meter.started
    assert len("hello") <= meter.seen_output_tokens <= len("hello") + 8


def test_what_follows_a_report_under_a_key_that_nobody_knows_leaves_it_final() -> None:
    """A judgement of the content, as some servers send it last."""
    meter, _ = feed(says("hello"), event(choices=[], usage=tokens(3, 2)), event(choices=[], moderation="fine"), DONE)
    assert meter.usage_final


def test_names_and_roles_are_no_text() -> None:
    opening = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    meter, _ = feed(event(id="x", created=1, model="m", system_fingerprint="f", provider="P", choices=[opening]))
    assert (meter.started, meter.seen_output_tokens) == (False, 0)


def state(meter: StreamMeter) -> tuple[Any, ...]:
    flags = (meter.usage_final, meter.done, meter.malformed, meter.error, meter.started)
    return (meter.usage, *flags, meter.served_model, meter.service_tier, meter.seen_output_tokens)


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_a_recorded_stream(exchange: Exchange) -> None:
    last = chunks_of(exchange.response)[-1]
    meter, passed = feed(exchange.response)
    assert passed == exchange.response
    assert meter.usage == plainly(last["usage"], last["service_tier"])
    assert (meter.usage_final, meter.done, meter.started) == (True, True, True)
    assert (meter.malformed, meter.error) == (False, False)
    assert (meter.served_model, meter.service_tier) == (last["model"], last["service_tier"])
    assert meter.seen_output_tokens >= meter.usage.output_tokens - meter.usage.reasoning_tokens


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_only_the_usage_chunk_is_hidden(exchange: Exchange) -> None:
    events = exchange.response.split(b"\n\n")
    without = b"\n\n".join([each for each in events if not each.startswith(b"data: {") or b'"choices":[]' not in each])
    assert len(without) < len(exchange.response)
    meter, passed = feed(exchange.response, usage_asked=False)
    assert passed == without
    assert state(meter) == state(feed(exchange.response)[0])


@pytest.mark.parametrize("exchange", DIFFERENT, ids=lambda exchange: exchange.name)
@pytest.mark.parametrize("usage_asked", [True, False])
def test_cut_in_two_at_every_byte(exchange: Exchange, usage_asked: bool) -> None:
    stream = exchange.response
    whole, expected = feed(stream, usage_asked=usage_asked)
    # In a long stream the middle repeats itself: there every 7th place, which walks through all of an event.
    edge = 4000 if len(stream) < 10_000 else 1000
    places = [p for p in range(len(stream) + 1) if p < edge or p > len(stream) - edge or p % 7 == 0]
    for place in places:
        meter, passed = feed(stream[:place], stream[place:], usage_asked=usage_asked)
        assert passed == expected, place
        assert state(meter) == state(whole), place


@given(st.sampled_from(DIFFERENT), st.lists(st.integers(0, 16_000), max_size=30), st.booleans())
def test_cut_into_many(exchange: Exchange, places: list[int], usage_asked: bool) -> None:
    stream = exchange.response
    whole, expected = feed(stream, usage_asked=usage_asked)
    edges = [0, *sorted(place % len(stream) for place in places), len(stream)]
    meter, passed = feed(*[stream[start:end] for start, end in pairwise(edges)], usage_asked=usage_asked)
    assert passed == expected
    assert state(meter) == state(whole)


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_other_line_ends(end: bytes) -> None:
    stream = DIFFERENT[0].response.replace(b"\n", end)
    whole, passed = feed(stream)
    assert passed == stream
    assert state(whole) == state(feed(DIFFERENT[0].response)[0])
    for place in range(len(stream)):
        meter, passed = feed(stream[:place], stream[place:])
        assert (passed, state(meter)) == (stream, state(whole)), place


def test_an_event_passes_at_once() -> None:
    """The first byte is not held back: what is whole goes on with the chunk that made it whole."""
    meter = StreamMeter(usage_asked=False)
    assert meter.feed(b"data: {}") == b""
    assert meter.feed(b"\n\ndata: {}\n") == b"data: {}\n\n"
    assert meter.feed(b"\n") == b"data: {}\n\n"


def test_the_last_usage_stands_and_is_never_summed() -> None:
    meter, _ = feed(says("a", usage=tokens(10, 1)), says("b", usage=tokens(10, 2)), says("c", usage=tokens(10, 3)))
    assert meter.usage == Usage(10, 3)
    assert not meter.usage_final, "the stream may have been cut"
    meter, _ = feed(says("a", usage=tokens(10, 1)), says("b", usage=tokens(10, 2)), DONE)
    assert (meter.usage, meter.usage_final) == (Usage(10, 2), True)
    meter, _ = feed(says("a", usage=tokens(10, 1)), event(choices=[], usage=tokens(0, 0)))
    assert (meter.usage, meter.usage_final) == (Usage(0, 0), True), "an explicit zero is a number"


def test_no_usage() -> None:
    meter, _ = feed(says("a", usage=None), event(choices=[], usage=None), event(choices=[], usage={}), DONE)
    assert (meter.usage, meter.usage_final, meter.done, meter.malformed) == (None, False, True, False)


@pytest.mark.parametrize(
    "last",
    [
        event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], x_groq={"id": "r", "usage": tokens(10, 5)}),
        event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "usage": tokens(10, 5)}]),
        event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=tokens(10, 5)),
        event(choices=None, usage=tokens(10, 5)),
        event(usage=tokens(10, 5)),
        b"data:" + json.dumps({"choices": [], "usage": tokens(10, 5)}).encode() + b"\r\n\r\n",
        b": hello\nid: 7\ndata: " + json.dumps({"choices": [], "usage": tokens(10, 5)}).encode() + b"\n\n",
        json.dumps({"choices": [], "usage": tokens(10, 5)}, indent=1)
        .encode()
        .replace(b"\n", b"\ndata: ")
        .join((b"data: ", b"\n\n")),
    ],
)
def test_the_places_and_shapes_of_usage(last: bytes) -> None:
    meter, passed = feed(says("a"), last, DONE)
    assert (meter.usage, meter.usage_final, meter.malformed) == (Usage(10, 5), True, False)
    assert passed == says("a") + last + DONE


def test_what_is_hidden_and_what_is_not() -> None:
    kept = [
        b": keep-alive\n\n",
        event(choices=[], prompt_filter_results=[{"prompt_index": 0}]),
        says("a", usage=tokens(1, 1)),
        event(choices=[], usage=None),
        event(choices=[], usage=tokens(1, 2), error={"message": "x"}),
        b"event: ping\ndata: {}\n\n",
        b"data: not json\n\n",
    ]
    meter, passed = feed(*kept, event(choices=[], usage=tokens(1, 3)), DONE, usage_asked=False)
    assert passed == b"".join(kept) + DONE
    assert meter.usage == Usage(1, 3)


def test_what_came_after_the_last_event() -> None:
    hidden = event(choices=[], usage=tokens(1, 2))
    for rest, passes in ((DONE.rstrip(), DONE.rstrip()), (b'data: {"choi', b'data: {"choi'), (hidden.rstrip(), b"")):
        meter, passed = feed(says("a") + rest, usage_asked=False)
        assert passed == says("a") + passes
        assert not meter.malformed, "a stream that was cut is not malformed"
    meter, _ = feed(says("a"), hidden.rstrip())
    assert (meter.usage, meter.usage_final) == (Usage(1, 2), True)
    meter, _ = feed(says("a"), b"data: [DONE]")
    assert meter.done
    assert meter.finish() == b""


SEEN: dict[str, tuple[dict[str, Any], int]] = {
    "content": ({"role": "assistant", "content": "héé"}, 5),
    "refusal": ({"refusal": "no"}, 2),
    "reasoning": ({"reasoning": "abc", "content": None}, 3),
    "reasoning content": ({"reasoning_content": "abc"}, 3),
    "audio": ({"audio": {"id": "audio_1", "data": "AAAA", "transcript": "hi"}}, 6),
    "tool call": (
        {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "get", "arguments": "{}"}}]},
        5 + 24,
    ),
    "two tool calls, each in pieces": (
        {"tool_calls": [{"index": i, "function": {"arguments": "{}"}} for i in (0, 1, 0, 1)]},
        8 + 2 * 24,
    ),
    "function call": ({"function_call": {"name": "f", "arguments": "{}"}}, 3),
    "parts": ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "abcd"}]}]}, 4),
    "something new": ({"brand_new": {"x": ["ab", "c"]}}, 3),
}


@pytest.mark.parametrize("what", SEEN)
def test_every_visible_byte_counts_as_a_token(what: str) -> None:
    delta, count = SEEN[what]
    meter, _ = feed(event(choices=[{"index": 0, "delta": delta}]))
    assert meter.started
    assert meter.seen_output_tokens == count + 8
    meter, _ = feed(*[event(choices=[{"index": index, "delta": delta}]) for index in range(3)])
    assert meter.seen_output_tokens == 3 * (count + 8)


def test_nothing_came_yet() -> None:
    role = event(choices=[{"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}}])
    meter, _ = feed(b": wait\n\n", role, event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    assert (meter.started, meter.seen_output_tokens) == (False, 0)


@pytest.mark.parametrize(
    "bad",
    [
        event(error={"message": "x"}),
        event(error="overloaded"),
        event(choices=[{"index": 0, "delta": {}, "finish_reason": "error"}], error={"code": 502, "message": "x"}),
        b'event: error\ndata: {"message": "x"}\n\n',
        event(choices=[], x_groq={"error": "x"}),
    ],
)
def test_an_error_in_mid_stream(bad: bytes) -> None:
    meter, passed = feed(says("a"), bad)
    assert (meter.error, meter.malformed) == (True, False)
    assert passed == says("a") + bad
    assert not feed(says("a", error=None))[0].error


MALFORMED = [
    b"data: x\n\n",
    b'data: {"choices": [\n\n',
    b"data: []\n\n",
    b"data: 1\n\n",
    b"data: null\n\n",
    b"data: " + b'{"a":' * 100_000 + b"\n\n",
    b'data: {"model": "\xff"}\n\n',
    event(choices={}),
]


@pytest.mark.parametrize("bad", MALFORMED, ids=lambda bad: bad[:60].decode("latin-1").strip())
def test_what_is_malformed(bad: bytes) -> None:
    meter, passed = feed(says("a"), bad, says("b"))
    assert (meter.malformed, meter.usage, meter.error) == (True, None, False)
    assert not meter.usage_malformed
    assert passed == says("a") + bad + says("b")


@pytest.mark.parametrize(
    "reported", [tokens(-1, 5), tokens(10**40, 5), {"prompt_tokens": "1", "completion_tokens": 1}, {"x": 1}, [1]]
)
def test_usage_that_cannot_be_is_not_a_broken_stream(reported: Any) -> None:
    meter, _ = feed(says("a"), event(choices=[], usage=reported), DONE)
    assert (meter.usage_malformed, meter.malformed) == (True, False)
    assert (meter.usage, meter.usage_final, meter.done) == (None, False, True)
    meter, _ = feed(says("a"), event(choices=[], usage=reported), event(choices=[], usage=tokens(1, 2)), DONE)
    assert (meter.usage, meter.usage_final, meter.usage_malformed) == (Usage(1, 2), True, False)


def test_bad_usage_takes_back_what_was_known() -> None:
    meter, _ = feed(says("a", usage=tokens(1, 1)), event(choices=[], usage=tokens(-1, 1)), DONE)
    assert (meter.usage, meter.usage_final, meter.usage_malformed) == (None, False, True)


@pytest.mark.parametrize("odd", [[1], ["x"], [None], [{}], [{"delta": []}], [{"delta": 1, "index": "x"}], [[]]])
def test_odd_shapes_hide_no_usage(odd: Any) -> None:
    meter, passed = feed(event(choices=odd, usage=tokens(1, 2), model=7, service_tier=[]), DONE)
    assert (meter.usage, meter.served_model, meter.service_tier) == (Usage(1, 2), None, None)
    assert passed.endswith(DONE)


def test_the_tier_and_model_last_said() -> None:
    meter, _ = feed(says("a", model="m", service_tier="auto"), says("b", model="m-1"), says("c", service_tier="flex"))
    assert (meter.served_model, meter.service_tier) == ("m-1", "flex")


def test_a_flood_without_an_end_passes_unread() -> None:
    flood = b"data: " + b"x" * (9 * 1024 * 1024)
    meter, passed = feed(says("a"), flood[:5_000_000], flood[5_000_000:], says("b"), DONE)
    assert passed == says("a") + flood + says("b") + DONE
    assert (meter.malformed, meter.done, meter.usage) == (True, False, None)
    assert meter.seen_output_tokens >= len(flood)


WORDS = ["data: ", "\n", "\n\n", "{", "}", '"choices"', ":", "[", "]", ",", '"usage"', "1", '"delta"', "é"]
PIECES = st.sampled_from(WORDS)
KEYS = st.sampled_from(["choices", "usage", "delta", "index", "model", "error", "x_groq", "content", "prompt_tokens"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
GARBAGE = (
    st.binary(max_size=60)
    | st.lists(PIECES, max_size=30).map(lambda pieces: "".join(pieces).encode())
    | ANYTHING.map(lambda value: b"data: " + json.dumps(value).encode() + b"\n\n")
)


@given(st.lists(GARBAGE, max_size=8))
def test_nothing_raises_and_nothing_is_changed(chunks: list[bytes]) -> None:
    meter, passed = feed(*chunks)
    assert passed == b"".join(chunks)
    assert meter.seen_output_tokens >= 0
    assert not meter.usage_final or meter.usage is not None


def test_a_delta_that_is_a_text_is_counted() -> None:
    meter, _ = feed(event(choices=[{"index": 0, "delta": "a" * 500}]))
    assert meter.seen_output_tokens >= 500


@pytest.mark.parametrize(
    ("details", "written"), [({}, 6), ({"cached_tokens": 4}, 6), ({"cached_tokens": 4, "cache_write_tokens": 0}, 0)]
)
def test_until_writes_are_told_all_that_can_have_been_written_counts_as_that(
    details: dict[str, int], written: int
) -> None:
    """Where a server reports with every chunk, and the writes with its last."""
    cached = {"prompt_tokens_details": {"cached_tokens": 4, **details}}
    meter, _ = feed(says("hello", usage={**tokens(10, 2), **cached}))
    assert meter.input_usage is not None
    assert (meter.input_usage.cached_tokens, meter.input_usage.cache_write_tokens) == (4, written)
    assert meter.usage is not None
    assert meter.usage.cache_write_tokens == 0
