"""Connections to providers, and the idle ones kept for each origin."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Protocol, cast

import msgspec

from comptroller.flow.upstream import Origin

NEVER = float("inf")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class EgressLimits(msgspec.Struct, frozen=True):
    max_idle_per_origin: int = 64
    idle_lifetime_s: float = 15.0
    max_head_bytes: int = 64 * 1024


class Holder(Protocol):
    """Whoever has a connection now, and hears what happens on it."""

    def received(self, data: bytes) -> None: ...

    def ended(self) -> None:
        """The provider sent all it is going to send."""
        ...

    def lost(self, reason: str) -> None: ...


class Connection(asyncio.Protocol):
    """One socket. Hands what happens on it to its holder; while it has none, anything that happens is its end."""

    __slots__ = ("_dead", "_poll", "_site", "holder", "idle_until", "transport")

    transport: asyncio.Transport

    def __init__(self, site: Site) -> None:
        self.holder: Holder | None = None
        self.idle_until = 0.0  # seconds on the loop's clock
        self._dead = False
        self._site = site
        self._poll = select.poll()

    @property
    def alive(self) -> bool:
        return not self._dead and not self.transport.is_closing()

    @property
    def quiet(self) -> bool:
        """Alive, and nothing waits on the socket that the loop has not told us about yet.

        The look at the socket costs half a microsecond. Without it a busy loop writes requests into connections
        that their servers have already closed, and each such call is charged as if it had been answered.
        """
        return self.alive and not self._poll.poll(0)

    def abort(self) -> None:
        self._dead = True
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self.holder is None:
            self._end_idle()  # bytes that nobody asked for
        else:
            self.holder.received(data)

    def eof_received(self) -> None:
        if self.holder is None:
            self._end_idle()
        else:
            self.holder.ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self._dead = True
        if self.holder is None:
            self._site.forget(self)
        else:
            self.holder.lost(str(exc or "closed"))

    def _end_idle(self) -> None:
        self._site.forget(self)
        self.abort()


class Site:
    """One origin: what its requests have in common, and its idle connections, the freshest last.

    `wake_by` is called with the time (seconds on the loop's clock) by which `close_stale` has to be called.
    Raises ValueError for a host that cannot stand in a request.
    """

    __slots__ = ("_closed", "_idle", "_idle_lifetime_s", "_max_idle", "_wake_by", "host_line", "origin", "prefix")

    def __init__(
        self, origin: Origin, *, max_idle: int, idle_lifetime_s: float, wake_by: Callable[[float], None]
    ) -> None:
        self.origin = origin
        self.host_line = _host_line(origin)
        self.prefix = origin.path_prefix.rstrip("/")
        self._idle: list[Connection] = []
        self._max_idle = max_idle
        self._idle_lifetime_s = idle_lifetime_s
        self._wake_by = wake_by
        self._closed = False

    @property
    def idle(self) -> int:
        return len(self._idle)

    def take(self, now: float) -> Connection | None:
        """An idle connection with no sign of an end on it, or None."""
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_until > now and connection.quiet:
                return connection
            connection.abort()
        return None

    def park(self, connection: Connection, now: float, server_keeps_s: int | None) -> None:
        """Keep for reuse; shorter than the server says it does, because its last second is a race we would lose."""
        keeps_s = self._idle_lifetime_s
        if server_keeps_s is not None:
            keeps_s = min(keeps_s, server_keeps_s - 1.0)
        if keeps_s <= 0 or self._closed or len(self._idle) >= self._max_idle:
            connection.abort()
            return
        connection.idle_until = now + keeps_s
        self._idle.append(connection)
        self._wake_by(connection.idle_until)

    def forget(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def close_stale(self, due: float) -> float:
        """Close what is past its time; returns when the next one will be."""
        stale = [connection for connection in self._idle if connection.idle_until <= due]
        for connection in stale:
            self._idle.remove(connection)
            connection.abort()
        return min((connection.idle_until for connection in self._idle), default=NEVER)

    def close(self) -> None:
        self._closed = True
        self.close_stale(NEVER)


def _host_line(origin: Origin) -> bytes:
    if origin.scheme not in _DEFAULT_PORTS:
        raise ValueError("an origin that is not reached over HTTP")
    host = origin.host.strip("[]")
    if not host or not host.isascii() or not host.isprintable() or any(bad in host for bad in " /@?#\\[]"):
        raise ValueError("an origin's host must be a plain ASCII host name or address")
    named = f"[{host}]" if ":" in host else host
    return f"host: {named}{'' if origin.port == _DEFAULT_PORTS[origin.scheme] else f':{origin.port}'}".encode()
