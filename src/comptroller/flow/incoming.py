"""A call as it came in: what was asked, and by whom. The same for all of its attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cached_property
from typing import ParamSpec, TypeVar

import msgspec

from comptroller.core.effect import Effect
from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.core.work.outline import Outline
from comptroller.flow.caller import Caller
from comptroller.flow.dialect import Dialect, DialectRequest, Outlined
from comptroller.flow.door import CallerRequest
from comptroller.flow.tool_sets import ToolSet
from comptroller.flow.trails import Taken
from comptroller.wire.head import Head

P = ParamSpec("P")
R = TypeVar("R")
AT_ONCE_BYTES = 1024 * 1024  # what is larger is read and rewritten beside the event loop: others would wait for it


class IncomingCall(msgspec.Struct, frozen=True, dict=True):
    """A request that was read, before anything is decided about it."""

    id: str
    dialect: Dialect
    sender: CallerRequest
    caller: Caller  # as it was then
    request: DialectRequest
    body: bytes
    asked: Asked  # as its dialect read it, with what our records say of the objects that it names
    provider: str | None = None  # it can go to no other: this one has what it names, or shall keep what it makes
    effects: tuple[Effect, ...] = ()  # what was done to it so far
    tools: ToolSet | None = None  # functions that it offers to the model
    step: Taken | None = None  # that it takes in its session, where loops are looked for
    waits_s: float = 0.0  # for a person who was asked about it, whatever its caller prefers

    @cached_property
    def outline(self) -> Outline:
        """How much of what it carries, and its last step; see `outlined`. Nobody asks where no control needs it."""
        request, asked = self.request, self.asked
        if isinstance(request, Outlined):
            return request.outline(len(self.body))
        lines = sum(each.count for each in asked.lines)
        return Outline(len(self.body), messages=lines or asked.rounds, images=asked.images)


async def beside(body: bytes, read: Callable[P, R], *given: P.args, **named: P.kwargs) -> R:
    """What is read of a body: beside the event loop where that takes long."""
    if len(body) <= AT_ONCE_BYTES:
        return read(*given, **named)
    return await asyncio.to_thread(read, *given, **named)


async def outlined(call: IncomingCall) -> Outline:
    """The outline of a call, read of it once."""
    return await beside(call.body, lambda: call.outline)


async def understood(dialect: Dialect, body: bytes, head: Head) -> DialectRequest | Refusal:
    """What a body asks for."""
    return await beside(body, dialect.read_request, body, head)
