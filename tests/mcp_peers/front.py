"""A door before the gateway that adds a credential: the conformance suite has no way to send one."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 65_536
_MOST_HEAD_BYTES = 65_536


@contextmanager
def adding(port: int, credential: str) -> Iterator[int]:
    """The port of a door to `port` whose requests have this bearer; nothing else of them is changed but keep-alive."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        threading.Thread(target=_accept, args=(listener, port, credential), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, port: int, credential: str) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_carry, args=(client, port, credential), daemon=True).start()


def _carry(client: socket.socket, port: int, credential: str) -> None:
    """One request: its connection ends with its answer."""
    with client, socket.create_connection(("127.0.0.1", port)) as gateway, suppress(OSError):
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _MOST_HEAD_BYTES:
            more = client.recv(_CHUNK)
            if not more:
                return
            head += more
        head, _, body = head.partition(b"\r\n\r\n")
        kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
        added = [b"Connection: close", b"Authorization: Bearer " + credential.encode()]
        gateway.sendall(b"\r\n".join([*kept, *added]) + b"\r\n\r\n" + body)
        threading.Thread(target=_pump, args=(client, gateway), daemon=True).start()
        _pump(gateway, client)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
