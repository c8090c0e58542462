"""OpenAI Images as dialects: POST /v1/images/generations, /edits and /variations, as JSON or as a form with files.

Newer models are billed by tokens, which the answer reports; older ones by image, by its quality and size. Nothing in a
request limits the tokens of an image, so all that the model can make of one (`max_output_tokens`) is held for each.
Field meanings: the OpenAI API reference.
"""

from __future__ import annotations

from typing import Any

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.usage import Usage
from comptroller.core.work.stored import Named, uses
from comptroller.wire.body import is_array, is_object
from comptroller.wire.checks import Invalid, expected, model_name, word
from comptroller.wire.done_stream import DoneStream
from comptroller.wire.openai_chat.answer import Answer
from comptroller.wire.openai_chat.contents import Contents, names_in
from comptroller.wire.openai_form import Fields, FormSurface
from comptroller.wire.openai_surface import AskedRequest, field_names, read_outside
from comptroller.wire.reported import Count

MOST_IMAGES = 128  # of one request; OpenAI takes ten
_MOST_TEXT = 1_000_000
_TOKENS_PER_PARTIAL = 100  # of an image that is shown while it is made, by the API reference
_MOST_PARTIALS = 3
_FIRST_SIZE, _FIRST_QUALITY = "1024x1024", "standard"
_ENDS = frozenset({"image_generation.completed", "image_edit.completed"})
_FILES = frozenset({"image", "image[]", "mask"})
_FIELDS = field_names(
    *("model", "prompt", "n", "size", "quality", "style", "response_format", "background", "moderation", "user"),
    *("output_format", "output_compression", "stream", "partial_images", "input_fidelity", "image", "images", "mask"),
    other_names={"num_images": "n", "batch_size": "n"},
)


class OpenAIImages(FormSurface):
    """The dialect of one of the routes under /v1/images."""

    def __init__(self, act: str) -> None:
        """`act`: generations, edits or variations."""
        self.name = f"openai_image_{act}"
        self.path = f"/v1/images/{act}"

    def asked_in(self, fields: Fields) -> Asked:
        """How many images are made, and of what."""
        return _asked(fields)

    def read_answer(self, request: AskedRequest, body: bytes) -> Answer:
        """What it says was used; without a report, how many images there are."""
        try:
            answer = _ANSWER.decode(body)
        except (ValueError, RecursionError):
            return Answer(malformed=True)
        made = len(answer.data) if is_array(answer.data) else 0
        if answer.usage is None:
            return Answer(Usage(0, 0, images=made) if made else None)  # an answer in another shape is not free
        usage = read_usage(answer.usage, made or request.asked.pictures)
        return Answer(usage, usage_malformed=usage is None)

    def stream_meter(self, request: AskedRequest) -> DoneStream:
        """See done_stream.py."""
        return DoneStream(_ENDS, lambda reported: read_usage(reported, 1))


class _Answered(msgspec.Struct, gc=False):
    data: Any = None
    usage: Any = None


class _Details(msgspec.Struct):
    text_tokens: Count | None = None
    image_tokens: Count | None = None
    cached_tokens: Count | None = None


class _Reported(msgspec.Struct):
    input_tokens: Count
    output_tokens: Count
    input_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


_ANSWER = msgspec.json.Decoder(_Answered)
_NO_DETAILS = _Details()


def read_usage(reported: Any, images: int) -> Usage | None:
    """The meters of a decoded `usage`; None if a count is missing, negative, absurd or not a whole number.

    What is not said to be text is image: in the output, where images are the purpose, and is the dearer of the two.
    """
    try:
        usage = msgspec.convert(reported, _Reported)
    except (ValueError, RecursionError):
        return None
    read, made = usage.input_tokens_details or _NO_DETAILS, usage.output_tokens_details or _NO_DETAILS
    drawn = made.image_tokens if made.image_tokens is not None else usage.output_tokens - (made.text_tokens or 0)
    seen, cached = read.image_tokens or 0, read.cached_tokens or 0
    return Usage(
        usage.input_tokens,
        usage.output_tokens,
        cached_tokens=cached,
        image_input_tokens=seen,
        image_output_tokens=max(0, min(drawn, usage.output_tokens)),
        cached_image_tokens=max(0, min(seen, cached - (usage.input_tokens - seen))),
        images=images,
    )


def _asked(fields: Fields) -> Asked:
    values, contents = fields.values, Contents()
    outside = read_outside(values, _FIELDS, contents)
    strays = [part.name for part in fields.files if part.name not in _FILES]
    if strays:
        raise Invalid(f"The form has a file named `{strays[0]}`, which no image route takes.", strays[0])
    fields.text("prompt", _MOST_TEXT)
    images = fields.whole_number("n", 1, MOST_IMAGES, 1)
    streamed = fields.flag("stream")
    if streamed and images > 1:
        raise Invalid("A stream of more than one image is not carried: its usage is not clear.", "n", "Send `n` as 1.")
    partials = fields.whole_number("partial_images", 0, _MOST_PARTIALS, 0)
    variant = f"{word(values, 'quality', 'high') or _FIRST_QUALITY}-{word(values, 'size', '1024x1024') or _FIRST_SIZE}"
    given = _given(fields, contents)
    return Asked(
        model=model_name(values),
        stream=False,  # its pieces say nothing of what they cost
        text_tokens=fields.text_bytes,
        images=len(fields.files) + given + contents.images,
        choices=images,
        extra_output_tokens=_TOKENS_PER_PARTIAL * partials,
        unbounded=tuple(dict.fromkeys((*outside.unbounded, *contents.unbounded))),
        fees=outside.fees,
        output_fixed=True,
        pictures=images,
        variant=variant,
        stored=uses(contents.files, "images"),
    )


def _given(fields: Fields, contents: Contents) -> int:
    """How many images a JSON request gives to be changed: by address, or in it."""
    found = 0
    for name in ("image", "images", "mask"):
        value = fields.values.get(name)
        if value is None:
            continue
        if fields.parts is not None:
            raise expected(fields.values, name, "a file")
        for each in value if is_array(value) else [value]:
            if not is_object(each) or not isinstance(each.get("image_url", each.get("file_id")), str):
                hint = "Send it as `image_url`, as the `file_id` of a file of yours, or as a file in a form."
                raise Invalid(f"`{name}` must hold images with an `image_url` or a `file_id`.", name, hint)
            found += 1
            contents.files += [Named(one.id, one.kind, name, context=False) for one in names_in(each)]
            contents.read_unknown({key: part for key, part in each.items() if key not in {"image_url", "file_id"}})
    return found
