"""A whole JSON answer of Messages: what it says was used."""

from __future__ import annotations

from typing import Any

import msgspec

from comptroller.core.pricing.usage import Usage
from comptroller.core.work.conversation import Call
from comptroller.wire.anthropic_messages.functions import calls_in
from comptroller.wire.anthropic_messages.usage import Reported, read_usage
from comptroller.wire.reported import read_name


class Answer(msgspec.Struct, frozen=True, gc=False):
    """`malformed`: not a JSON object. `usage_malformed`: a good answer whose usage says what cannot be, so it is None.

    An answer without any usage is neither.
    """

    reported: Reported | None = None
    served_model: str | None = None
    malformed: bool = False
    usage_malformed: bool = False
    called: tuple[Call, ...] = ()  # the tools that it calls

    @property
    def usage(self) -> Usage | None:
        return self.reported.usage if self.reported is not None else None


class _Body(msgspec.Struct, gc=False):
    model: Any = None
    usage: Any = None
    content: msgspec.Raw = msgspec.Raw(b"null")


_DECODER = msgspec.json.Decoder(_Body)


def read_answer(body: bytes, hour_cache: bool = False) -> Answer:
    """Read usage and model; never raises. `hour_cache`: see `read_usage`."""
    try:
        answer = _DECODER.decode(body)
    except (ValueError, RecursionError):
        return Answer(malformed=True)
    reported = read_usage(answer.usage, hour_cache) if answer.usage else None
    malformed = bool(answer.usage) and reported is None
    return Answer(reported, read_name(answer.model), False, malformed, calls_in(answer.content))
