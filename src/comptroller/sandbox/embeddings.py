"""OpenAI Embeddings as a surface: texts or tokens in, small vectors out."""

from __future__ import annotations

import base64
import math
import random
import struct
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from comptroller.sandbox.chat.surface import OpenAISpoken
from comptroller.sandbox.errors import invalid, not_found
from comptroller.sandbox.faults import Control, check_control
from comptroller.sandbox.inputs import Input, Inputs, each_of
from comptroller.sandbox.prices import TIERS, Counts, charge_nanos, find_model
from comptroller.sandbox.single import Job, Made
from comptroller.sandbox.tokens import count_tokens

_DIMENSIONS = 8


class Embedded(msgspec.Struct):
    """A request body; fields not named here are accepted and ignored."""

    model: str
    input: Inputs
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=4_096)] = _DIMENSIONS
    sandbox: Control | None = None


_DECODER = msgspec.json.Decoder(Embedded)


class EmbeddingsSurface(OpenAISpoken):
    """POST /v1/embeddings."""

    name = "embeddings"

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """Read and check a request. Raises ApiError."""
        del headers
        try:
            body.decode()
            asked = _DECODER.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise invalid(f"Invalid request: {error}.") from None
        if find_model(asked.model) is None:
            raise not_found("The model does not exist or you do not have access to it.", "model_not_found")
        if not asked.input or "" in each_of(asked.input):
            raise invalid("'$.input' is invalid: it must not be empty.", param="input")
        control = asked.sandbox or Control()
        check_control(control, TIERS)
        return Job(asked.model, control, lambda factor: _made(asked, factor))


def _made(asked: Embedded, factor: float) -> Made:
    model = find_model(asked.model)
    if model is None:
        raise RuntimeError("a job is for a known model")
    counted = sum(len(each) if isinstance(each, list) else count_tokens(each) for each in each_of(asked.input))
    tokens = math.ceil(counted * factor)
    answer: dict[str, object] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _vector(asked, each)}
            for index, each in enumerate(each_of(asked.input))
        ],
        "model": model.dated_name,
    }
    usage = {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
    charge = charge_nanos(model, "default", Counts(input_tokens=tokens))
    return Made(msgspec.json.encode(answer | usage), msgspec.json.encode(answer), charge, tokens)


def _vector(asked: Embedded, given: Input) -> list[float] | str:
    drawn = random.Random(msgspec.json.encode(given))
    vector = [round(drawn.uniform(-1, 1), 6) for _ in range(asked.dimensions)]
    if asked.encoding_format == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
