"""Handing over an answer, as JSON or as a stream, and the faults that strike while it is handed over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from comptroller.sandbox.bill import Line
from comptroller.sandbox.compose import Answer, Piece
from comptroller.sandbox.errors import Refusal
from comptroller.sandbox.faults import REFUSALS
from comptroller.sandbox.generation import Generation
from comptroller.sandbox.surface import Writer
from comptroller.sandbox.wire import Exchange

SERVER_ERROR = Refusal(500, "The server had an error while processing your request (sandbox fault).", "server_error")

_EVENT_STREAM = b"text/event-stream; charset=utf-8"
_STRIKES_IN_STREAM = frozenset(
    {"cut", "hang", "error_in_stream", "overloaded_in_stream", "malformed_json", "unknown_event"}
)
STREAM_ERRORS = {"error_in_stream": SERVER_ERROR, "overloaded_in_stream": REFUSALS["overloaded"]}
UNKNOWN_EVENT = b'event: sandbox.news\ndata: {"type":"sandbox.news","news":"nobody knows this event"}\n\n'
# As fast as possible still gives other clients their turn, and sees a disconnect.
_YIELD_EVERY_EVENTS = 32


def up_to_usage(events: bytes) -> bytes:
    """These events without what follows the last report of usage."""
    end = events.rfind(b'"usage')
    return events if end < 0 else events[: events.index(b"\n", end)] + b"\n\n"


@dataclass(slots=True)
class Delivery:
    """One answer on its way to the client."""

    exchange: Exchange
    writer: Writer
    answer: Answer
    line: Line
    generation: Generation
    fault: str
    strike_after: int | None
    """Visible tokens before the fault strikes."""
    reset: bool
    """Whether a cut is a TCP reset."""

    async def send_json(self) -> None:
        """Make the whole answer, then send it."""
        if self.fault == "hang":
            return await self._hang(self.strike_after or 0)
        if not await self.generation.finish() or self.exchange.link.closed:
            return None
        body = self.writer.whole()
        if self.fault == "cut":
            return await self._send_half(body)
        if self.fault == "malformed_json":
            body = body[: len(body) // 2]
        self.line.status = 200
        return await self.exchange.respond(200, body, self.writer.headers)

    async def send_stream(self, tokens_per_chunk: int) -> None:
        """Send every token as it is made."""
        if self.fault == "hang" and self.strike_after is None:
            return await self._hang(0)
        self.line.status = 200
        cache = (b"cache-control", b"no-cache")
        await self.exchange.start(200, ((b"content-type", _EVENT_STREAM), cache, *self.writer.headers))
        await self.exchange.write(self.writer.opening())
        if not await self._send_reasoning(tokens_per_chunk) or not await self._send_tokens(tokens_per_chunk):
            return None
        closing = self.writer.closing()
        if self.fault == "cut_after_usage":
            await self.exchange.write(up_to_usage(closing))
            return await self.exchange.link.cut(reset=self.reset)
        return await self.exchange.write(closing, more=False)

    async def _send_reasoning(self, tokens_per_chunk: int) -> bool:
        """Send what is shown of the reasoning; False when the stream is over before its proper end."""
        thoughts = self.answer.thoughts(tokens_per_chunk)
        if not await self._send_pieces(thoughts, lambda _, piece: self.writer.reasoning(piece)):
            return False
        return await self.generation.reach(self.answer.reasoning_tokens)

    async def _send_tokens(self, tokens_per_chunk: int) -> bool:
        """Send the visible tokens; False when the stream is over before its proper end."""
        if self.fault not in _STRIKES_IN_STREAM:
            return await self._send_pieces(self.answer.pieces(tokens_per_chunk), self.writer.piece)
        # One token an event, so that the fault strikes after exactly as many tokens as asked.
        pieces = self.answer.pieces(1)
        if not await self._send_pieces(islice(pieces, self.strike_after), self.writer.piece):
            return False
        if await self._strike():
            return False
        return await self._send_pieces(pieces, self.writer.piece)

    async def _send_pieces(self, pieces: Iterator[Piece], write: Callable[[int, tuple[str, ...]], bytes]) -> bool:
        """Make and send these; False when the client has left."""
        for number, (index, piece) in enumerate(pieces):
            if not await self.generation.reach(self.generation.position + len(piece)):
                return False
            if self.exchange.link.closed:
                await self.generation.finish()
                return False
            await self.exchange.write(write(index, piece))
            if number % _YIELD_EVERY_EVENTS == 0:
                await asyncio.sleep(0)
        return True

    async def _strike(self) -> bool:
        """Let the fault happen in mid-stream; says whether the stream is over."""
        if self.fault == "malformed_json":
            await self.exchange.write(self.writer.broken_event)
            return False
        if self.fault == "unknown_event":
            await self.exchange.write(UNKNOWN_EVENT)
            return False
        if self.fault in STREAM_ERRORS:
            await self.exchange.write(self.writer.failure(STREAM_ERRORS[self.fault]), more=False)
        elif self.fault == "cut":
            await self.exchange.link.cut(reset=self.reset)
        else:
            await self.exchange.link.wait_closed()
        return True

    async def _hang(self, after_tokens: int) -> None:
        """Make some tokens and never answer."""
        await self.generation.reach(self.answer.reasoning_tokens + after_tokens if after_tokens else 0)
        await self.exchange.link.wait_closed()

    async def _send_half(self, body: bytes) -> None:
        self.line.status = 200
        length = (b"content-length", str(len(body)).encode())
        await self.exchange.start(200, ((b"content-type", b"application/json"), length, *self.writer.headers))
        await self.exchange.write(body[: len(body) // 2])
        await self.exchange.link.cut(reset=self.reset)
