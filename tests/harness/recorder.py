"""A provider that keeps every byte it is sent, and says what the test lets it say."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

_READ_BYTES = 65_536
_PATIENCE_S = 60.0

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
CHAT_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "sandbox-large",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": USAGE,
}
MESSAGE_ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "sandbox-large",
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 2},
}


@dataclass(frozen=True)
class Heard:
    """One request, byte for byte."""

    head: bytes
    body: bytes

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def headers(self) -> list[tuple[str, str]]:
        """As they came: order, case and repetition kept."""
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    @property
    def names(self) -> list[str]:
        return sorted(name.lower() for name, _ in self.headers)


Answer = Callable[[Heard], bytes | Iterable[bytes]]


def respond(body: Any, *headers: str, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """A whole answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", f"Content-Type: {kind}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + content


def stream(*events: bytes, headers: tuple[str, ...] = ()) -> list[bytes]:
    """An event stream, each piece in a chunk of its own."""
    lines = ["HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked", *headers, "", ""]
    chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    return ["\r\n".join(lines).encode("latin-1"), *chunks, b"0\r\n\r\n"]


def usual(heard: Heard) -> bytes:
    """A plain answer in the dialect of the path."""
    return respond(MESSAGE_ANSWER if "/v1/messages" in heard.line else CHAT_ANSWER)


class Recorder:
    """`with Recorder() as upstream: ...`; `answer` can be changed at any time."""

    def __init__(self) -> None:
        self.answer: Answer = usual
        self.heard: list[Heard] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._plugs: set[socket.socket] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for plug in tuple(self._plugs):
            with contextlib.suppress(OSError):
                plug.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """Begin anew, with the usual answer."""
        self.heard.clear()
        self.answer = usual

    def only(self) -> Heard:
        """The one request that came."""
        (heard,) = self.heard
        return heard

    @property
    def bytes_heard(self) -> bytes:
        return b"\n".join(each.head + each.body for each in self.heard)

    def _accept(self) -> None:
        while True:
            try:
                plug, _ = self._listener.accept()
            except OSError:
                return
            self._plugs.add(plug)
            threading.Thread(target=self._serve, args=(plug,), daemon=True).start()

    def _serve(self, plug: socket.socket) -> None:
        plug.settimeout(_PATIENCE_S)
        with plug, contextlib.suppress(OSError):
            kept = b""
            while True:
                heard, kept = _next_request(plug, kept)
                if heard is None:
                    break
                self.heard.append(heard)
                said = self.answer(heard)
                for piece in (said,) if isinstance(said, bytes) else said:
                    plug.sendall(piece)
        self._plugs.discard(plug)


def _next_request(plug: socket.socket, kept: bytes) -> tuple[Heard | None, bytes]:
    while b"\r\n\r\n" not in kept:
        more = plug.recv(_READ_BYTES)
        if not more:
            return None, b""
        kept += more
    head, _, body = kept.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        more = plug.recv(_READ_BYTES)
        if not more:
            return None, b""
        body += more
    return Heard(head + b"\r\n\r\n", body[:length]), body[length:]
