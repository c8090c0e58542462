"""Stored responses as dialects: reading, deleting and cancelling one, and reading what was sent with it.

OpenAI takes nothing for these. The path names the response, and our records say whose it is.

Source: the OpenAI API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import RESPONSE
from comptroller.wire.head import PLAIN, Head
from comptroller.wire.object_calls import ObjectAnswer, ObjectCall
from comptroller.wire.openai_objects import OpenAIObjects
from comptroller.wire.openai_responses.answer import read_answer
from comptroller.wire.openai_surface import AskedRequest


class OpenAIStoredResponses(OpenAIObjects):
    """The dialect of /v1/responses/{id} and of what is below it."""

    query_parameters = frozenset({b"include", b"include[]", b"include%5B%5D", b"after", b"limit", b"order"})

    def __init__(self, below: str = "", *, deletes: bool = False) -> None:
        super().__init__("openai_stored_responses", RESPONSE, "/v1/responses", below, deletes=deletes)

    def read_request(self, body: bytes, head: Head = PLAIN) -> ObjectCall | Refusal:
        """All of it is in the head; a body does not go on. `unsupported`: a stream is asked for."""
        stream = parse_qs(head.query.decode("latin-1"), keep_blank_values=True).get("stream", [])
        if any(value.lower() not in {"false", "0"} for value in stream):
            return Refusal(
                code="unsupported",
                sentence="This gateway reads a stored response whole, not as a stream.",
                hint="Leave `stream` out.",
                param="stream",
            )
        return super().read_request(body, head)

    def read_answer(self, request: AskedRequest, body: bytes) -> ObjectAnswer:
        """What was used is that of the call that made it, not of this one."""
        answer = read_answer(body)
        return ObjectAnswer(served_model=answer.served_model, malformed=answer.malformed)


# By path, with the method before it.
STORED_CALLS: Mapping[str, OpenAIStoredResponses] = {
    "GET /v1/responses/{name}": OpenAIStoredResponses(),
    "DELETE /v1/responses/{name}": OpenAIStoredResponses(deletes=True),
    "GET /v1/responses/{name}/input_items": OpenAIStoredResponses("/input_items"),
    "/v1/responses/{name}/cancel": OpenAIStoredResponses("/cancel"),
}
