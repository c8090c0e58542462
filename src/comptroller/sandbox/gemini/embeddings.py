"""Embeddings of Gemini: one vector a content, billed by its input."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import msgspec

from comptroller.sandbox.errors import invalid
from comptroller.sandbox.faults import Control
from comptroller.sandbox.gemini.prompt import content_segments
from comptroller.sandbox.gemini.request import Content, decode, known_model
from comptroller.sandbox.gemini.surface import GeminiSpoken
from comptroller.sandbox.prices import Counts, charge_nanos
from comptroller.sandbox.single import Job, Made

_DIMENSIONS = 8  # unless others are asked for


class One(msgspec.Struct, rename="camel"):
    """What one vector is asked of."""

    content: Content
    output_dimensionality: int | None = None


class EmbedRequest(One):
    """The body of embedContent."""

    sandbox: Control | None = None


class BatchRequest(msgspec.Struct, rename="camel"):
    """The body of batchEmbedContents."""

    requests: list[One]
    sandbox: Control | None = None


class EmbedSurface(GeminiSpoken):
    """POST models/M:embedContent, and with `batch` models/M:batchEmbedContents."""

    name = "gemini_embeddings"

    def __init__(self, model_name: str, *, batch: bool) -> None:
        self._model_name = model_name
        self._batch = batch

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """The key of a batch's answer is `embeddings`; both report their input, as the newer models do."""
        del headers
        model = known_model(self._model_name)
        if self._batch:
            batch = decode(body, BatchRequest)
            asked, control = batch.requests, batch.sandbox
        else:
            one = decode(body, EmbedRequest)
            asked, control = [one], one.sandbox
        if not asked:
            raise invalid("* BatchEmbedContentsRequest.requests: at least one request is required")
        tokens = sum(segment.tokens for segment in content_segments(one.content for one in asked))
        vectors = [{"values": _vector(one)} for one in asked]
        answer = {"embeddings": vectors} if self._batch else {"embedding": vectors[0]}

        def make(factor: float) -> Made:
            billed = round(tokens * factor)
            charge = charge_nanos(model, "default", Counts(input_tokens=billed))
            body = msgspec.json.encode({**answer, "usageMetadata": {"promptTokenCount": billed}})
            return Made(body, msgspec.json.encode(answer), charge, input_tokens=billed)

        return Job(model.name, control or Control(), make)


def _vector(one: One) -> Sequence[float]:
    dice = random.Random(msgspec.json.encode(one.content))
    return [round(dice.uniform(-1, 1), 6) for _ in range(one.output_dimensionality or _DIMENSIONS)]
