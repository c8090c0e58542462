"""The bytes of HTTP/1.1, seen from the client: one request out, one response in. Pure: no socket, no clock."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import httptools

MAX_HEADERS = 256
# Bytes of framing (chunk sizes, extensions, trailers) accepted in a row without a single byte of body.
MAX_BARREN_BYTES = 64 * 1024

Headers = Sequence[tuple[bytes, bytes]]

_OWN_HEADERS = frozenset((b"host", b"content-length", b"connection", b"transfer-encoding", b"upgrade", b"expect"))
_FRAMING_HEADERS = frozenset((b"content-length", b"transfer-encoding", b"connection", b"keep-alive"))
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_TARGET = re.compile(r"/[!-~]*")
_KEEP_ALIVE_TIMEOUT = re.compile(rb"timeout\s*=\s*(\d{1,6})")
_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class ProtocolViolation(Exception):
    """What came is not an HTTP/1 response, or its head is beyond bounds."""


def request_head(method: str, target: str, host_line: bytes, headers: Headers, body_length: int) -> bytes:
    """The request up to and with the empty line. `host_line` is trusted, the rest is not.

    Raises ValueError for bytes that could end a line early, for a target that is not a path in printable ASCII,
    and for headers that belong to the egress (their values are left out of the message: one may be a key).
    """
    if method not in _METHODS:
        raise ValueError("not a method that is sent to providers")
    if _TARGET.fullmatch(target) is None:
        raise ValueError("a request path must start with / and be printable ASCII without spaces")
    names = [name for name, _ in headers]
    if not all(map(_may_send, names)):
        name = next(name for name in names if not _may_send(name))
        raise ValueError(f"request header {name!r} is not lower-case, not a token, or the egress's own")
    lines = [f"{method} {target} HTTP/1.1".encode(), host_line, *[b"%b: %b" % header for header in headers], b"\r\n"]
    if body_length or method not in ("GET", "HEAD"):
        lines.insert(2, b"content-length: %d" % body_length)
    head = b"\r\n".join(lines)
    # One look at the whole instead of one at each value: a line end that we did not join in is somebody's.
    ends = len(lines)
    if head.count(b"\r") != ends or head.count(b"\n") != ends or b"\0" in head:
        raise ValueError("a request header holds CR, LF or NUL")
    return head


@lru_cache(maxsize=512)  # names repeat on every call
def _may_send(name: bytes) -> bool:
    return name not in _OWN_HEADERS and bool(name) and not name.translate(None, _TOKEN)


class _Head:
    """Collects one response head from the parser."""

    __slots__ = ("done", "framing", "headers")

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.framing: dict[bytes, bytes] = {}
        self.done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        value = value.rstrip(b" \t")
        self.headers.append((name, value))
        if name in _FRAMING_HEADERS:
            before = self.framing.get(name)
            self.framing[name] = value if before is None else before + b"," + value

    def on_headers_complete(self) -> None:
        self.done = True


class _ChunkedBody:
    """Takes the chunked coding off a body; knows whether anything followed the last chunk."""

    __slots__ = ("_barren", "_parser", "_sink", "_tail")

    def __init__(self, pieces: list[bytes]) -> None:
        self._sink = _ChunkSink(pieces)
        self._parser = httptools.HttpResponseParser(self._sink)
        self._parser.feed_data(_CHUNKED_HEAD)
        self._sink.messages = 0
        self._tail = b""
        self._barren = 0

    def feed(self, data: bytes) -> None:
        """Raises ProtocolViolation if this is no chunked body; what was good of it counts."""
        before = self.size
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._sink.done:
                raise ProtocolViolation(f"chunked body: {error}") from None
            self._sink.messages += 1  # something followed the end; the answer itself is whole
        self._tail = data[-5:] if len(data) >= 5 else (self._tail + data)[-5:]
        self._barren = 0 if self.size > before else self._barren + len(data)
        if self._barren > MAX_BARREN_BYTES:
            raise ProtocolViolation("chunk extensions or trailers beyond bounds")

    @property
    def size(self) -> int:
        """Body bytes so far."""
        return self._sink.size

    @property
    def done(self) -> bool:
        return self._sink.done

    @property
    def clean(self) -> bool:
        """Nothing came after the end.

        Stray CR and LF pass the parser silently, so the last bytes are looked at. A last chunk with trailers fails
        this too, which costs one connection and nothing else.
        """
        return self._sink.messages == 0 and self._tail == b"0\r\n\r\n"


class _ChunkSink:
    __slots__ = ("done", "messages", "pieces", "size")

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.size = 0
        self.messages = 0
        self.done = False

    def on_message_begin(self) -> None:
        self.messages += 1

    def on_body(self, body: bytes) -> None:
        if not self.done:
            self.pieces.append(body)
            self.size += len(body)

    def on_message_complete(self) -> None:
        self.done = True


class ResponseReader:
    """Reads one response from bytes that may be cut anywhere.

    After each `feed` look at `head_done`, `complete`, `received`. A body without length and chunks is read until
    the end of the connection. Interim (1xx) heads are skipped.
    """

    # How it stands at first: on the class, since most of it is never set for most responses.
    status = 0
    head_done = False
    complete = False
    clean = False  # complete, may be followed by another exchange, and nothing followed uninvited
    keep_alive_s: int | None = None  # the server's own word on how long it keeps idle connections
    received = 0  # body bytes so far, transfer coding removed
    unread = 0  # of these, not yet taken
    headers: Sequence[tuple[bytes, bytes]] = ()
    _head: bytearray | None = None  # unfinished
    _head_bytes = 0  # of finished interim heads
    _persistent = False
    _left: int | None = None  # of a body of known length
    _chunked: _ChunkedBody | None = None

    def __init__(self, max_head_bytes: int, *, no_body: bool = False) -> None:
        self._pieces: list[bytes] = []
        self._max_head_bytes = max_head_bytes
        self._no_body = no_body

    @property
    def declared_left(self) -> int:
        """Body bytes that are still to come as far as the head says; 0 if it does not say."""
        return self._left or 0

    def feed(self, data: bytes) -> None:
        """Raises ProtocolViolation; what was gained before it stays readable."""
        if self.complete:
            self.clean = self.clean and not data
        elif self.head_done:
            self._feed_body(data)
        else:
            self._feed_head(data)

    def end(self) -> bool:
        """The connection ended. True if that completes the response, False if it cuts it."""
        if self.head_done and self._left is None and self._chunked is None:
            self.complete = True
        return self.complete

    def take(self) -> bytes:
        """All body bytes not taken yet."""
        pieces = self._pieces
        taken = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.unread = 0
        return taken

    def _feed_head(self, data: bytes) -> None:
        if self._head is not None:
            searched = max(0, len(self._head) - 3)
            self._head += data
            if self._head.find(b"\r\n\r\n", searched) < 0:
                self._judge_unfinished_head(self._head, searched)
                return
            data, self._head = bytes(self._head), None
        while not self.head_done:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                self._head = bytearray(data)
                self._judge_unfinished_head(self._head, 0)
                return
            self._head_bytes += end
            self._check_head_bound(self._head_bytes)
            self._parse_head(data[:end])
            data = data[end:]
        if data or self._left == 0:
            self._feed_body(data)

    def _judge_unfinished_head(self, head: bytearray, searched: int) -> None:
        self._check_head_bound(self._head_bytes + len(head))
        # Say at once what could otherwise only run into the timeout: another protocol, or bare line feeds.
        if not b"HTTP/1.".startswith(bytes(head[:7])) or head.find(b"\n\n", searched) >= 0:
            raise ProtocolViolation("not an HTTP/1 response")

    def _check_head_bound(self, size: int) -> None:
        if size > self._max_head_bytes:
            raise ProtocolViolation(f"response head over {self._max_head_bytes} bytes")

    def _parse_head(self, raw: bytes) -> None:
        if not raw.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")):
            raise ProtocolViolation("not an HTTP/1 response")
        head = _Head()
        parser = httptools.HttpResponseParser(head)
        try:
            parser.feed_data(raw)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise ProtocolViolation(f"response head: {error}") from None
        status = parser.get_status_code()
        if not head.done or status < 100 or status == 101:
            raise ProtocolViolation("response head without a usable status")
        if len(head.headers) > MAX_HEADERS:
            raise ProtocolViolation(f"more than {MAX_HEADERS} response headers")
        if status >= 200:
            self.status, self.headers, self.head_done = status, head.headers, True
            self._choose_framing(head.framing, persistent=raw.startswith(b"HTTP/1.1"))

    def _choose_framing(self, framing: dict[bytes, bytes], *, persistent: bool) -> None:
        coding = framing.get(b"transfer-encoding")
        length = framing.get(b"content-length")
        if self._no_body or self.status in (204, 304):
            self._left = 0
        elif coding is not None:
            if length is not None or coding.lower() != b"chunked":
                raise ProtocolViolation("transfer-encoding that nobody asked for")
            self._chunked = _ChunkedBody(self._pieces)
        elif length is not None:
            if not length.isdigit() or len(length) > 18:
                raise ProtocolViolation("content-length is not a number")
            self._left = int(length)
        self._persistent = persistent and b"close" not in framing.get(b"connection", b"").lower()
        hint = _KEEP_ALIVE_TIMEOUT.search(framing[b"keep-alive"]) if b"keep-alive" in framing else None
        self.keep_alive_s = int(hint[1]) if hint else None

    def _feed_body(self, data: bytes) -> None:
        if self._chunked is not None:
            self._feed_chunked(data, self._chunked)
            return
        if self._left is not None:
            if len(data) >= self._left:
                self.complete = True
                self.clean = self._persistent and len(data) == self._left
                data = data[: self._left]
            self._left -= len(data)
        if data:
            self._pieces.append(data)
            self._gain(len(data))

    def _feed_chunked(self, data: bytes, chunked: _ChunkedBody) -> None:
        try:
            chunked.feed(data)
        finally:
            self._gain(chunked.size - self.received)
        if chunked.done:
            self.complete = True
            self.clean = self._persistent and chunked.clean
            self._chunked = None

    def _gain(self, size: int) -> None:
        self.received += size
        self.unread += size
