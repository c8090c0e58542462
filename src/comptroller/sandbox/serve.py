"""Running the sandbox as a process: the socket, the server, the signals."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from comptroller.sandbox.app import SandboxApp
from comptroller.sandbox.config import SandboxConfig
from comptroller.sandbox.wire import LinkProtocol

Ready = Callable[[str, int], None]

# Longer than a client's pool keeps an idle connection, so that no request meets a closing one.
_KEEP_ALIVE_S = 75
# For what goes on generating after its client left.
_SHUTDOWN_S = 1
_BACKLOG = 2_048


def run(host: str, port: int, *, config: SandboxConfig, ready: Ready | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then return.

    `port` 0 picks a free one; `ready` is called with the host and the real port once it listens. Raises
    ValueError for a host that is not loopback (unless allowed) and OSError when the address is taken.
    """
    config.check_host(host)
    listener = _listen(host, port)
    server = _Server(_uvicorn_config(config), lambda: _announce(listener, host, ready))
    server.run(sockets=[listener])


def _announce(listener: socket.socket, host: str, ready: Ready | None) -> None:
    if ready is not None:
        ready(host, listener.getsockname()[1])


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _uvicorn_config(config: SandboxConfig) -> uvicorn.Config:
    return uvicorn.Config(
        SandboxApp(config),
        loop="uvloop",
        http=LinkProtocol,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )


class _Server(uvicorn.Server):
    """uvicorn, but it says when it listens, and a signal ends it with exit status 0."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets=sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut what is running: an answer that hangs on purpose would never end."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, LinkProtocol):
                connection.transport.abort()
        await super().shutdown(sockets=sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; unlike uvicorn's own, do not raise the signal again afterwards."""
        self.should_exit = True
