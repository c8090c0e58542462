"""OpenAI Moderations as a surface: nothing is ever flagged, and nothing is taken for it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import msgspec

from comptroller.sandbox.chat.surface import OpenAISpoken
from comptroller.sandbox.errors import invalid
from comptroller.sandbox.faults import Control, check_control
from comptroller.sandbox.prices import TIERS
from comptroller.sandbox.single import Job, Made

_CATEGORIES = ("harassment", "hate", "self-harm", "sexual", "violence")


class Moderated(msgspec.Struct):
    """A request body; fields not named here are accepted and ignored."""

    input: str | list[str | dict[str, object]]
    model: str = "omni-moderation-latest"
    sandbox: Control | None = None


_DECODER = msgspec.json.Decoder(Moderated)


class ModerationsSurface(OpenAISpoken):
    """POST /v1/moderations."""

    name = "moderations"

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """Read and check a request; any model is known. Raises ApiError."""
        del headers
        try:
            body.decode()
            asked = _DECODER.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise invalid(f"Invalid request: {error}.") from None
        control = asked.sandbox or Control()
        check_control(control, TIERS)
        inputs = 1 if isinstance(asked.input, str) else len(asked.input)
        result = {
            "flagged": False,
            "categories": dict.fromkeys(_CATEGORIES, False),
            "category_scores": dict.fromkeys(_CATEGORIES, 0.0),
            "category_applied_input_types": {},
        }
        answer = {"id": f"modr-{uuid.uuid4().hex}", "model": asked.model, "results": [result] * inputs}
        encoded = msgspec.json.encode(answer)
        return Job(asked.model, control, lambda _: Made(encoded, encoded))
