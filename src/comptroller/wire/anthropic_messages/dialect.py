"""Anthropic Messages as one dialect: its route, what may pass in headers, and all it can read and say."""

from __future__ import annotations

from typing import Protocol

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.wire.anthropic_messages.answer import Answer, read_answer
from comptroller.wire.anthropic_messages.refusals import refusal_body, refusal_event
from comptroller.wire.anthropic_messages.request import MessagesRequest, read_request, rewrite
from comptroller.wire.anthropic_messages.stream import StreamMeter
from comptroller.wire.head import JSON, PLAIN, Head

# Request headers that go upstream, as they came: the version decides what a body means. Left out on purpose:
# credentials, anthropic-workspace-id and anthropic-user-profile-id (the gateway alone selects accounts),
# x-stainless-*, x-claude-code-* and user-agent (facts about the caller), accept-encoding (we must be able to
# read the answer), idempotency-key (an attempt is ours to identify).
REQUEST_HEADERS = frozenset({b"accept", b"anthropic-version", b"anthropic-beta"})

# The only parameter of the route: SDKs send `?beta=true` for beta calls.
QUERY_PARAMETERS = frozenset({b"beta"})

_METERS = (
    *("ratelimit-requests", "ratelimit-tokens", "ratelimit-input-tokens", "ratelimit-output-tokens"),
    *("priority-input-tokens", "priority-output-tokens", "fast-input-tokens", "fast-output-tokens"),
)

# Response headers that come back. Left out on purpose: cookies, anthropic-organization-id and
# anthropic-workspace-id (whose account it is), everything about the connection.
RESPONSE_HEADERS = frozenset(
    {
        b"content-type",
        b"request-id",
        b"retry-after",
        b"retry-after-ms",
        b"x-should-retry",
        *(f"anthropic-{meter}-{what}".encode() for meter in _METERS for what in ("limit", "remaining", "reset")),
    }
)


class AskedRequest(Protocol):
    """A request as any dialect hands it on; ours comes back to us as it was."""

    @property
    def asked(self) -> Asked: ...


class AnthropicMessages:
    """The dialect of POST /v1/messages."""

    name = "anthropic_messages"
    family = "anthropic"  # what a provider's `dialects` setting must list
    request_headers = REQUEST_HEADERS
    default_headers = ((b"anthropic-version", b"2023-06-01"),)  # a body without one means what it meant then
    query_parameters = QUERY_PARAMETERS
    response_headers = RESPONSE_HEADERS
    request_id_header: bytes | None = b"request-id"

    def read_request(self, body: bytes, head: Head = PLAIN) -> MessagesRequest | Refusal:
        """See request.py."""
        return read_request(body, head)

    def upstream_path(self, request: AskedRequest, model: str | None) -> str:
        """One path for every request."""
        return "/v1/messages"

    def content_type(self, request: AskedRequest) -> bytes:
        """Of what `rewrite` returns."""
        return JSON

    def rewrite(
        self, request: AskedRequest, *, output_limit: int, field: str = "max_tokens", model: str | None = None
    ) -> bytes:
        """See request.py. `field` is a choice of other dialects: this API has one name for its limit."""
        return rewrite(_own(request), output_limit=output_limit, model=model)

    def read_answer(self, request: AskedRequest, body: bytes) -> Answer:
        """See answer.py."""
        return read_answer(body, request.asked.long_cache_writes)

    def stream_meter(self, request: AskedRequest) -> StreamMeter:
        """See stream.py."""
        return StreamMeter(request.asked.long_cache_writes)

    def refusal_body(self, refusal: Refusal, call_id: str) -> bytes:
        """See refusals.py."""
        return refusal_body(refusal, call_id)

    def refusal_event(self, refusal: Refusal, call_id: str, meter: object = None) -> bytes:
        """See refusals.py. It says the same wherever a stream ends."""
        return refusal_event(refusal, call_id)


def _own(request: AskedRequest) -> MessagesRequest:
    if not isinstance(request, MessagesRequest):
        raise TypeError("a request of another dialect")
    return request
