"""The border to the dialects: what the story needs from `wire/`. A wire module satisfies this as it is."""

from __future__ import annotations

from typing import Literal, Protocol

from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.wire.head import Head


class DialectRequest(Protocol):
    """A request as its dialect read it."""

    @property
    def asked(self) -> Asked: ...


class Answer(Protocol):
    """What a whole JSON answer says."""

    @property
    def usage(self) -> Usage | None: ...
    @property
    def served_model(self) -> str | None: ...
    @property
    def malformed(self) -> bool: ...


class Meter(Protocol):
    """Reads a stream as it passes."""

    @property
    def usage(self) -> Usage | None: ...
    @property
    def usage_final(self) -> bool: ...
    @property
    def done(self) -> bool: ...
    @property
    def malformed(self) -> bool: ...
    @property
    def error(self) -> bool: ...
    @property
    def served_model(self) -> str | None: ...
    @property
    def seen_output_tokens(self) -> int: ...
    @property
    def started(self) -> bool:
        """Generated content came."""
        ...

    @property
    def input_usage(self) -> Usage | None:
        """The input side, as soon as the stream tells it; None for as long as it does not."""
        ...

    def cut_short(self) -> bytes:
        """The events with which the stream ends cleanly after what was passed on, as at the provider's own limit."""
        ...

    def feed(self, chunk: bytes) -> bytes: ...
    def finish(self) -> bytes: ...


class Dialect(Protocol):
    name: str
    family: str  # what a provider's `dialects` setting must list
    request_headers: frozenset[bytes]  # may go upstream
    default_headers: tuple[tuple[bytes, bytes], ...]  # go upstream where the caller sent none of that name
    query_parameters: frozenset[bytes]  # may go upstream
    response_headers: frozenset[bytes]  # may come back
    request_id_header: bytes | None  # where SDKs look for an id: on our refusals the call's

    def read_request(self, body: bytes, head: Head) -> DialectRequest | Refusal: ...
    def upstream_path(self, request: DialectRequest, model: str | None) -> str: ...  # `model`: as in `rewrite`
    def content_type(self, request: DialectRequest) -> bytes: ...  # of what `rewrite` returns
    def rewrite(
        self,
        request: DialectRequest,
        *,
        output_limit: int,
        field: Literal["max_completion_tokens", "max_tokens"],
        model: str | None = None,  # None: as the caller named it
    ) -> bytes: ...
    def read_answer(self, request: DialectRequest, body: bytes) -> Answer: ...
    def stream_meter(self, request: DialectRequest) -> Meter: ...
    def refusal_body(self, refusal: Refusal, call_id: str) -> bytes: ...
    def refusal_event(
        self,
        refusal: Refusal,
        call_id: str,
        meter: Meter | None = None,  # of the stream that it ends
    ) -> bytes: ...
