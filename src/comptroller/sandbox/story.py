"""The story of one answer, on any surface: know the key, read, count, bill the prompt, make it and hand it over."""

from __future__ import annotations

import math
import time
from sys import intern

from comptroller.sandbox.bill import Arrival, Bill, Line, fingerprint
from comptroller.sandbox.compose import Answer, compose_answer
from comptroller.sandbox.config import SandboxConfig
from comptroller.sandbox.delivery import SERVER_ERROR, Delivery
from comptroller.sandbox.errors import ApiError, ClientGone, Refusal
from comptroller.sandbox.faults import Control, FaultBook, FaultOptions, refusal_of
from comptroller.sandbox.generation import Generation
from comptroller.sandbox.order import Order
from comptroller.sandbox.prompt import PromptCache, count_prompt
from comptroller.sandbox.surface import Surface
from comptroller.sandbox.wire import Exchange

_NOT_HTTP = b"\x15\x03\x01\x00\x02\x02\x28 this is not HTTP\r\n\r\n\x00\xff\xfe"

_NOTED_PATH_CHARACTERS = 2_048
_NOTED_ID_CHARACTERS = 512
_NOTED_VERSION_CHARACTERS = 64
_SHARED_HEADER_SETS = 1_000


class Story:
    """Serves one surface and writes the bill."""

    def __init__(
        self, surface: Surface, config: SandboxConfig, bill: Bill, cache: PromptCache, faults: FaultBook
    ) -> None:
        self._surface = surface
        self._config = config
        self._bill = bill
        self._cache = cache
        self._faults = faults
        self._header_names: dict[tuple[bytes, ...], tuple[str, ...]] = {}

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request, whatever happens to it, with one line on the bill."""
        key = self._surface.key(exchange.headers)
        accepted = key is not None and self._config.accepts(key)
        line = self._bill.open(fingerprint(key) if key is not None and accepted else None, self._arrival(exchange))
        try:
            if not accepted:
                raise ApiError(self._surface.no_key if key is None else self._surface.wrong_key)
            await self._answer(exchange, line)
        except ApiError as error:
            line.status = error.refusal.status
            await self.refuse(exchange, error.refusal)
        except ClientGone:
            pass  # The line says "cut": nobody is left to tell.
        finally:
            self._bill.close(line, "done" if exchange.complete else "cut")

    async def refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        """Say no in the words of this surface."""
        headers, body = self._surface.error(refusal)
        await exchange.respond(refusal.status, body, (*headers, *refusal.headers))

    async def _answer(self, exchange: Exchange, line: Line) -> None:
        order = self._surface.read(exchange.headers, await exchange.read_body(self._config.max_body_bytes))
        fault, options = self._choose_fault(order.control)
        line.model, line.model_name, line.tier, line.fault = order.model, order.model.name, order.tier, fault or None
        refusal = refusal_of(fault, options)
        if refusal is not None:
            raise ApiError(refusal)
        if fault == "not_http":
            exchange.link.write_raw(_NOT_HTTP)
            return await exchange.link.cut()
        beyond_limit = options.beyond_limit if fault == "overrun" else 0
        factor = options.input_factor if fault == "overrun" else 1.0
        line.free = fault == "usage_zero"
        seed = self._bill_prompt(order, line, factor)
        answer = compose_answer(order, seed, beyond_limit=beyond_limit)
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
        return await self._deliver(order, delivery, options)

    def _choose_fault(self, control: Control) -> tuple[str, FaultOptions]:
        """The fault that the body asks for, else one by chance; "" is none."""
        by_chance = self._faults.draw()
        if control.fault is not None:
            return control.fault, control
        return ("", control) if by_chance is None else (by_chance.fault, by_chance)

    def _bill_prompt(self, order: Order, line: Line, factor: float) -> int:
        """Count and bill the prompt; returns the seed of the answer."""
        prompt = count_prompt(order.segments, f"{line.key}/{order.model.name}/{self._surface.name}".encode())
        cached = self._cache.use_marks(prompt) if order.marked else self._cache.use(prompt)
        tokens = math.ceil(prompt.tokens * factor)
        line.begin(input_tokens=tokens, audio_tokens=prompt.audio_tokens, cached=cached)
        return prompt.seed

    def _generation(self, order: Order, answer: Answer, line: Line, exchange: Exchange) -> Generation:
        control, config = order.control, self._config
        speed = config.tokens_per_s if control.tokens_per_s is None else control.tokens_per_s
        ahead = config.ahead if control.ahead is None else control.ahead
        stops = config.abort_stops if control.abort_stops is None else control.abort_stops
        # A JSON answer is sent when all of it is made: nothing can be ahead.
        ahead = ahead if order.stream else 0
        return Generation(answer, line, exchange.link, tokens_per_s=speed, ahead=ahead, abort_stops=stops)

    async def _deliver(self, order: Order, delivery: Delivery, options: FaultOptions) -> None:
        control, config = order.control, self._config
        delay_s = config.first_byte_delay_s if control.first_byte_delay_s is None else control.first_byte_delay_s
        delay_s += options.delay_s if delivery.fault == "slow_first_byte" else 0.0
        if not await delivery.generation.pause(delay_s):
            return None
        if delivery.fault == "server_error_billed" and await delivery.generation.finish():
            raise ApiError(SERVER_ERROR)
        if delivery.fault == "cut_before_headers":
            await delivery.generation.reach(delivery.strike_after or 0)
            return await delivery.exchange.link.cut(reset=delivery.reset)
        if not order.stream:
            return await delivery.send_json()
        return await delivery.send_stream(control.tokens_per_chunk or config.tokens_per_chunk)

    def _arrival(self, exchange: Exchange) -> Arrival:
        request_id = exchange.headers.get(b"x-client-request-id")
        version = exchange.headers.get(b"anthropic-version")
        path = exchange.path + ("?" + exchange.query.decode("latin-1") if exchange.query else "")
        return Arrival(
            client_request_id=None if request_id is None else request_id.decode("latin-1")[:_NOTED_ID_CHARACTERS],
            header_names=self._names_of(exchange),
            path_query=intern(path[:_NOTED_PATH_CHARACTERS]),
            at=time.time(),
            surface=self._surface.name,
            api_version=None if version is None else version.decode("latin-1")[:_NOTED_VERSION_CHARACTERS],
        )

    def _names_of(self, exchange: Exchange) -> tuple[str, ...]:
        """The sorted header names; a client sends the same ones each time, so the lines share one tuple."""
        raw = tuple(exchange.headers)
        names = self._header_names.get(raw)
        if names is None:
            if len(self._header_names) >= _SHARED_HEADER_SETS:
                self._header_names.clear()
            names = self._header_names[raw] = tuple(sorted(name.decode("latin-1") for name in raw))
        return names


def _usages(order: Order, fault: str) -> int:
    """How often usage is reported."""
    if fault == "no_usage" or (order.stream and not order.usage_asked):
        return 0
    return 2 if fault == "usage_twice" else 1
