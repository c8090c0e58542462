"""What ASGI does not have, for one request of a connection: its body and its answer in one piece each, being told
when the caller hangs up, and dropping the connection at once.

It reaches into the cycle of a request as uvicorn keeps it, and does there what uvicorn would do; whatever is not the
usual case is left to uvicorn. Whoever takes it out of the scope with `channel_of` has it to himself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

if TYPE_CHECKING:
    from comptroller.gateway.protocol import BoundedProtocol

EXTENSION = "comptroller.channel"


class Channel:
    """Lent to the application by the protocol (protocol.py)."""

    __slots__ = ("_cycle", "_protocol", "named")

    def __init__(self, protocol: BoundedProtocol, cycle: RequestResponseCycle, named: Mapping[bytes, bytes]) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self.named = named  # the headers of the request by name; of those that came twice, the last

    def body(self) -> bytes | None:
        """The whole body, if all of it has come: then nothing is left to be received. Else None."""
        cycle = self._cycle
        return None if cycle.more_body or cycle.disconnected else bytes(cycle.body)

    def respond(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Write a whole answer; its length is among the headers. False: nothing was done, send it the usual way.

        Raises ValueError for a header that holds CR or LF.
        """
        cycle = self._cycle
        if cycle.response_started or cycle.disconnected or cycle.flow.write_paused or cycle.scope["method"] == "HEAD":
            return False
        lines = [STATUS_LINE[status], *[b"%b: %b\r\n" % header for header in (*cycle.default_headers, *headers)]]
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
            raise ValueError("a response header holds CR or LF")
        cycle.response_started = cycle.response_complete = True
        cycle.transport.writelines((head, body))
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Call back when the connection is lost, or at once if it is. A connection answers one request at a time."""
        self._protocol.watch(on_gone)

    def unwatch(self) -> None:
        self._protocol.on_gone = None

    def drop(self) -> None:
        """End the connection at once, and tell uvicorn that nobody waits for the end of the answer any more."""
        self._cycle.disconnected = True
        self._cycle.transport.abort()


def channel_of(scope: MutableMapping[str, Any]) -> Channel:
    """Take the channel out of a request's scope; what leads back to the scope would be a ring if it stayed in it."""
    channel: Channel = scope["extensions"].pop(EXTENSION)
    return channel
