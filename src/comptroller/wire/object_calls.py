"""Requests about objects that a provider keeps, in any API: what they ask, and what an answer says of an object.

Providers take nothing for these. The path names the object, and our records say whose it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.usage import Usage
from comptroller.core.work.stored import StoredUse
from comptroller.wire.head import JSON
from comptroller.wire.openai_surface import AskedRequest

_LATEST_S = 2**33  # the year 2242: a later instant is none


class ObjectCall(msgspec.Struct, frozen=True, gc=False):
    """A request about objects alone: where it goes, and what goes with it."""

    asked: Asked
    path: str
    body: bytes = b""
    content_type: bytes = JSON


class ObjectAnswer(msgspec.Struct, frozen=True, gc=False):
    """An answer about an object. Nothing is used for it.

    `told`: all of it as JSON, for lists. `malformed`: it is not what its API answers.
    """

    object_id: str | None = None
    told: str = ""
    expires_at_ns: int | None = None
    malformed: bool = False
    usage: Usage | None = None
    served_model: str | None = None
    service_tier: str | None = None
    usage_malformed: bool = False


class _Body(msgspec.Struct, gc=False):
    id: Any = None
    expires_at: Any = None


_DECODER = msgspec.json.Decoder(_Body)


def asks_nothing(use: StoredUse) -> Asked:
    """What a request asks of models that is about objects alone: nothing."""
    return Asked(model="", stream=False, text_tokens=0, output_limit=0, free=True, stored=use)


def own_call(request: AskedRequest) -> ObjectCall:
    """A request of ours, as it was handed on."""
    if not isinstance(request, ObjectCall):
        raise TypeError("a request of another dialect")
    return request


def read_object_answer(body: bytes) -> ObjectAnswer:
    """The object that an answer of OpenAI is; never raises."""
    try:
        answer = _DECODER.decode(body)
        told = bytes(msgspec.json.format(body, indent=-1)).decode()
    except (ValueError, RecursionError):
        return ObjectAnswer(malformed=True)
    named = answer.id if answer.id.__class__ is str else None
    return ObjectAnswer(named, told, _seconds(answer.expires_at))


def _seconds(value: object) -> int | None:
    """An instant that is told in seconds."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _LATEST_S:
        return None
    return value * NANOS_PER_SECOND


Read = Callable[[bytes], ObjectAnswer]
