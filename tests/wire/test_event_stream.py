"""Events are cut where the standard ends them, and no byte is lost or added, whatever the chunks are."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.wire.event_stream import EventSplitter, EventTooLarge, event_data, event_name

PIECES = ["\n", "\r", "\r\n", "\n\n", "data: x", "data:", ": note", "event: e", "id", "é", "a" * 40, " "]
STREAMS = st.lists(st.sampled_from(PIECES), max_size=40).map(lambda pieces: "".join(pieces).encode())


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in chunks that end at these places."""
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def split(chunks: list[bytes], most: int = 1 << 20) -> tuple[list[bytes], bytes]:
    splitter = EventSplitter(most)
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return events, splitter.rest()


def dispatched(stream: bytes) -> list[list[bytes]]:
    """By the standard, line by line: the data lines of each event that has any. A slow second opinion."""
    lines = re.split(rb"\r\n|\r|\n", stream)
    events: list[list[bytes]] = []
    data: list[bytes] = []
    for line in lines[:-1]:  # what follows the last line end is not a whole line
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                data.append(value.removeprefix(b" "))
        elif data:
            events.append(data)
            data = []
    return events


@given(STREAMS, st.lists(st.integers(0, 400), max_size=8))
def test_all_that_comes_out_is_what_went_in(stream: bytes, places: list[int]) -> None:
    events, rest = split(cut(stream, places))
    assert b"".join(events) + rest == stream
    assert all(events)


@given(STREAMS, st.lists(st.integers(0, 400), max_size=8))
def test_half_an_event_is_as_long_as_what_waits(stream: bytes, places: list[int]) -> None:
    splitter = EventSplitter()
    for chunk in cut(stream, places):
        splitter.feed(chunk)
        assert splitter.half == len(splitter.rest().strip())


@given(STREAMS, st.lists(st.integers(0, 400), max_size=8))
def test_the_events_are_those_of_the_standard(stream: bytes, places: list[int]) -> None:
    events, _ = split(cut(stream, places))
    found = [data for event in events if (data := event_data(event)) is not None]
    assert found == [b"\n".join(lines) for lines in dispatched(stream)]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r\n", b"\r\n\n", b"\n\r"])
def test_an_event_comes_as_soon_as_its_blank_line_is_there(end: bytes) -> None:
    splitter = EventSplitter()
    stream = b"data: x" + end
    for byte in stream[:-1]:
        if splitter.feed(bytes([byte])):
            assert end.endswith(b"\r\n"), "only a CR may end it before its LF comes"
            return
    assert splitter.feed(stream[-1:]) == [stream]


def test_many_events_in_one_chunk() -> None:
    stream = b"".join(b"data: %d\n\n" % number for number in range(1000))
    events, rest = split([stream + b"data: 1"])
    assert len(events) == 1000
    assert rest == b"data: 1"


def feed_all(splitter: EventSplitter, stream: bytes, size: int) -> bytes:
    """Feed chunks of this size; what came out. Stops where an event is too large."""
    out = b""
    for start in range(0, len(stream), size):
        try:
            out += b"".join(splitter.feed(stream[start : start + size]))
        except EventTooLarge:
            assert out + splitter.rest() == stream[: start + size], "nothing is lost"
            return out
    pytest.fail("an event of any length was taken")


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_an_endless_event_is_refused(size: int) -> None:
    stream = b"data: first\n\ndata: " + b"x" * 5000
    assert feed_all(EventSplitter(most_event_bytes=1000), stream, size) in {b"data: first\n\n", b""}


@given(st.integers(1, 500))
def test_a_whole_event_over_the_limit_is_refused_too(size: int) -> None:
    assert feed_all(EventSplitter(most_event_bytes=100), b"data: " + b"x" * 200 + b"\n\n", size) == b""


def test_a_long_event_in_small_chunks_costs_no_rescans() -> None:
    """4 MB a byte apart would take minutes if each chunk looked at all before it."""
    splitter = EventSplitter()
    for _ in range(64 * 1024):
        assert splitter.feed(b"x" * 64) == []
    assert len(splitter.feed(b"\n\n")[0]) == 64 * 64 * 1024 + 2


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"data: {}\n\n", b"{}"),
        (b"data:{}\n\n", b"{}"),
        (b"data:  {}\n\n", b" {}"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data: a\r\ndata: b\r\n\r\n", b"a\nb"),
        (b"event: e\ndata: a\nid: 1\n\n", b"a"),
        (b"\ndata: a\n\n", b"a"),
        (b"\xef\xbb\xbfdata: a\n\n", b"a"),
        (b"data\n\n", b""),
        (b": comment\n\n", None),
        (b"\n\n", None),
        (b"database: a\n\n", None),
        (b"data: a", b"a"),
    ],
)
def test_the_data_of_an_event(raw: bytes, data: bytes | None) -> None:
    assert event_data(raw) == data


def test_the_name_of_an_event() -> None:
    assert event_name(b"event: error\ndata: a\n\n") == b"error"
    assert event_name(b"data: a\n\n") == b""
