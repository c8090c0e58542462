"""OpenAI Moderations as a dialect: POST /v1/moderations.

OpenAI takes nothing for it. A model that the price book has a price for is billed as any other, by its input.
"""

from __future__ import annotations

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.wire.body import is_array
from comptroller.wire.checks import Invalid, expected, model_name
from comptroller.wire.head import PLAIN, Head
from comptroller.wire.openai_chat.answer import Answer
from comptroller.wire.openai_chat.contents import Contents
from comptroller.wire.openai_embeddings import read_input_usage
from comptroller.wire.openai_surface import (
    AskedRequest,
    Body,
    JsonRequest,
    OpenAISurface,
    encoded,
    field_names,
    read_body,
    read_outside,
)

DEFAULT_MODEL = "omni-moderation-latest"  # of a request that names none, by OpenAI's API reference
_FIELDS = field_names("model", "input")


class OpenAIModerations(OpenAISurface):
    """The dialect of POST /v1/moderations."""

    name = "openai_moderations"
    path = "/v1/moderations"

    def read_request(self, body: bytes, head: Head = PLAIN) -> JsonRequest | Refusal:
        """Read and check a body. One that names no model is sent on with the name of the default one."""
        read = read_body(body)
        if isinstance(read, Refusal):
            return read
        fields = read.fields
        if read.request.get("model") is None:
            read.request["model"] = DEFAULT_MODEL
            fields = {**fields, "model": encoded(DEFAULT_MODEL)}
        try:
            return JsonRequest(_asked(read), fields)
        except Invalid as wrong:
            return wrong.refusal

    def read_answer(self, request: AskedRequest, body: bytes) -> Answer:
        """What it says was used, where it says that."""
        return read_input_usage(body)


def _asked(body: Body) -> Asked:
    request, contents = body.request, Contents()
    given = request.get("input")
    if given is None:
        raise expected(request, "input", "a text, or an array of texts or parts")
    outside = read_outside(request, _FIELDS, contents)
    if not isinstance(given, str):
        contents.read_unknown(given)
    return Asked(
        model=model_name(request),
        stream=False,
        text_tokens=body.size - contents.image_bytes,
        images=contents.images,
        output_limit=0,
        output_fixed=True,
        unbounded=tuple(dict.fromkeys((*outside.unbounded, *contents.unbounded))),
        fees=outside.fees,
        rounds=max(1, len(given)) if is_array(given) else 1,
        free_unpriced=True,
    )
