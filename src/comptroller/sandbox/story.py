"""The story of an answer that is made token by token: read, count, bill the prompt, make it and hand it over."""

from __future__ import annotations

import math

from comptroller.sandbox.bill import Bill, Line
from comptroller.sandbox.compose import Answer, compose_answer
from comptroller.sandbox.config import SandboxConfig
from comptroller.sandbox.delivery import SERVER_ERROR, Delivery
from comptroller.sandbox.errors import ApiError
from comptroller.sandbox.faults import FaultBook, FaultOptions, refusal_of
from comptroller.sandbox.generation import Generation, Pausing
from comptroller.sandbox.order import Order
from comptroller.sandbox.prompt import PromptCache, count_prompt
from comptroller.sandbox.reception import NOT_HTTP, Reception
from comptroller.sandbox.script import Script
from comptroller.sandbox.surface import Surface
from comptroller.sandbox.wire import Exchange


class Story(Reception):
    """Serves one surface and writes the bill."""

    def __init__(
        self,
        surface: Surface,
        config: SandboxConfig,
        bill: Bill,
        cache: PromptCache,
        faults: FaultBook,
        script: Script,
    ) -> None:
        super().__init__(surface, config, bill, faults)
        self._script = script
        self._surface = surface
        self._cache = cache

    async def answer(self, exchange: Exchange, line: Line) -> None:
        """Make the answer and hand it over."""
        body = await exchange.read_body(self.config.max_body_bytes)
        order = self._script.applied(self._surface.read(exchange.headers, body))
        fault, options = self.choose_fault(order.control)
        line.model, line.model_name, line.tier, line.fault = order.model, order.model.name, order.tier, fault or None
        refusal = refusal_of(fault, options)
        if refusal is not None:
            raise ApiError(refusal)
        if fault == "not_http":
            exchange.link.write_raw(NOT_HTTP)
            return await exchange.link.cut()
        beyond_limit = options.beyond_limit if fault == "overrun" else 0
        factor = options.input_factor if fault == "overrun" else 1.0
        line.free = fault == "usage_zero"
        seed = self._bill_prompt(order, line, factor)
        answer = compose_answer(order, seed, beyond_limit=beyond_limit, usual=self.config.answer_tokens)
        generation = self._generation(order, answer, line, exchange)
        delivery = Delivery(
            exchange,
            self._surface.writer(order, answer, line, _usages(order, fault)),
            answer,
            line,
            generation,
            fault,
            options.stop_after(fault),
            options.reset,
        )
        return await self.deliver(order, delivery, options)

    def _bill_prompt(self, order: Order, line: Line, factor: float) -> int:
        """Count and bill the prompt; returns the seed of the answer."""
        prompt = count_prompt(order.segments, f"{line.key}/{order.model.name}/{self._surface.name}".encode())
        cached = self._cache.use_marks(prompt) if order.marked else self._cache.use(prompt)
        tokens = math.ceil(prompt.tokens * factor)
        line.begin(input_tokens=tokens, audio_tokens=prompt.audio_tokens, cached=cached)
        return prompt.seed

    def _generation(self, order: Order, answer: Answer, line: Line, exchange: Exchange) -> Generation:
        control, config = order.control, self.config
        speed = config.tokens_per_s if control.tokens_per_s is None else control.tokens_per_s
        ahead = config.ahead if control.ahead is None else control.ahead
        stops = config.abort_stops if control.abort_stops is None else control.abort_stops
        # A JSON answer is sent when all of it is made: nothing can be ahead.
        ahead = ahead if order.stream else 0
        link = self.link_of(order, exchange)
        return Generation(answer, line, link, tokens_per_s=speed, ahead=ahead, abort_stops=stops)

    def link_of(self, order: Order, exchange: Exchange) -> Pausing:
        """Whose leaving ends the work."""
        del order
        return exchange.link

    async def deliver(self, order: Order, delivery: Delivery, options: FaultOptions) -> None:
        """Hand the answer over while it is made."""
        control, config = order.control, self.config
        delay_s = config.first_byte_delay_s if control.first_byte_delay_s is None else control.first_byte_delay_s
        delay_s += options.delay_s if delivery.fault == "slow_first_byte" else 0.0
        if not await delivery.generation.pause(delay_s):
            return None
        if delivery.fault == "server_error_billed" and await delivery.generation.finish():
            raise ApiError(SERVER_ERROR)
        if delivery.fault == "cut_before_headers":
            await delivery.generation.reach(delivery.strike_after or 0)
            return await delivery.exchange.link.cut(reset=delivery.reset)
        if not order.stream or delivery.fault == "not_streamed":
            return await delivery.send_json()
        return await delivery.send_stream(control.tokens_per_chunk or config.tokens_per_chunk)


def _usages(order: Order, fault: str) -> int:
    """How often usage is reported."""
    if fault in {"no_usage", "not_streamed"} or (order.stream and not order.usage_asked):
        return 0
    return 2 if fault == "usage_twice" else 1
