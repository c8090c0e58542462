"""A call as it came in: what was asked, and by whom. The same for all of its attempts."""

from __future__ import annotations

import asyncio

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.flow.caller import Caller
from comptroller.flow.dialect import Dialect, DialectRequest
from comptroller.flow.door import CallerRequest
from comptroller.wire.head import Head

AT_ONCE_BYTES = 1024 * 1024  # what is larger is read and rewritten beside the event loop: others would wait for it


class IncomingCall(msgspec.Struct, frozen=True, gc=False):
    """A request that was read, before anything is decided about it."""

    id: str
    dialect: Dialect
    sender: CallerRequest
    caller: Caller  # as it was then
    request: DialectRequest
    body: bytes
    asked: Asked  # as its dialect read it, with what our records say of the objects that it names
    provider: str | None = None  # it can go to no other: this one has what it names, or shall keep what it makes


async def understood(dialect: Dialect, body: bytes, head: Head) -> DialectRequest | Refusal:
    """What a body asks for, read beside the event loop where that takes long."""
    if len(body) <= AT_ONCE_BYTES:
        return dialect.read_request(body, head)
    return await asyncio.to_thread(dialect.read_request, body, head)
