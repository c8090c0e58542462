"""OpenAI Chat Completions as one dialect: its route, what may pass in headers, and all it can read and say."""

from __future__ import annotations

from typing import Protocol

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.wire.head import JSON, PLAIN, Head
from comptroller.wire.openai_chat.answer import Answer, read_answer
from comptroller.wire.openai_chat.refusals import refusal_body, refusal_event
from comptroller.wire.openai_chat.request import ChatRequest, LimitField, read_request, rewrite
from comptroller.wire.openai_chat.stream import StreamMeter

# Request headers that go upstream. Left out on purpose: credentials and openai-organization, openai-project
# (the gateway alone selects accounts), x-stainless-* and user-agent (facts about the caller's machine),
# accept-encoding (we must be able to read the answer), idempotency-key (an attempt is ours to identify).
REQUEST_HEADERS = frozenset({b"accept", b"openai-beta"})

# Response headers that come back. Left out on purpose: cookies, openai-organization and openai-project (whose
# account it is), everything about the connection.
RESPONSE_HEADERS = frozenset(
    {
        b"content-type",
        b"x-request-id",
        b"openai-processing-ms",
        b"openai-version",
        b"retry-after",
        b"retry-after-ms",
        b"x-should-retry",
        b"x-ratelimit-limit-requests",
        b"x-ratelimit-limit-tokens",
        b"x-ratelimit-remaining-requests",
        b"x-ratelimit-remaining-tokens",
        b"x-ratelimit-reset-requests",
        b"x-ratelimit-reset-tokens",
    }
)


class AskedRequest(Protocol):
    """A request as any dialect hands it on; ours comes back to us as it was."""

    @property
    def asked(self) -> Asked: ...


class OpenAIChat:
    """The dialect of POST /v1/chat/completions."""

    name = "openai_chat"
    family = "openai"  # what a provider's `dialects` setting must list
    request_headers = REQUEST_HEADERS
    default_headers = ()
    query_parameters: frozenset[bytes] = frozenset()
    response_headers = RESPONSE_HEADERS
    request_id_header: bytes | None = None

    def read_request(self, body: bytes, head: Head = PLAIN) -> ChatRequest | Refusal:
        """See request.py."""
        return read_request(body, head)

    def upstream_path(self, request: AskedRequest, model: str | None) -> str:
        """One path for every request."""
        return "/v1/chat/completions"

    def content_type(self, request: AskedRequest) -> bytes:
        """Of what `rewrite` returns."""
        return JSON

    def rewrite(
        self, request: AskedRequest, *, output_limit: int, field: LimitField, model: str | None = None
    ) -> bytes:
        """See request.py."""
        return rewrite(_own(request), output_limit=output_limit, field=field, model=model)

    def read_answer(self, request: AskedRequest, body: bytes) -> Answer:
        """See answer.py."""
        return read_answer(body, request.asked.long_cache_writes)

    def stream_meter(self, request: AskedRequest) -> StreamMeter:
        """See stream.py."""
        asked = request.asked
        return StreamMeter(asked.usage_asked, asked.long_cache_writes, asked.text_tokens)

    def refusal_body(self, refusal: Refusal, call_id: str) -> bytes:
        """See refusals.py."""
        return refusal_body(refusal, call_id)

    def refusal_event(self, refusal: Refusal, call_id: str, meter: object = None) -> bytes:
        """See refusals.py. It says the same wherever a stream ends."""
        return refusal_event(refusal, call_id)


def _own(request: AskedRequest) -> ChatRequest:
    if not isinstance(request, ChatRequest):
        raise TypeError("a request of another dialect")
    return request
