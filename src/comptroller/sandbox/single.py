"""The story of an answer that is made in one piece: read, make, bill it whole, hand it over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from comptroller.sandbox.bill import Bill, Line
from comptroller.sandbox.config import SandboxConfig
from comptroller.sandbox.delivery import SERVER_ERROR
from comptroller.sandbox.errors import ApiError
from comptroller.sandbox.faults import Control, FaultBook, refusal_of
from comptroller.sandbox.pieces import EVENT_STREAM, hand_over, without_usage_of_any
from comptroller.sandbox.reception import NOT_HTTP, Reception, Spoken
from comptroller.sandbox.wire import Exchange


@dataclass(frozen=True, slots=True)
class Made:
    """An answer, and what is billed for it."""

    body: bytes
    bare: bytes
    """The same without a word of what was used (fault `no_usage`)."""
    charge_nanos: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    content_type: bytes = b"application/json"


@dataclass(frozen=True, slots=True)
class Job:
    """A request that was read and is good."""

    model_name: str
    control: Control
    make: Callable[[float], Made]
    """Makes it, with the input counted so many times (fault `overrun`)."""


class SingleSurface(Spoken, Protocol):
    """One API whose answers are made in one piece."""

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """Read and check a request. Raises ApiError."""
        ...


class SingleStory(Reception):
    """Serves one such surface and writes the bill."""

    def __init__(self, surface: SingleSurface, config: SandboxConfig, bill: Bill, faults: FaultBook) -> None:
        super().__init__(surface, config, bill, faults)
        self._surface = surface

    async def answer(self, exchange: Exchange, line: Line) -> None:
        """Make the answer and hand it over."""
        job = self._surface.read(exchange.headers, await exchange.read_body(self.config.max_body_bytes))
        fault, options = self.choose_fault(job.control)
        line.model_name, line.fault = job.model_name, fault or None
        refusal = refusal_of(fault, options)
        if refusal is not None:
            raise ApiError(refusal)
        if fault == "not_http":
            exchange.link.write_raw(NOT_HTTP)
            return await exchange.link.cut()
        made = job.make(options.input_factor if fault == "overrun" else 1.0)
        if fault == "usage_zero":
            made = replace(
                made,
                body=without_usage_of_any(made.body, made.content_type),
                charge_nanos=0,
                input_tokens=0,
                output_tokens=0,
            )
        line.bill(made.charge_nanos, input_tokens=made.input_tokens, output_tokens=made.output_tokens)
        streamed = made.content_type == EVENT_STREAM
        if fault == "server_error_billed":
            raise ApiError(SERVER_ERROR)
        if fault == "hang" and not (streamed and options.after_tokens is not None):
            return await exchange.link.wait_closed()
        if fault == "slow_first_byte":
            await exchange.link.pause(options.delay_s)
        if fault == "cut_before_headers" or (fault == "cut" and not streamed):
            return await exchange.link.cut(reset=options.reset)
        body = made.bare if fault == "no_usage" else made.body
        line.status = 200
        if streamed:
            return await hand_over(exchange, body, fault, options)
        return await exchange.respond(
            200, body[: len(body) // 2] if fault == "malformed_json" else body, content_type=made.content_type
        )
