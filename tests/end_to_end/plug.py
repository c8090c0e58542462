"""A bare socket, for what no HTTP client would send."""

import contextlib
import selectors
import socket
from collections.abc import Iterable

PATIENCE_S = 60.0
_READ_BYTES = 65_536


def exchange(port: int, pieces: Iterable[bytes], *, hang_up: bool = False) -> bytes:
    """Send pieces until all are sent or an answer comes; then read all of it. `hang_up`: end our half first."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as plug:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                if _has_answer(plug):
                    break
                plug.sendall(piece)
            if hang_up:
                plug.shutdown(socket.SHUT_WR)
        return _all_of(plug)


def _has_answer(plug: socket.socket) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(plug, selectors.EVENT_READ)
        return bool(selector.select(0))


def _all_of(plug: socket.socket) -> bytes:
    """What comes until the other side closes; a reset ends it too."""
    pieces: list[bytes] = []
    with contextlib.suppress(ConnectionError):
        while piece := plug.recv(_READ_BYTES):
            pieces.append(piece)
    return b"".join(pieces)
