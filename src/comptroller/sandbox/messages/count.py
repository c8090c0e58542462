"""Counting the tokens of a Messages request, for nothing."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.sandbox.errors import invalid
from comptroller.sandbox.messages.prompt import read_segments
from comptroller.sandbox.messages.request import read_messages
from comptroller.sandbox.messages.surface import MessagesSurface, check_version
from comptroller.sandbox.prices import MODELS
from comptroller.sandbox.single import Job, Made

_ANY_LIMIT = max(model.max_output_tokens for model in MODELS)


class CountSurface:
    """POST /v1/messages/count_tokens."""

    name = "count_tokens"
    no_key = MessagesSurface.no_key
    wrong_key = MessagesSurface.wrong_key
    key = MessagesSurface.key
    error = MessagesSurface.error

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """A request of Messages without an output limit."""
        check_version(headers)
        try:
            asked = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise invalid("The request body is not valid JSON.") from None
        if not isinstance(asked, dict):
            raise invalid("The request body must be an object.")
        if "max_tokens" in asked:
            raise invalid("max_tokens: Extra inputs are not permitted", param="max_tokens")
        request, model, tools = read_messages(msgspec.json.encode({**asked, "max_tokens": _ANY_LIMIT}))
        tokens = sum(segment.tokens for segment in read_segments(request, tools))
        counted = Made(msgspec.json.encode({"input_tokens": tokens}), b"{}")
        return Job(model.name, request.control, lambda _: counted)
