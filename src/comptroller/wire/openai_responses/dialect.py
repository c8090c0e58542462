"""OpenAI Responses as one dialect: its route, what may pass in headers, and all it can read and say."""

from __future__ import annotations

from typing import Protocol

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.wire.head import JSON, PLAIN, Head
from comptroller.wire.openai_chat.dialect import REQUEST_HEADERS, RESPONSE_HEADERS
from comptroller.wire.openai_chat.refusals import refusal_body
from comptroller.wire.openai_responses.answer import Answer, read_answer
from comptroller.wire.openai_responses.outline import Outline
from comptroller.wire.openai_responses.refusals import refusal_event
from comptroller.wire.openai_responses.request import ResponsesRequest, read_request, rewrite
from comptroller.wire.openai_responses.stream import StreamMeter


class AskedRequest(Protocol):
    """A request as any dialect hands it on; ours comes back to us as it was."""

    @property
    def asked(self) -> Asked: ...


class OpenAIResponses:
    """The dialect of POST /v1/responses. Headers pass as in Chat Completions: it is the same API's.

    So what Codex says of its machine and its session (`originator`, `session-id`, `thread-id`, `x-codex-*`) stays here.
    """

    name = "openai_responses"
    family = "openai"  # what a provider's `dialects` setting must list
    request_headers = REQUEST_HEADERS
    default_headers = ()
    query_parameters: frozenset[bytes] = frozenset()
    response_headers = RESPONSE_HEADERS
    request_id_header: bytes | None = None

    def read_request(self, body: bytes, head: Head = PLAIN) -> ResponsesRequest | Refusal:
        """See request.py. All of it is in the body."""
        return read_request(body)

    def upstream_path(self, request: AskedRequest, model: str | None) -> str:
        """One path for every request."""
        return "/v1/responses"

    def content_type(self, request: AskedRequest) -> bytes:
        """Of what `rewrite` returns."""
        return JSON

    def rewrite(
        self, request: AskedRequest, *, output_limit: int, field: str = "max_output_tokens", model: str | None = None
    ) -> bytes:
        """See request.py. `field` is a choice of other dialects: this API has one name for its limit."""
        return rewrite(_own(request), output_limit=output_limit, model=model)

    def read_answer(self, request: AskedRequest, body: bytes) -> Answer:
        """See answer.py."""
        return read_answer(body, request.asked.long_cache_writes)

    def stream_meter(self, request: AskedRequest) -> StreamMeter:
        """See stream.py."""
        return StreamMeter(request.asked.long_cache_writes, request.asked.text_tokens)

    def refusal_body(self, refusal: Refusal, call_id: str) -> bytes:
        """OpenAI's error shape."""
        return refusal_body(refusal, call_id)

    def refusal_event(self, refusal: Refusal, call_id: str, meter: object = None) -> bytes:
        """See refusals.py."""
        return refusal_event(refusal, call_id, meter.outline if isinstance(meter, StreamMeter) else Outline())


def _own(request: AskedRequest) -> ResponsesRequest:
    if not isinstance(request, ResponsesRequest):
        raise TypeError("a request of another dialect")
    return request
