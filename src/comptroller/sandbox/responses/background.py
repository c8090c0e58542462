"""Responses in the background: made whoever listens, asked for later, cancelled on demand, and followed as a stream.

It waits in its queue for as long as `first_byte_delay_s` says, and is made and billed token by token after that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice

from comptroller.sandbox.bill import Bill
from comptroller.sandbox.config import SandboxConfig
from comptroller.sandbox.delivery import SERVER_ERROR, Delivery
from comptroller.sandbox.faults import FaultBook, FaultOptions
from comptroller.sandbox.files import Files
from comptroller.sandbox.generation import Nobody, Pausing
from comptroller.sandbox.order import Order
from comptroller.sandbox.prompt import PromptCache
from comptroller.sandbox.responses.answers import ResponsesWriter
from comptroller.sandbox.responses.stored import Stored
from comptroller.sandbox.responses.surface import ResponsesOrder, ResponsesSurface
from comptroller.sandbox.script import Script
from comptroller.sandbox.story import Story
from comptroller.sandbox.wire import Exchange, Headers

_STREAM: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))


class Background:
    """One response that is being made, or was."""

    def __init__(self, writer: ResponsesWriter, delivery: Delivery, bill: Bill) -> None:
        self.status = "queued"
        self._writer = writer
        self._delivery = delivery
        self._bill = bill
        self._events: list[bytes] = []
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status not in {"queued", "in_progress"}

    def begin(self, delay_s: float, tokens_per_chunk: int) -> None:
        """Make it from now on."""
        self._task = asyncio.create_task(self._make(delay_s, tokens_per_chunk))

    def whole(self) -> bytes:
        """The response as it stands."""
        if self.status in {"completed", "incomplete"}:
            return self._writer.whole()
        return self._writer.standing(self.status, SERVER_ERROR if self.status == "failed" else None)

    def cancel(self) -> None:
        """Stop making it. What was made stays on the bill; what of it came is not said."""
        if not self.over and self._task is not None:
            self._task.cancel()
            self._end("cancelled", b"")

    async def follow(self, exchange: Exchange, after: int) -> None:
        """Send its events as they come, those after a number."""
        await exchange.start(200, (*_STREAM, *self._writer.headers))
        place = after + 1
        while not exchange.link.closed:
            while place < len(self._events):
                await exchange.write(self._events[place])
                place += 1
            if self.over:
                return await exchange.write(b"", more=False)
            more = self._more
            waiting = asyncio.create_task(more.wait())
            closing = asyncio.create_task(exchange.link.wait_closed())
            await asyncio.wait({waiting, closing}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            closing.cancel()
        return None

    async def _make(self, delay_s: float, tokens_per_chunk: int) -> None:
        delivery, generation = self._delivery, self._delivery.generation
        self._say(self._writer.opening())
        await generation.pause(delay_s)
        self.status = "in_progress"
        if delivery.fault == "hang":
            return None
        for thought in delivery.answer.thoughts(tokens_per_chunk):
            await generation.reach(generation.position + len(thought[1]))
            self._say(self._writer.reasoning(thought[1]))
        await generation.reach(delivery.answer.reasoning_tokens)
        fails = delivery.fault == "error_in_stream"
        pieces: Iterator[tuple[int, tuple[str, ...]]] = delivery.answer.pieces(1 if fails else tokens_per_chunk)
        for index, piece in islice(pieces, delivery.strike_after) if fails else pieces:
            await generation.reach(generation.position + len(piece))
            self._say(self._writer.piece(index, piece))
        if fails:
            return self._end("failed", self._writer.failure(SERVER_ERROR))
        await generation.finish()
        return self._end(self._writer.status, self._writer.closing())

    def _end(self, status: str, events: bytes) -> None:
        self.status = status
        self._delivery.line.status = 200
        self._bill.close(self._delivery.line, "done")
        self._say(events)

    def _say(self, events: bytes) -> None:
        self._events += [event + b"\n\n" for event in events.split(b"\n\n") if event]
        more, self._more = self._more, asyncio.Event()
        more.set()


class ResponsesStory(Story):
    """POST /v1/responses: in the foreground as any story, or in the background."""

    def __init__(
        self,
        stored: Stored,
        files: Files,
        config: SandboxConfig,
        bill: Bill,
        cache: PromptCache,
        faults: FaultBook,
        script: Script,
    ) -> None:
        super().__init__(ResponsesSurface(stored, files), config, bill, cache, faults, script)
        self._stored = stored
        self._books = bill

    def link_of(self, order: Order, exchange: Exchange) -> Pausing:
        """Whose leaving ends the work: nobody's, in the background."""
        return Nobody() if isinstance(order, ResponsesOrder) and order.background else exchange.link

    async def deliver(self, order: Order, delivery: Delivery, options: FaultOptions) -> None:
        """Answer at once that it is queued, and go on."""
        if not isinstance(order, ResponsesOrder) or not order.background:
            return await super().deliver(order, delivery, options)
        writer = delivery.writer
        if not isinstance(writer, ResponsesWriter):
            raise TypeError("a writer of another surface")
        control, config = order.control, self.config
        delay_s = config.first_byte_delay_s if control.first_byte_delay_s is None else control.first_byte_delay_s
        work = Background(writer, delivery, self._books)
        self._stored.work_on(order.key, writer.response_id, work)
        delivery.line.goes_on = True
        delivery.line.status = 200
        work.begin(delay_s, control.tokens_per_chunk or config.tokens_per_chunk)
        if order.stream:
            return await work.follow(delivery.exchange, -1)
        if delivery.fault in {"cut", "cut_before_headers"}:
            return await delivery.exchange.link.cut(reset=delivery.reset)
        return await delivery.exchange.respond(200, work.whole(), writer.headers)
