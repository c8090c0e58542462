"""Listeners: uvicorn servers that stop when we say so, not when a signal says so."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Generator
from typing import Any

import uvicorn

from comptroller.gateway.protocol import BoundedProtocol

_FINISH_S = 5  # for answers that are already decided to reach their callers


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # app.py owns the signals: a drain comes before the end


class Listener:
    """One bound socket and the server behind it."""

    def __init__(
        self, app: Any, host: str, port: int, *, head_bytes: int, stalled_s: float, tls: ssl.SSLContext | None = None
    ) -> None:
        protocol = type("Protocol", (BoundedProtocol,), {"head_bytes_most": head_bytes, "stalled_s": stalled_s})
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", http=protocol, ws="none", interface="asgi3",
            proxy_headers=False, server_header=False, timeout_graceful_shutdown=_FINISH_S, backlog=4096,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )  # fmt: skip
        self._server = _Server(config)
        self._socket = _bind(host, port)
        self.host, self.port = self._socket.getsockname()[:2]
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to accept. Returns once connections are taken."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise RuntimeError("the listener ended before it began")
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Stop accepting, let answers go out for a few seconds, close."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
