"""OpenAI Images as a surface: small pictures of nothing, billed by tokens, or each by its quality and size."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from comptroller.sandbox.chat.surface import OpenAISpoken
from comptroller.sandbox.errors import invalid
from comptroller.sandbox.media.form import Given, events, read_given
from comptroller.sandbox.single import Job, Made
from comptroller.sandbox.tokens import count_tokens

IMAGE_TOKENS = 400
"""Of an image that is given."""
_MOST = 10
_MADE = {"low": 272, "medium": 1_056, "high": 4_160}
_PARTIAL_TOKENS = 100
_PICTURE = base64.b64encode(b"\x89PNG a picture of nothing").decode()


class ImagesSurface(OpenAISpoken):
    """POST /v1/images/generations, /edits and /variations."""

    def __init__(self, act: str) -> None:
        self.name = f"image_{act}"
        self._act = act

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """Read and check a request. Raises ApiError."""
        given = read_given(headers, body)
        sent: list[Any] = given.values.get("images") or []
        images = sum(map(len, given.files.values())) + len(sent)
        if self._act != "generations" and not images:
            raise invalid("Missing required parameter: 'image'.", param="image")
        if self._act != "variations" and not given.text("prompt", ""):
            raise invalid("Missing required parameter: 'prompt'.", param="prompt")
        given.count("n", 1, _MOST)
        model = given.model
        if model.images and self._variant(given) not in dict(model.images):
            raise invalid("This model makes no images of this quality and size.", param="size")
        return Job(model.name, given.control, lambda factor: self._made(given, images, factor))

    def _made(self, given: Given, images: int, factor: float) -> Made:
        model, count = given.model, given.count("n", 1, _MOST)
        answer: dict[str, Any] = {"created": 1_767_225_600, "data": [{"b64_json": _PICTURE}] * count}
        if model.images:
            body = msgspec.json.encode(answer)
            return Made(body, body, dict(model.images)[self._variant(given)] * count)
        partials = int(given.text("partial_images", "0")) if given.switch("stream") else 0
        text = math.ceil(count_tokens(given.text("prompt", "")) * factor)
        seen = math.ceil(IMAGE_TOKENS * images * factor)
        drawn = count * _MADE.get(given.text("quality", "high"), _MADE["high"]) + partials * _PARTIAL_TOKENS
        usage = {
            "input_tokens": text + seen,
            "input_tokens_details": {"text_tokens": text, "image_tokens": seen},
            "output_tokens": drawn,
            "total_tokens": text + seen + drawn,
        }
        charge = model.tokens(text=text, images=seen, output=drawn)
        if given.switch("stream"):
            return self._streamed(partials, usage, charge)
        whole = msgspec.json.encode(answer | {"usage": usage})
        return Made(whole, msgspec.json.encode(answer), charge, text + seen, drawn)

    def _streamed(self, partials: int, usage: dict[str, Any], charge: int) -> Made:
        kind = "image_edit" if self._act == "edits" else "image_generation"
        pieces = [
            {"type": f"{kind}.partial_image", "partial_image_index": index, "b64_json": _PICTURE}
            for index in range(partials)
        ]
        last = {"type": f"{kind}.completed", "b64_json": _PICTURE}
        whole, bare = events(*pieces, last | {"usage": usage}), events(*pieces, last)
        return Made(whole, bare, charge, usage["input_tokens"], usage["output_tokens"], b"text/event-stream")

    @staticmethod
    def _variant(given: Given) -> str:
        return f"{given.text('quality', 'standard')}-{given.text('size', '1024x1024')}"
