"""A provider that costs next to nothing: fixed answers over raw sockets, in a process of its own.

`python -m tests.bench.provider` prints its port. What is answered depends on the model that is asked for:
`bench-answer` gets a whole answer, `bench-response` one of Responses with an id of its own; `bench-brief` a stream
that is over soon after its first word; `bench-burst` one as fast as it can be sent; `bench-paced` one of 50 events a
second; `bench-drip` one of ten words a second that never ends; `bench-open` a stream that says one word and then
nothing more. A call of a tool, and a list of them, get what an MCP server says.
"""

import asyncio
import json
import re
import sys
from itertools import count
from typing import cast

import uvloop

BURST_EVENTS = 200
PACED_EVENTS_PER_S = 50
PACED_EVENTS = 100
DRIPS_PER_S = 10
BRIEF_S = 0.01
_PHASES = 7  # streams that begin together do not speak at the same instant

TOOL = "lookup"
MARK = b"All accounts balance."
_USAGE = {"prompt_tokens": 23, "completion_tokens": 12, "total_tokens": 35}
_DIGITS = 12
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


def _head(content_type: str, length: int | None) -> bytes:
    framing = f"content-length: {length}" if length is not None else "transfer-encoding: chunked"
    return f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n{framing}\r\n\r\n".encode()


def _answer() -> bytes:
    message = {"role": "assistant", "content": MARK.decode() * 5, "refusal": None}
    body = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "bench-answer",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _USAGE,
    }
    text = json.dumps(body).encode()
    return _head("application/json", len(text)) + text


def _response() -> tuple[bytes, bytes]:
    """An answer of Responses: what comes before its number, and what after it."""
    text = {"type": "output_text", "text": MARK.decode() * 5, "annotations": []}
    usage = {
        "input_tokens": 23,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 35,
    }
    body = {
        "id": "resp_NUMBER",
        "object": "response",
        "created_at": 1790000000,
        "status": "completed",
        "model": "bench-response",
        "output": [{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [text]}],
        "usage": usage,
    }
    sent = json.dumps(body).replace("NUMBER", " " * _DIGITS).encode()
    before, after = sent.split(b" " * _DIGITS)
    return _head("application/json", len(sent)) + before, after


def _called() -> bytes:
    """What the tool of the MCP server answers, to a request with the id 1."""
    result = {
        "resultType": "complete",
        "content": [{"type": "text", "text": MARK.decode() * 5}],
        "structuredContent": {"balance": 0, "accounts": [{"id": each, "open": False} for each in range(5)]},
        "isError": False,
    }
    text = json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()
    return _head("application/json", len(text)) + text


def _listed() -> bytes:
    schema = {"type": "object", "properties": {"quarter": {"type": "string"}}, "required": ["quarter"]}
    tool = {"name": TOOL, "description": "Says whether the accounts of a quarter balance.", "inputSchema": schema}
    result = {"resultType": "complete", "tools": [tool], "ttlMs": 0, "cacheScope": "private"}
    text = json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()
    return _head("application/json", len(text)) + text


def _chunk(body: bytes) -> bytes:
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


def _event(model: str, delta: dict[str, str], finish: str | None, usage: object) -> bytes:
    event = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1790000000,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}] if usage is None else [],
        "usage": usage,
    }
    return _chunk(b"data: " + json.dumps(event).encode() + b"\n\n")


WHOLE = _answer()
_BEFORE_NUMBER, _AFTER_NUMBER = _response()
CALLED, LISTED = _called(), _listed()
STREAM_HEAD = _head("text/event-stream", None)
FIRST = _event("bench-stream", {"role": "assistant", "content": MARK.decode()}, None, None)
WORD = _event("bench-stream", {"content": " balance"}, None, None)
LAST = (
    _event("bench-stream", {}, "stop", None)
    + _event("bench-stream", {}, None, _USAGE)
    + _chunk(b"data: [DONE]\n\n")
    + b"0\r\n\r\n"
)
_WITHOUT_END = 1_000_000_000  # words
_seen = count()
_numbers = count()


class Provider(asyncio.Protocol):
    """One kept connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._pending = b""
        self._timer: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        data = self._pending + data
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            length = _LENGTH.search(data, 0, end)
            if len(data) >= end + 4 + (int(length[1]) if length else 0):
                self._pending = b""
                return self._answer(data)
        self._pending = data
        return None

    def _answer(self, request: bytes) -> None:
        assert self._transport is not None
        if b'"bench-answer"' in request:
            self._transport.write(WHOLE)
        elif b'"tools/call"' in request:
            self._transport.write(CALLED)
        elif b'"tools/list"' in request:
            self._transport.write(LISTED)
        elif b'"bench-response"' in request:
            self._transport.write(_BEFORE_NUMBER + b"%0*d" % (_DIGITS, next(_numbers)) + _AFTER_NUMBER)
        elif b'"bench-brief"' in request:
            self._transport.write(STREAM_HEAD + FIRST)
            self._next(0, None, first_s=BRIEF_S)
        elif b'"bench-burst"' in request:
            self._transport.write(STREAM_HEAD + FIRST)
            self._next(BURST_EVENTS - 1, None)
        elif b'"bench-paced"' in request:
            self._transport.write(STREAM_HEAD + FIRST)
            pause_s = 1 / PACED_EVENTS_PER_S
            self._next(PACED_EVENTS - 1, pause_s, first_s=pause_s * (next(_seen) % _PHASES) / _PHASES)
        elif b'"bench-drip"' in request:
            self._transport.write(STREAM_HEAD + FIRST)
            self._next(_WITHOUT_END, 1 / DRIPS_PER_S, first_s=next(_seen) % _PHASES / _PHASES / DRIPS_PER_S)
        else:
            self._transport.write(STREAM_HEAD + FIRST)

    def _next(self, left: int, pause_s: float | None, *, first_s: float | None = None) -> None:
        """The next word after a pause, or at once when the loop comes round."""
        loop = asyncio.get_running_loop()
        wait_s = pause_s if first_s is None else first_s
        if wait_s is None:
            self._timer = loop.call_soon(self._say, left, None)
        else:
            self._timer = loop.call_later(wait_s, self._say, left, pause_s)

    def _say(self, left: int, pause_s: float | None) -> None:
        if self._transport is None:
            return
        if left:
            self._transport.write(WORD)
            self._next(left - 1, pause_s)
        else:
            self._transport.write(LAST)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
