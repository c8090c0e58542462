"""A whole JSON answer of chat completions: what it says was used."""

from __future__ import annotations

from typing import Any

import msgspec

from comptroller.core.pricing.usage import Usage
from comptroller.core.work.conversation import Call
from comptroller.wire.openai_chat.functions import calls_in
from comptroller.wire.openai_chat.usage import read_usage
from comptroller.wire.reported import read_name


class Answer(msgspec.Struct, frozen=True, gc=False):
    """`malformed`: not a JSON object. `usage_malformed`: a good answer whose usage says what cannot be, so it is None.

    An answer without any usage is neither.
    """

    usage: Usage | None = None
    served_model: str | None = None
    service_tier: str | None = None
    malformed: bool = False
    usage_malformed: bool = False
    called: tuple[Call, ...] = ()  # the functions that it calls


class _Body(msgspec.Struct, gc=False):
    model: Any = None
    service_tier: Any = None
    usage: Any = None
    choices: msgspec.Raw = msgspec.Raw(b"null")


_DECODER = msgspec.json.Decoder(_Body)


def read_answer(body: bytes, long_cache: bool = False) -> Answer:
    """Read usage, model and tier; never raises. `long_cache`: see `read_usage`."""
    try:
        answer = _DECODER.decode(body)
    except (ValueError, RecursionError):
        return Answer(malformed=True)
    tier = read_name(answer.service_tier)
    usage = read_usage(answer.usage, tier, long_cache) if answer.usage else None
    malformed = bool(answer.usage) and usage is None
    return Answer(usage, read_name(answer.model), tier, False, malformed, calls_in(answer.choices))
