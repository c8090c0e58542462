"""A Gemini stream that we end ourselves: after any of its events the SDK finds it whole, and cut at its length."""

from collections.abc import Sequence

import httpx2
import pytest
from google import genai
from google.genai import types

from comptroller.wire.event_stream import EventSplitter
from comptroller.wire.gemini import StreamMeter
from tests.wire.recorded import Exchange
from tests.wire.test_gemini_stream import STREAMS


def heard(stream: bytes) -> list[types.GenerateContentResponse]:
    """What the SDK makes of a server that sends these bytes."""
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    options = types.HttpOptions(
        base_url="http://127.0.0.1:9",
        httpx_client=httpx2.Client(transport=httpx2.MockTransport(lambda _: answer)),
    )
    with genai.Client(api_key="x", http_options=options, vertexai=False) as client:
        return list(client.models.generate_content_stream(model="m", contents="go"))


def cut(meter: StreamMeter, events: Sequence[bytes]) -> bytes:
    passed = b"".join([meter.feed(event) for event in events])
    return passed + meter.cut_short()


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
def test_a_stream_after_any_event(exchange: Exchange) -> None:
    events = EventSplitter().feed(exchange.response)
    for place in range(len(events) + 1):
        chunks = heard(cut(StreamMeter(), events[:place]))
        reasons = [each.finish_reason for chunk in chunks for each in chunk.candidates or () if each.finish_reason]
        assert reasons == [types.FinishReason.MAX_TOKENS if place < len(events) else types.FinishReason.STOP]
        assert chunks[-1].usage_metadata is not None
        assert len({chunk.response_id for chunk in chunks}) == 1
        whole = heard(b"".join(events))[:place]
        assert [chunk.text for chunk in chunks[:place]] == [chunk.text for chunk in whole]


def test_half_an_event_is_not_heard() -> None:
    events = EventSplitter().feed(max(STREAMS, key=lambda each: len(each.response)).response)
    meter = StreamMeter()
    stream = meter.feed(b"".join(events[:2]) + events[2][:-9]) + meter.cut_short()
    assert len(heard(stream)) == 3
