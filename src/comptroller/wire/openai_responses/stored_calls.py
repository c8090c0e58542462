"""Stored responses as dialects: reading, following, deleting and cancelling one, and reading what was sent with it.

OpenAI takes nothing for these. The path names the response, and our records say whose it is.

Source: the OpenAI API reference.
"""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import RESPONSE
from comptroller.wire.object_calls import ObjectAnswer
from comptroller.wire.openai_objects import OpenAIObjects
from comptroller.wire.openai_responses.answer import read_answer
from comptroller.wire.openai_responses.outline import Outline
from comptroller.wire.openai_responses.refusals import refusal_event
from comptroller.wire.openai_responses.stream import StreamMeter
from comptroller.wire.openai_surface import AskedRequest


class OpenAIStoredResponses(OpenAIObjects):
    """The dialect of /v1/responses/{id} and of what is below it."""

    query_parameters = frozenset(
        {
            *(b"include", b"include[]", b"include%5B%5D", b"after", b"limit", b"order"),
            *(b"stream", b"starting_after", b"include_obfuscation"),
        }
    )

    def __init__(self, below: str = "", *, deletes: bool = False) -> None:
        super().__init__("openai_stored_responses", RESPONSE, "/v1/responses", below, deletes=deletes)

    def stream_meter(self, request: AskedRequest) -> FollowedStream:
        """The events of a response in the background, from where the caller wants them."""
        return FollowedStream()

    def refusal_event(self, refusal: Refusal, call_id: str, meter: object = None) -> bytes:
        """See refusals.py."""
        return refusal_event(refusal, call_id, meter.outline if isinstance(meter, StreamMeter) else Outline())

    def read_answer(self, request: AskedRequest, body: bytes) -> ObjectAnswer:
        """What was used is that of the call that made it, not of this one."""
        answer = read_answer(body)
        return ObjectAnswer(served_model=answer.served_model, malformed=answer.malformed)


class FollowedStream(StreamMeter):
    """A stream that is read again, or from its middle on: what was used is that of the call that made it."""

    @property
    def usage_final(self) -> bool:
        """Nothing was used for this."""
        return False


# By path, with the method before it.
STORED_CALLS: Mapping[str, OpenAIStoredResponses] = {
    "GET /v1/responses/{name}": OpenAIStoredResponses(),
    "DELETE /v1/responses/{name}": OpenAIStoredResponses(deletes=True),
    "GET /v1/responses/{name}/input_items": OpenAIStoredResponses("/input_items"),
    "/v1/responses/{name}/cancel": OpenAIStoredResponses("/cancel"),
}
