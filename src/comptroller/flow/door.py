"""The border to callers: what the story needs from whoever speaks HTTP to them (gateway/door.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.wire.head import Head


class CallerRequest(Protocol):
    @property
    def credentials(self) -> Sequence[str]:
        """What was presented in every credential slot, each different value once."""
        ...

    @property
    def method(self) -> str:
        """As its route takes it; it goes upstream by the same."""
        ...

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """All request headers, lower-case names. Credentials among them never go on."""
        ...

    @property
    def received_ns(self) -> int:
        """When its body was complete, by the gate's clock; 0 before that."""
        ...

    @property
    def query(self) -> bytes:
        """The query as it came, without the question mark."""
        ...

    @property
    def head(self) -> Head:
        """What of its head its dialect reads."""
        ...

    @property
    def address(self) -> str | None:
        """The network address of the caller, as far as it is known. For records; no limit and no policy reads it."""
        ...

    @property
    def session_hint(self) -> str | None:
        """What the caller's program calls its own session, where it says so. For records, as the address is."""
        ...

    @property
    def prefers_full_hold(self) -> bool:
        """Whether the caller asks for a hold of the whole answer: `Prefer: hold=full` (RFC 7240)."""
        ...

    @property
    def prefers_wait_s(self) -> int:
        """For how many seconds the caller would rather wait than be refused: `Prefer: wait=N` (RFC 7240); else 0."""
        ...

    async def body(self) -> bytes | Refusal:
        """The whole body, decompressed and bounded."""
        ...

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Call back once if the caller has hung up or hangs up, until `unwatch`. Only after the body was read."""
        ...

    def unwatch(self) -> None: ...


class Reply(Protocol):
    @property
    def started(self) -> bool:
        """True once the status has been sent: an error can then only be said in the stream."""
        ...

    async def respond(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """The whole answer; its length is among the headers."""
        ...

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None: ...

    async def send(self, chunk: bytes) -> None:
        """Send a piece of the body. Waits while the caller's buffer is full; returns at once when they are gone."""
        ...

    async def finish(self, chunk: bytes = b"") -> None: ...

    def drop(self) -> None:
        """Close the connection at once, whatever is still unsent."""
        ...


class Answered(msgspec.Struct, frozen=True):
    """A whole answer to a request that is no call."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    opened: str = ""  # a session that is of use only to whoever hears this


class CallerApi(Protocol):
    """What callers can ask beside calls: `/oauth/...`, `/.well-known/...`, `/comptroller/v1/...`."""

    async def __call__(self, method: str, path: str, request: CallerRequest) -> Answered:
        """The answer, errors and faults of ours too: nothing is raised."""
        ...
