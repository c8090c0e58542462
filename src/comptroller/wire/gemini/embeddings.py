"""embedContent and batchEmbedContents: what bounds their cost, and how they are rewritten before they leave.

All that costs is input. Source: the Gemini API reference.
"""

from __future__ import annotations

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.rates import DEFAULT_TIER
from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import uses
from comptroller.wire.body import is_array, is_object, read_object
from comptroller.wire.checks import Invalid, expected
from comptroller.wire.gemini.contents import Contents
from comptroller.wire.gemini.fields import EMBED, EMBED_BATCH
from comptroller.wire.gemini.request import check_same_model, named_model, renamed
from comptroller.wire.head import Head

_TOP_LEVEL = msgspec.json.Decoder(dict[str, msgspec.Raw])
_EACH = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_ENCODER = msgspec.json.Encoder()
_STANDARD = frozenset({DEFAULT_TIER})


class EmbedRequest(msgspec.Struct, frozen=True, gc=False):
    """A request that was read: its bounds, and its fields as the bytes that came."""

    asked: Asked
    fields: dict[str, msgspec.Raw]


def read_embed(body: bytes, head: Head, *, batch: bool) -> EmbedRequest | Refusal:
    """Read and check a request body; `request_invalid` names the field and what was expected there."""
    request = read_object(body)
    if isinstance(request, Refusal):
        return request
    contents = Contents()
    try:
        model = named_model(head)
        check_same_model(request, model)
        if batch:
            inputs = _read_batch(EMBED_BATCH.read(request), model, contents)
        else:
            inputs = 1
            _read_one(request, contents)
    except Invalid as wrong:
        return wrong.refusal
    asked = Asked(
        model=model,
        stream=False,
        text_tokens=len(body) - contents.image_bytes + contents.extra_tokens,
        images=contents.images,
        output_limit=0,
        audio_input=contents.audio,
        possible_tiers=_STANDARD,
        unbounded=contents.unbounded,
        stored=uses(contents.named, "content"),
        rounds=inputs,
    )
    return EmbedRequest(asked, _TOP_LEVEL.decode(body))


def rewrite_embed(request: EmbedRequest, *, model: str | None = None) -> bytes:
    """The body that goes upstream, as it came. `model` replaces the name wherever the body has one."""
    if model is None:
        return _ENCODER.encode(request.fields)
    fields = dict(request.fields)
    if "model" in fields:
        fields["model"] = renamed(model)
    if "requests" in fields:
        each = [one | {"model": renamed(model)} for one in _EACH.decode(fields["requests"])]
        fields["requests"] = msgspec.Raw(_ENCODER.encode(each))
    return _ENCODER.encode(fields)


def _read_batch(request: dict[str, object], model: str, contents: Contents) -> int:
    """How many inputs there are: each fills a context of its own."""
    requests = request.get("requests")
    if not is_array(requests) or not requests:
        raise expected(request, "requests", "a non-empty array of requests")
    for position, each in enumerate(requests):
        where = f"requests[{position}]"
        if not is_object(each):
            raise Invalid(f"`{where}` must be an object.", where)
        check_same_model(each, model, f"{where}.")
        _read_one(each, contents)
    for name, value in request.items():
        if name not in EMBED_BATCH.usual:
            contents.read_unknown(value)
    return len(requests)


def _read_one(given: dict[str, object], contents: Contents) -> None:
    request = EMBED.read(given)
    if not request.get("content"):
        raise expected(request, "content", "a content")
    contents.read(request["content"])
    for name, value in request.items():
        if name not in EMBED.usual:
            contents.read_unknown(value)
