"""The ways out: processes of our own over standard input and output, and HTTP for all else. The story sees one."""

from __future__ import annotations

from collections.abc import Callable

from comptroller.flow.upstream import Exchange, Upstream, UpstreamRequest


class Upstreams:
    """Implements `Upstream`: each request goes where its origin lives."""

    def __init__(self, http: Upstream, stdio: Upstream) -> None:
        self._http = http
        self._stdio = stdio

    def open(self, request: UpstreamRequest, *, buffer_limit_bytes: int, on_overflow: Callable[[], None]) -> Exchange:
        way = self._stdio if request.origin.scheme == "stdio" else self._http
        return way.open(request, buffer_limit_bytes=buffer_limit_bytes, on_overflow=on_overflow)

    async def close(self) -> None:
        await self._stdio.close()
        await self._http.close()
