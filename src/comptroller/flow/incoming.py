"""A call as it came in: what was asked, and by whom. The same for all of its attempts."""

from __future__ import annotations

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.flow.caller import Caller
from comptroller.flow.dialect import Dialect, DialectRequest
from comptroller.flow.door import CallerRequest


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
