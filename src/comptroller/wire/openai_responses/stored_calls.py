"""Stored responses as dialects: reading, deleting and cancelling one, and reading what was sent with it.

OpenAI takes nothing for these. The path names the response, and our records say whose it is.

Source: the OpenAI API reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import StoredUse
from comptroller.wire.head import PLAIN, Head
from comptroller.wire.openai_responses.answer import Answer, read_answer
from comptroller.wire.openai_surface import AskedRequest, OpenAISurface


class StoredCall(msgspec.Struct, frozen=True, gc=False):
    """A request about one stored response."""

    asked: Asked
    path: str


class OpenAIStoredResponses(OpenAISurface):
    """The dialect of /v1/responses/{id} and of what is below it."""

    name = "openai_stored_responses"
    query_parameters = frozenset({b"include", b"include[]", b"include%5B%5D", b"after", b"limit", b"order"})

    def __init__(self, below: str = "", *, deletes: bool = False) -> None:
        """`below`: what follows the id in the path."""
        self._below = below
        self._deletes = deletes

    def read_request(self, body: bytes, head: Head = PLAIN) -> StoredCall | Refusal:
        """All of it is in the head; a body does not go on. `unsupported`: a stream is asked for."""
        stream = parse_qs(head.query.decode("latin-1"), keep_blank_values=True).get("stream", [])
        if any(value.lower() not in {"false", "0"} for value in stream):
            return Refusal(
                code="unsupported",
                sentence="This gateway reads a stored response whole, not as a stream.",
                hint="Leave `stream` out.",
                param="stream",
            )
        use = StoredUse(head.named, deletes=self._deletes)
        asked = Asked(model="", stream=False, text_tokens=0, output_limit=0, free=True, stored=use)
        return StoredCall(asked, f"/v1/responses/{head.named}{self._below}")

    def upstream_path(self, request: AskedRequest, model: str | None) -> str:
        """Of the response that it is about: our records have its id as it stands here."""
        if not isinstance(request, StoredCall):
            raise TypeError("a request of another dialect")
        return request.path

    def rewrite(
        self, request: AskedRequest, *, output_limit: int, field: str = "max_tokens", model: str | None = None
    ) -> bytes:
        """No body."""
        return b""

    def read_answer(self, request: AskedRequest, body: bytes) -> Answer:
        """What was used is that of the call that made it, not of this one."""
        return msgspec.structs.replace(read_answer(body), usage=None, usage_malformed=False, object_id=None)


# By path, with the method before it.
STORED_CALLS: Mapping[str, OpenAIStoredResponses] = {
    "GET /v1/responses/{name}": OpenAIStoredResponses(),
    "DELETE /v1/responses/{name}": OpenAIStoredResponses(deletes=True),
    "GET /v1/responses/{name}/input_items": OpenAIStoredResponses("/input_items"),
    "/v1/responses/{name}/cancel": OpenAIStoredResponses("/cancel"),
}
