"""Counting the tokens of a Gemini request, for nothing."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.sandbox.gemini.prompt import read_segments
from comptroller.sandbox.gemini.request import GenerateRequest, decode, known_model
from comptroller.sandbox.gemini.surface import GeminiSpoken
from comptroller.sandbox.single import Job, Made


class CountRequest(msgspec.Struct, rename="camel"):
    """The body of countTokens that holds a whole request."""

    generate_content_request: GenerateRequest | None = None


class CountSurface(GeminiSpoken):
    """POST models/M:countTokens."""

    name = "gemini_count_tokens"

    def __init__(self, model_name: str) -> None:
        self._model_name = model_name

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """Contents, or a whole request."""
        del headers
        model = known_model(self._model_name)
        request = decode(body, CountRequest).generate_content_request or decode(body, GenerateRequest)
        counted = msgspec.json.encode({"totalTokens": sum(segment.tokens for segment in read_segments(request))})
        return Job(model.name, request.control, lambda _: Made(counted, b"{}"))
