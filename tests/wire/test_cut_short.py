"""A stream that we end ourselves: after any of its events the official SDKs find it whole, and cut at its length."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from comptroller.wire import anthropic_messages, openai_chat
from comptroller.wire.event_stream import EventSplitter
from tests.wire.recorded import CHAT, Exchange
from tests.wire.test_messages_request import MESSAGES

CHOSEN = 20  # events of a long stream after which it is cut
ADDRESS = "http://127.0.0.1:9"


def chosen(exchange: Exchange) -> Sequence[list[bytes]]:
    """The beginnings of a stream, event by event."""
    events = EventSplitter().feed(exchange.response)
    places = range(0, len(events), max(1, len(events) // CHOSEN))
    return [events[:place] for place in places]


def different(exchanges: Sequence[Exchange]) -> list[Exchange]:
    streams = [each for each in exchanges if each.stream]
    return list({(len(each.response), each.response.count(b"\n\n")): each for each in streams}.values())


def answering(stream: bytes) -> httpx2.Client:
    """The transport of an SDK whose server sends these bytes."""
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: answer))


def heard_by_openai(stream: bytes) -> list[Any]:
    with openai.OpenAI(api_key="x", base_url=ADDRESS, http_client=answering(stream), max_retries=0) as client:
        return list(
            client.chat.completions.create(
                model="m",
                messages=[{"role": "user", "content": "go"}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )


def heard_by_anthropic(stream: bytes) -> anthropic.types.Message:
    with (
        anthropic.Anthropic(api_key="x", base_url=ADDRESS, http_client=answering(stream), max_retries=0) as client,
        client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "go"}]) as helper,
    ):
        return helper.get_final_message()


def cut(meter: Any, events: Sequence[bytes]) -> bytes:
    passed = b"".join([meter.feed(event) for event in events])
    return passed + meter.cut_short()


@pytest.mark.parametrize("exchange", different(CHAT), ids=lambda exchange: exchange.name)
def test_a_chat_stream_after_any_event(exchange: Exchange) -> None:
    for events in chosen(exchange):
        stream = cut(openai_chat.StreamMeter(True, input_bound=1234), events)
        assert stream.endswith(b"data: [DONE]\n\n")
        assert stream.count(b"[DONE]") == 1
        chunks = heard_by_openai(stream)
        reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
        assert len(reasons) == 1
        assert reasons == ["length"] or b'"finish_reason":"length"' not in stream
        (usage,) = [chunk.usage for chunk in chunks if chunk.usage is not None]
        assert usage.prompt_tokens > 0
        assert len({chunk.id for chunk in chunks}) == 1


def test_the_usage_is_told_only_to_those_who_asked() -> None:
    text = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"four"}}]}\n\n'
    assert b'"usage"' not in cut(openai_chat.StreamMeter(False), [text])
    assert b'"completion_tokens":12' in cut(openai_chat.StreamMeter(True), [text])


def test_a_stream_of_completions_ends_with_text() -> None:
    text = b'data: {"id":"c","object":"text_completion","choices":[{"index":0,"text":"four"}]}\n\n'
    (end,) = [line for line in cut(openai_chat.StreamMeter(False), [text]).split(b"\n") if b'"length"' in line]
    (choice,) = json.loads(end[6:])["choices"]
    assert (choice["text"], choice["finish_reason"], "delta" in choice) == ("", "length", False)


def test_every_choice_that_is_open_is_ended_once() -> None:
    def says(index: int, **fields: Any) -> bytes:
        return (
            b"data: "
            + json.dumps({"choices": [{"index": index, "delta": {"content": "a"}, **fields}]}).encode()
            + b"\n\n"
        )

    stream = cut(openai_chat.StreamMeter(False), [says(0), says(1, finish_reason="stop"), says(2)])
    ends = [json.loads(line[6:]) for line in stream.split(b"\n") if b'"length"' in line]
    assert [chunk["choices"][0]["index"] for chunk in ends] == [0, 2]


@pytest.mark.parametrize("exchange", different(MESSAGES), ids=lambda exchange: exchange.name)
def test_a_messages_stream_after_any_event(exchange: Exchange) -> None:
    for events in chosen(exchange):
        stream = cut(anthropic_messages.StreamMeter(), events)
        message = heard_by_anthropic(stream)
        ended = any(
            b'"stop_reason":"' in event or b'"stop_reason": "' in event for event in events if b"message_delta" in event
        )
        assert ended or message.stop_reason == "max_tokens"
        assert stream.count(b"event: message_stop") == 1
        assert stream.count(b"event: content_block_start") == stream.count(b"event: content_block_stop")


@pytest.mark.parametrize(
    ("meter", "last"),
    [
        (openai_chat.StreamMeter, b"data: [DONE]\n\n"),
        (anthropic_messages.StreamMeter, b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
    ],
)
def test_a_stream_that_has_ended_is_not_ended_again(meter: Callable[[bool], Any], last: bytes) -> None:
    assert cut(meter(False), [last]) == last
