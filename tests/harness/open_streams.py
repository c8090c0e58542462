"""Many streams that are open at once: when each had its first and its last byte, and how it ended."""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any, cast

import httptools

OPENED_S = 120.0


class OpenStream(asyncio.Protocol):
    """One connection with one stream. `first` and `ended` are done when that has happened."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        loop = asyncio.get_running_loop()
        self.first: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.text = bytearray()
        self.last_at = 0.0  # of time.perf_counter
        self.whole = False  # it came to the end that HTTP knows

    @property
    def events(self) -> list[Any]:
        """The data of each event; what is no JSON, as text."""
        found = [line.removeprefix(b"data: ") for line in bytes(self.text).split(b"\n") if line.startswith(b"data: ")]
        return [json.loads(each) if each.startswith(b"{") else each.decode() for each in found]

    @property
    def status(self) -> int:
        return self._parser.get_status_code()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.last_at = time.perf_counter()
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.text += body
        _done(self.first)

    def on_message_complete(self) -> None:
        self.whole = True
        _done(self.first, self.ended)

    def connection_lost(self, exc: Exception | None) -> None:
        _done(self.first, self.ended)

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def open_streams(port: int, requests: Sequence[bytes]) -> list[OpenStream]:
    """Send each request on a connection of its own, and wait until all have said something."""
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda request=request: OpenStream(request), "127.0.0.1", port)
        for request in requests
    ]
    streams = [stream for _, stream in made]
    _, silent = await asyncio.wait([stream.first for stream in streams], timeout=OPENED_S)
    assert not silent, f"{len(silent)} of {len(streams)} streams said nothing in {OPENED_S} s"
    return streams


def chat_stream_request(port: int, credential: str, model: str, **fields: Any) -> bytes:
    """A Chat Completions request for a stream."""
    body = {"model": model, "messages": [{"role": "user", "content": "Go on."}], "stream": True, **fields}
    text = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {credential}\r\ncontent-length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


def _done(*futures: asyncio.Future[None]) -> None:
    for each in futures:
        if not each.done():
            each.set_result(None)
