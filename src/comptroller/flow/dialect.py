"""The border to the dialects: what the story needs from `wire/`. A wire module satisfies this as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol, runtime_checkable

from comptroller.core.pricing.deferral import Line, Report
from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.terms import Terms
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.core.work.outline import Outline
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


@runtime_checkable
class LastWord(Protocol):
    """A meter of a stream that is over when it is `done`, whatever its server still sends."""

    @property
    def over(self) -> bool: ...


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


@runtime_checkable
class OwnStatus(Protocol):
    """A dialect that says most refusals in an answer of its own, whatever the status of their kind."""

    def status_of(self, refusal: Refusal) -> int: ...


@runtime_checkable
class Sparing(Protocol):
    """A dialect whose errors could hold what an answer may not: they are looked at, too."""

    def error_passed(self, body: bytes) -> bytes:
        """What the caller gets of the body of an answer whose status says that it is none."""
        ...


class Planned(Protocol):
    """One API in which calls can be planned."""

    @property
    def dialect(self) -> Dialect: ...

    def asked(self, model: str, input_tokens: int, output_limit: int | None, *, stream: bool) -> Asked | Refusal:
        """What a request of text alone asks for, with this bound on its input."""
        ...


@runtime_checkable
class Outlined(DialectRequest, Protocol):
    """A request of a dialect that knows what a conversation is."""

    def outline(self, body_bytes: int) -> Outline:
        """Reads all of it anew: ask for it only where somebody looks at it."""
        ...


@runtime_checkable
class Lasting(Protocol):
    """An answer, or a meter, of a dialect whose providers may go on after they have answered."""

    @property
    def pending(self) -> bool:
        """It says that the work goes on, under the `object_id` that it says too."""
        ...


@runtime_checkable
class Readdressed(Protocol):
    """An answer that names an address of its provider's: whoever follows it there would take our credentials along."""

    @property
    def passed(self) -> bytes | None:
        """What the caller gets instead, with our own address in it; None: all of it as it came."""
        ...


class Results(Protocol):
    """Reads one file of results as it comes. Raises ValueError for what is none."""

    def feed(self, chunk: bytes) -> Iterable[Line]: ...
    def finish(self) -> Iterable[Line]: ...


class Deferring(Protocol):
    """Work that a provider goes on with after it has answered: where to ask for it, and how to read what it says.

    One for each dialect whose answers can be `Lasting`, under the name of that dialect (`Gate.deferring`). The hold of
    such a call stays open until `read_report` says `Ended` (flow/deferred.py, flow/poller.py). Where that names
    `results`, their lines are fetched first: of as many models as there are, each with its own usage, and together they
    are the charge. What comes halfway is thrown away and fetched anew.
    """

    family: str  # as of a `Dialect`: which of the provider's credentials are sent
    headers: tuple[tuple[bytes, bytes], ...]  # beside the credential
    lasts_s: int  # no longer than this after its beginning it can end
    first_poll_s: float  # how long after its beginning it is asked for first ...
    most_poll_s: float  # ... and how long apart the last times are

    def poll_path(self, object_id: str) -> str: ...
    def cancel_path(self, object_id: str) -> str | None:
        """Where a POST cancels it, and is answered as `poll_path` is. None: it cannot be cancelled."""
        ...

    def read_report(self, body: bytes, terms: Mapping[str, Terms]) -> Report | None:
        """What the provider says of it; None for what is no answer of this dialect."""
        ...

    def results(self, terms: Mapping[str, Terms]) -> Results:
        """What reads one of the paths in `Ended.results`."""
        ...
