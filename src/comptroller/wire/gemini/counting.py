"""countTokens: free, so that all there is to know is which model it is for."""

from __future__ import annotations

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.wire.body import is_object, read_object
from comptroller.wire.checks import Invalid, expected
from comptroller.wire.gemini.contents import Contents
from comptroller.wire.gemini.fields import COUNT, REQUEST
from comptroller.wire.gemini.request import check_same_model, named_model, renamed
from comptroller.wire.gemini.stored import stored_use
from comptroller.wire.head import Head

_TOP_LEVEL = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_INNER = "generateContentRequest"


class CountRequest(msgspec.Struct, frozen=True, gc=False):
    """A request that was read, with its fields as the bytes that came."""

    asked: Asked
    fields: dict[str, msgspec.Raw]


def read_count(body: bytes, head: Head) -> CountRequest | Refusal:
    """Read and check a request body; what it counts is the provider's to check."""
    given = read_object(body)
    if isinstance(given, Refusal):
        return given
    contents = Contents()
    try:
        request, model = COUNT.read(given), named_model(head)
        check_same_model(request, model)
        inner = request.get(_INNER)
        if inner is not None and not is_object(inner):
            raise expected(request, _INNER, "an object")
        check_same_model(inner or {}, model, f"{_INNER}.")
        whole = REQUEST.read(inner or {})
        for each in (request.get("contents"), whole.get("contents"), whole.get("systemInstruction")):
            contents.read(each)
    except Invalid as wrong:
        return wrong.refusal
    use = stored_use(whole, contents)
    return CountRequest(
        Asked(model, stream=False, text_tokens=len(body), output_limit=0, free=True, stored=use),
        _TOP_LEVEL.decode(body),
    )


def rewrite_count(request: CountRequest, *, model: str | None = None) -> bytes:
    """The body that goes upstream, as it came. `model` replaces the name wherever the body has one."""
    fields = dict(request.fields)
    if model is not None:
        if "model" in fields:
            fields["model"] = renamed(model)
        name = COUNT.spelled(fields, _INNER)
        inner = fields.get(name)
        if inner is not None and bytes(inner) != b"null":
            fields[name] = msgspec.Raw(_ENCODER.encode(_TOP_LEVEL.decode(inner) | {"model": renamed(model)}))
    return _ENCODER.encode(fields)
