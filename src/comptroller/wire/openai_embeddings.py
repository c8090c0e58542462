"""OpenAI Embeddings as a dialect: POST /v1/embeddings. Texts go in, vectors come out, and tokens of input are billed.

Field meanings: the OpenAI API reference; what compatible servers are known to read.
"""

from __future__ import annotations

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.usage import Usage
from comptroller.wire.body import is_array, is_object
from comptroller.wire.checks import Invalid, expected, is_whole_number, model_name
from comptroller.wire.openai_chat.answer import Answer
from comptroller.wire.openai_chat.contents import Contents
from comptroller.wire.openai_surface import AskedRequest, Body, OpenAISurface, field_names, read_outside
from comptroller.wire.reported import Count, read_name

MOST_INPUTS = 10_000  # five times what OpenAI takes at once
_FIELDS = field_names("model", "input", "encoding_format", "dimensions", "user", "input_type", "truncate")
_INPUT = "a text, an array of texts, an array of token ids, or an array of such arrays"
_TOKENS_PER_ARRAY = 2  # that servers put around every input of its own


class OpenAIEmbeddings(OpenAISurface):
    """The dialect of POST /v1/embeddings."""

    name = "openai_embeddings"
    path = "/v1/embeddings"

    def asked(self, body: Body) -> Asked:
        """Its inputs, and their tokens."""
        return _asked(body)

    def read_answer(self, request: AskedRequest, body: bytes) -> Answer:
        """What it says was used."""
        return read_input_usage(body)


class _Reported(msgspec.Struct):
    prompt_tokens: Count | None = None
    total_tokens: Count | None = None
    completion_tokens: Count | None = None


class _Answered(msgspec.Struct, gc=False):
    model: object = None
    usage: msgspec.Raw = msgspec.Raw(b"null")


_ANSWERED = msgspec.json.Decoder(_Answered)
_REPORTED = msgspec.json.Decoder(_Reported | None)


def read_input_usage(body: bytes) -> Answer:
    """Usage and model of an answer that has no tokens of its own; never raises.

    Some servers report the total alone.
    """
    try:
        answer = _ANSWERED.decode(body)
    except (ValueError, RecursionError):
        return Answer(malformed=True)
    served = read_name(answer.model)
    try:
        reported = _REPORTED.decode(answer.usage)
    except (ValueError, RecursionError):
        return Answer(served_model=served, usage_malformed=True)
    if reported is None or (reported.prompt_tokens is None and reported.total_tokens is None):
        return Answer(served_model=served)
    output = reported.completion_tokens or 0
    read = max(reported.prompt_tokens or 0, (reported.total_tokens or 0) - output)
    return Answer(Usage(read, output), served)


def _asked(body: Body) -> Asked:
    request, contents = body.request, Contents()
    outside = read_outside(request, _FIELDS, contents)
    inputs, ids = _inputs(request, contents)
    # A token has a byte of text at least; ids are tokens already, and most have more bytes than one.
    text_tokens = body.size - (len(body.fields["input"]) if ids is not None else 0) - contents.image_bytes
    return Asked(
        model=model_name(request),
        stream=False,
        text_tokens=text_tokens + (0 if ids is None else ids + _TOKENS_PER_ARRAY * inputs),
        images=contents.images,
        output_limit=0,
        output_fixed=True,
        audio_input=contents.audio,
        unbounded=tuple(dict.fromkeys((*outside.unbounded, *contents.unbounded))),
        fees=outside.fees,
        rounds=inputs,
    )


def _inputs(request: dict[str, object], contents: Contents) -> tuple[int, int | None]:
    """How many inputs there are, each in a context of its own; and how many token ids they are, if they are ids."""
    given = request.get("input")
    if isinstance(given, str):
        return 1, None
    if not is_array(given) or not given:
        raise expected(request, "input", _INPUT)
    if _are_ids(given):
        return 1, len(given)
    if len(given) > MOST_INPUTS:
        raise Invalid(f"`input` has {len(given)} inputs, and at most {MOST_INPUTS} are taken at once.", "input")
    arrays = [each for each in given if is_array(each) and _are_ids(each)]
    if len(arrays) == len(given):
        return len(given), sum(map(len, arrays))
    for each in given:
        if is_object(each):  # an image or another part, as some servers take them
            contents.read_unknown(each)
        elif not isinstance(each, str):
            raise expected(request, "input", _INPUT)
    return len(given), None


def _are_ids(tokens: list[object]) -> bool:
    return bool(tokens) and all(is_whole_number(token, 0) for token in tokens)
