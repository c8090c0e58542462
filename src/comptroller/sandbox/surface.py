"""The border between making an answer and the API that it is asked through: one `Surface` an API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from comptroller.sandbox.bill import Line
from comptroller.sandbox.compose import Answer
from comptroller.sandbox.errors import Refusal
from comptroller.sandbox.order import Order
from comptroller.sandbox.wire import Headers


class Writer(Protocol):
    """Writes one answer in its API's words, as JSON or as the events of a stream."""

    @property
    def headers(self) -> Headers:
        """Headers of the answer beside those of its content."""
        ...

    @property
    def broken_event(self) -> bytes:
        """An event whose data is not JSON (fault `malformed_json`)."""
        ...

    def whole(self) -> bytes:
        """The whole answer as JSON."""
        ...

    def opening(self) -> bytes:
        """The first events of a stream."""
        ...

    def reasoning(self, tokens: tuple[str, ...]) -> bytes:
        """The event of some tokens of reasoning that is shown."""
        ...

    def piece(self, index: int, tokens: tuple[str, ...]) -> bytes:
        """The event of some visible tokens of one choice."""
        ...

    def closing(self) -> bytes:
        """The last events of a stream."""
        ...

    def failure(self, refusal: Refusal) -> bytes:
        """The event that says in mid-stream that it failed."""
        ...


class Surface(Protocol):
    """One API."""

    name: str
    no_key: Refusal
    wrong_key: Refusal

    def key(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The provider key of a request, or None when it has none."""
        ...

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Order:
        """Read and check a request. Raises ApiError."""
        ...

    def error(self, refusal: Refusal) -> tuple[Headers, bytes]:
        """An error answer: its own headers, and its body."""
        ...

    def writer(self, order: Order, answer: Answer, line: Line, usages: int) -> Writer:
        """Whatever writes the answer, with its usage reported so many times (once is right, the rest are faults)."""
        ...
