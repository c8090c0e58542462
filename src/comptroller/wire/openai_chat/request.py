"""A chat completions request: what bounds its cost, and how it is rewritten before it leaves.

Field meanings: the OpenAI API reference; the openai SDK's types; what compatible servers are known to read.
"""

from __future__ import annotations

from typing import Literal, cast

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.wire.body import invalid, is_array, is_object, json_name, read_object, shown
from comptroller.wire.openai_chat.contents import Contents, read_tools
from comptroller.wire.openai_chat.fields import KNOWN_FIELDS, OTHER_NAMES, SERVER_SIDE

LimitField = Literal["max_completion_tokens", "max_tokens"]

MOST_CHOICES = 128
MOST_MODEL_CHARACTERS = 256
_MOST_TIER_CHARACTERS = 64

_TOP_LEVEL = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_LIMIT_FIELDS = ("max_completion_tokens", "max_tokens")
_RENDERED_AS_JSON = ("tools", "functions")


class ChatRequest(msgspec.Struct, frozen=True):
    """A request that was read: its bounds, and its top-level fields as the bytes that came."""

    asked: Asked
    fields: dict[str, msgspec.Raw]


class _Invalid(Exception):
    """Ends the reading of a request; carries the refusal."""

    def __init__(self, sentence: str, param: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.refusal = invalid(sentence, hint, param)


def read_request(body: bytes) -> ChatRequest | Refusal:
    """Read and check a request body; `request_invalid` names the field and what was expected there."""
    request = read_object(body)
    if isinstance(request, Refusal):
        return request
    fields = _TOP_LEVEL.decode(body)
    try:
        return ChatRequest(asked=_asked(request, fields, len(body)), fields=fields)
    except _Invalid as wrong:
        return wrong.refusal


def rewrite(request: ChatRequest, *, output_limit: int, field: LimitField, model: str | None = None) -> bytes:
    """The body that goes upstream: one binding output limit, usage asked for in streams, the rest as it came.

    `output_limit` is per choice, in tokens. `model` replaces the model's name where it is another upstream.
    """
    fields = {name: value for name, value in request.fields.items() if name not in _LIMIT_FIELDS}
    fields[field] = msgspec.Raw(str(output_limit).encode())
    if request.asked.stream:
        fields["stream_options"] = _with_usage(fields.get("stream_options"))
    if model is not None:
        fields["model"] = msgspec.Raw(_ENCODER.encode(model))
    return _ENCODER.encode(fields)


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    given = _TOP_LEVEL.decode(options) if options is not None and bytes(options) != b"null" else {}
    return msgspec.Raw(_ENCODER.encode(given | {"include_usage": msgspec.Raw(b"true")}))


def _asked(request: dict[str, object], fields: dict[str, msgspec.Raw], body_bytes: int) -> Asked:
    contents = Contents()
    _check_names(request, contents)
    contents.read_messages(_messages(request))
    if contents.misspelt is not None:
        raise _misspelt(contents.misspelt)
    tools = _tools(request)
    switches = [switch for name, switch in SERVER_SIDE.items() if name in request and _is_on(request[name])]
    modalities = _modalities(request)
    images_out = ("output other than text and audio",) if set(modalities) - {"text", "audio"} else ()
    stream = _boolean(request, "stream")
    return Asked(
        model=_model(request),
        stream=stream,
        text_tokens=body_bytes - contents.image_bytes + sum(_punctuation(fields.get(name)) for name in _RENDERED_AS_JSON),
        images=contents.images,
        choices=_whole_number(request, "n", 1, MOST_CHOICES) or 1,
        output_limit=_output_limit(request),
        extra_output_tokens=_prediction(request),
        audio_input=contents.audio,
        audio_output="audio" in modalities or request.get("audio") is not None,
        service_tier=_service_tier(request),
        unbounded=(*contents.unbounded, *_once(switch.words for switch in switches), *tools),
        fees=(*_once(switch.words for switch in switches if switch.fees), *tools, *images_out),
        usage_asked=_usage_asked(request, stream),
    )
