"""A whole JSON answer: what it says was used."""

from __future__ import annotations

from typing import Any

import msgspec

from comptroller.core.pricing.usage import Usage
from comptroller.core.work.conversation import Call
from comptroller.wire.gemini.functions import calls_in
from comptroller.wire.gemini.usage import read_usage
from comptroller.wire.reported import read_name


class Answer(msgspec.Struct, frozen=True, gc=False):
    """`malformed`: not a JSON object. `usage_malformed`: a good answer whose usage says what cannot be, so it is None.

    An answer without any usage is neither.
    """

    usage: Usage | None = None
    served_model: str | None = None
    malformed: bool = False
    usage_malformed: bool = False
    called: tuple[Call, ...] = ()  # the tools that it calls


class _Body(msgspec.Struct, rename="camel", gc=False):
    usage_metadata: Any = None
    model_version: Any = None
    candidates: msgspec.Raw = msgspec.Raw(b"null")


_DECODER = msgspec.json.Decoder(_Body)


def read_answer(body: bytes) -> Answer:
    """Read usage and model; never raises."""
    try:
        answer = _DECODER.decode(body)
    except (ValueError, RecursionError):
        return Answer(malformed=True)
    reported = answer.usage_metadata
    usage = read_usage(reported) if reported else None
    malformed = bool(reported) and usage is None
    return Answer(usage, read_name(answer.model_version), False, malformed, calls_in(answer.candidates))
