"""The border to providers: what the story of a call needs from whoever speaks HTTP to them.

`gateway/egress.py` implements it. One `Exchange` is one attempt: one request, written at most once,
never retried or redirected below this border.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal, Protocol

import msgspec

FailureKind = Literal[
    "forbidden_address",  # egress rules refuse this address; nothing was written
    "connect",  # no connection: name, route, refused, TLS handshake, connect timeout; nothing was written
    "first_byte_timeout",  # no status line in time
    "idle_timeout",  # silence in the middle of the answer
    "total_timeout",
    "cut",  # the connection ended before the answer did
    "protocol",  # not HTTP, or bounds of the answer's head exceeded
    "too_large",  # a JSON answer longer than the caller of `read` allows
]


class Timeouts(msgspec.Struct, frozen=True):
    connect_s: float = 10.0
    first_byte_s: float = 600.0
    idle_s: float = 120.0
    total_s: float = 1800.0


class Origin(msgspec.Struct, frozen=True):
    """Where a provider lives. `allow_private`: loopback and private addresses were named on purpose.

    "stdio": a process that the gateway runs itself; `host` is the name of the MCP server.
    """

    scheme: Literal["http", "https", "stdio"]
    host: str
    port: int
    path_prefix: str = ""
    allow_private: bool = False


class UpstreamRequest(msgspec.Struct, frozen=True, gc=False):
    origin: Origin
    path: str  # with the query, without the origin's prefix
    headers: Sequence[tuple[bytes, bytes]]  # lower-case names; host, content-length and connection are the egress's own
    body: bytes
    timeouts: Timeouts = Timeouts()
    method: str = "POST"


class UpstreamFailure(Exception):
    """The attempt failed. `Exchange.written` says whether the provider can have seen any of it."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind: FailureKind = kind
        self.detail = detail


class Exchange(Protocol):
    """One attempt. `start`, then either `read` or `chunks`; `abort` at any time, any number of times."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]  # lower-case names

    @property
    def written(self) -> bool:
        """True from just before the first byte of the request was handed to the transport."""
        ...

    async def start(self) -> None:
        """Connect or reuse, write the request, wait for status and headers. Raises UpstreamFailure."""
        ...

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body. Raises UpstreamFailure, kind `too_large` beyond the limit."""
        ...

    def tap(self, through: Callable[[bytes], bytes]) -> None:
        """Hand body bytes to `through` the moment they come, however late they are read: what it returns is read then.

        Before `chunks`. What came earlier is handed over now. What it raises, the reader gets.
        """
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Body bytes as they come, unchanged (transfer coding removed) but for a tap. Raises UpstreamFailure.

        The socket is read at its own pace into a buffer; a consumer that lags does not slow it down.
        """
        ...

    def unread(self) -> bytes:
        """Take what has come of the body, or through the tap, and was not consumed yet, without waiting."""
        ...

    def abort(self) -> None:
        """Close the connection unless the answer is complete. Safe after the end."""
        ...

    def let_go(self) -> None:
        """Nobody reads on: the connection is kept if the rest of the answer comes at once, and else closed."""
        ...


class Upstream(Protocol):
    def open(
        self,
        request: UpstreamRequest,
        *,
        buffer_limit_bytes: int,
        on_overflow: Callable[[], None],
    ) -> Exchange:
        """Prepare an attempt; does no I/O. `on_overflow` is called once when more than the limit lies unread."""
        ...

    async def close(self) -> None:
        """Close idle connections and abort open exchanges."""
        ...
