"""How a Responses stream ends that the gateway ends, as the official SDK hears it; and the facts about headers."""

import json
from collections.abc import Sequence
from typing import Any

import httpx2
import openai
import pytest

from comptroller.core.refusal import REFUSALS, Refusal
from comptroller.wire.event_stream import EventSplitter
from comptroller.wire.openai_responses import OpenAIResponses, StreamMeter
from tests.wire.recorded import Exchange
from tests.wire.test_responses_stream import END, MESSAGE, START, STREAMS, added, event, says

REFUSAL = Refusal(code="budget_exhausted", sentence="Nothing is left.", hint="Ask for more.", limit="all", unit="usd")
DIALECT = OpenAIResponses()
CHOSEN = 12  # places of a long stream after which it is cut
DIFFERENT = list({len(each.response): each for each in STREAMS}.values())
ID = "call_1"


def chosen(exchange: Exchange) -> list[list[bytes]]:
    """The beginnings of a stream, event by event: each of the first, and some of the rest."""
    events = EventSplitter().feed(exchange.response)
    places = {*range(min(8, len(events))), *range(0, len(events), max(1, len(events) // CHOSEN))}
    return [events[:place] for place in sorted(places)]


def heard(stream: bytes) -> tuple[list[Any], Any]:
    """Every event that the helper of the SDK fires, and the last one's response."""
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    transport = httpx2.Client(transport=httpx2.MockTransport(lambda _: answer))
    with (
        openai.OpenAI(api_key="x", base_url="http://127.0.0.1:9", http_client=transport, max_retries=0) as client,
        client.responses.stream(model="m", input="go") as helper,
    ):
        events = list(helper)
    return events, events[-1].response


def begun(events: Sequence[bytes], input_bound: int = 0) -> tuple[StreamMeter, bytes]:
    meter = StreamMeter(input_bound=input_bound)
    return meter, b"".join([meter.feed(event) for event in events])


@pytest.mark.parametrize("exchange", DIFFERENT, ids=lambda exchange: exchange.name)
def test_a_recorded_stream_that_is_cut_at_its_limit(exchange: Exchange) -> None:
    for events in chosen(exchange):
        meter, stream = begun(events, input_bound=1_234)
        fired, last = heard(stream + meter.cut_short())
        assert fired[-1].type == "response.incomplete"
        assert (last.status, last.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert (last.usage.input_tokens, last.usage.output_tokens) == (1_234, meter.seen_output_tokens)
        numbers = [each.sequence_number for each in fired if each.sequence_number is not None]  # some number nothing
        assert numbers == sorted(set(numbers))
        said = "".join(each.delta for each in fired if each.type == "response.output_text.delta")
        assert last.output_text == said, "all that came is in the last event"
        assert not [item for item in last.output if item.type == "function_call" and item.status != "completed"]
        assert meter.cut_short() == b"", "it has ended"


@pytest.mark.parametrize("exchange", DIFFERENT, ids=lambda exchange: exchange.name)
def test_a_recorded_stream_that_is_refused_in_the_middle(exchange: Exchange) -> None:
    for events in chosen(exchange):
        meter, stream = begun(events)
        fired, last = heard(stream + DIALECT.refusal_event(REFUSAL, ID, meter))
        assert fired[-1].type == "response.failed"
        assert (last.status, last.error.code, last.error.message) == ("failed", REFUSAL.code, REFUSAL.message)
        assert last.error.comptroller["call_id"] == ID
        assert last.error.comptroller["limit"] == "all"
        assert last.id == (fired[0].response.id if events else ID)


def test_a_refusal_of_a_stream_that_nobody_has_read() -> None:
    fired, last = heard(DIALECT.refusal_event(REFUSAL, ID))
    assert [each.type for each in fired] == ["response.created", "response.failed"]
    assert last.id == ID


def test_what_is_begun_is_closed() -> None:
    part: dict[str, Any] = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    meter, stream = begun(
        [
            *(START, MESSAGE, event("response.content_part.added", output_index=0, content_index=0, part=part)),
            *(says("hello "), says("there"), added(1, type="function_call", name="rm", call_id="c", arguments="")),
            event("response.function_call_arguments.delta", output_index=1, delta='{"all":'),
        ]
    )
    fired, last = heard(stream + meter.cut_short())
    assert [each.type for each in fired][-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    (message,) = last.output  # nobody shall run a call of which the half came
    assert (message.status, message.content[0].text) == ("incomplete", "hello there")


def test_a_stream_that_has_ended_is_not_ended_again() -> None:
    meter, _ = begun([START, MESSAGE, says("x"), END])
    assert meter.cut_short() == b""


@pytest.mark.parametrize("code", REFUSALS)
def test_every_refusal_is_one_event_with_all_it_says(code: str) -> None:
    refusal = Refusal(code=code, sentence="No.\n", hint="é", resets_at="2026-11-22T00:00:00Z")
    meter, _ = begun([START])
    said = DIALECT.refusal_event(refusal, ID, meter)
    assert EventSplitter().feed(said) == [said]
    details = json.loads(said.partition(b"\ndata: ")[2])["response"]["error"]["comptroller"]
    assert details == {
        "code": code,
        "sentence": "No.\n",
        "hint": "é",
        "resets_at": "2026-11-22T00:00:00Z",
        "call_id": ID,
    }


def test_a_whole_refusal_has_openais_shape() -> None:
    error = json.loads(DIALECT.refusal_body(REFUSAL, ID))["error"]
    assert (error["type"], error["code"], error["message"]) == ("billing_error", REFUSAL.code, REFUSAL.message)


def test_no_header_selects_an_account_or_tells_of_the_callers_machine() -> None:
    assert DIALECT.request_headers == {b"accept", b"openai-beta"}
    for name in DIALECT.response_headers:
        assert not any(word in name for word in (b"auth", b"key", b"cookie", b"organization", b"project", b"codex"))


def test_the_dialect_takes_back_only_its_own_requests() -> None:
    request = DIALECT.read_request(b'{"model":"m","input":"x","stream":true}')
    assert not isinstance(request, Refusal)
    assert DIALECT.upstream_path(request, None) == "/v1/responses"
    assert b'"max_output_tokens":5' in DIALECT.rewrite(request, output_limit=5)
    assert DIALECT.stream_meter(request).feed(b"data: {}\n\n") == b"data: {}\n\n"

    class Foreign:
        asked = request.asked

    with pytest.raises(TypeError):
        DIALECT.rewrite(Foreign(), output_limit=5)
