"""A chat completions request: what bounds its cost, and how it is rewritten before it leaves.

Field meanings: the OpenAI API reference; the openai SDK's types; what compatible servers are known to read.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Literal

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.rates import DEFAULT_TIER
from comptroller.core.refusal import Refusal
from comptroller.core.work.conversation import Entry
from comptroller.core.work.outline import Outline, outline
from comptroller.core.work.stored import uses
from comptroller.wire.body import is_object, read_object, shown
from comptroller.wire.checks import (
    Invalid,
    array,
    boolean,
    expected,
    hides_output,
    model_name,
    objects,
    punctuation,
    whole_number,
    word,
)
from comptroller.wire.field_names import CASE
from comptroller.wire.head import PLAIN, Head
from comptroller.wire.openai_chat.contents import Contents, names_in, read_tools
from comptroller.wire.openai_chat.conversation import read_entries
from comptroller.wire.openai_chat.fields import FIELDS, SEARCH, searches
from comptroller.wire.openai_chat.functions import definitions, functions, provider_tools, without
from comptroller.wire.openai_chat.trim import shorten
from comptroller.wire.parts import array_of, bytes_of, raws_of
from comptroller.wire.prompt import with_prompt

LimitField = Literal["max_completion_tokens", "max_tokens"]

MOST_CHOICES = 128

# The answer calls it `priority` (OpenAI's API reference); either may fall back to the default.
_FAST = frozenset({"fast", "priority", DEFAULT_TIER})

_TOP_LEVEL = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_LIMIT_FIELDS = ("max_completion_tokens", "max_tokens")
_RENDERED_AS_JSON = ("tools", "functions")
# Plain fields that bound something and that few requests have: without any of them there is nothing more to read.
_RARE = frozenset({*_RENDERED_AS_JSON, "service_tier", "modalities", "audio", "n", "prediction", "stream_options"})


class ChatRequest(msgspec.Struct, frozen=True, gc=False):
    """A request that was read: its bounds, and its top-level fields as the bytes that came."""

    asked: Asked
    fields: dict[str, msgspec.Raw]

    def entries(self) -> list[Entry]:
        """What each of its messages is to the others."""
        return read_entries(array_of(self.fields.get("messages")))

    def messages(self) -> list[msgspec.Raw]:
        """Its messages as they came; none where they cannot be told apart."""
        return raws_of(self.fields.get("messages"))

    def with_messages(self, messages: Sequence[object]) -> bytes:
        """The body with these in their place."""
        return _ENCODER.encode({**self.fields, "messages": messages})

    def shortened(self, message: msgspec.Raw, most_bytes: int, by: str) -> object:
        """One of its messages, with the results of tools in it made shorter where they are longer. See trim.py."""
        return shorten(msgspec.json.decode(message, type=dict[str, object]), most_bytes, by)

    def definitions(self) -> bytes:
        """What it says of its tools, as it came."""
        return definitions(self.fields)

    def functions(self) -> tuple[str, ...]:
        """The names of the functions that it offers."""
        return functions(self.fields)

    def without(self, names: Set[str]) -> bytes:
        """The body without these functions."""
        return _ENCODER.encode(without(self.fields, names))

    def outline(self, body_bytes: int) -> Outline:
        """How much of what it carries, and its last step. Reads all of it anew."""
        tools = [self.fields.get(name) for name in _RENDERED_AS_JSON]
        return outline(
            self.entries(),
            body_bytes=body_bytes,
            tools=sum(len(array_of(each)) for each in tools),
            tool_bytes=sum(map(bytes_of, tools)),
            images=self.asked.images,
        )


def read_request(body: bytes, head: Head = PLAIN) -> ChatRequest | Refusal:
    """Read and check a request body; `request_invalid` names the field and what was expected there."""
    request = read_object(body)
    if isinstance(request, Refusal):
        return request
    fields = _TOP_LEVEL.decode(body)
    try:
        asked = _asked(request, fields, len(body))
    except Invalid as wrong:
        return wrong.refusal
    asked = with_prompt(asked, "openai_chat", fields, FIELDS.plain, len(body), head)
    return ChatRequest(asked=asked, fields=fields)


def rewrite(request: ChatRequest, *, output_limit: int, field: LimitField, model: str | None = None) -> bytes:
    """The body that goes upstream: one binding output limit, usage asked for in streams, the rest as it came.

    `output_limit` is per choice, in tokens. `model` replaces the model's name where it is another upstream.
    """
    fields = {name: value for name, value in request.fields.items() if name not in _LIMIT_FIELDS}
    fields[field] = msgspec.Raw(str(output_limit).encode())
    if request.asked.stream:
        fields["stream_options"] = with_usage(fields.get("stream_options"))
    if model is not None:
        fields["model"] = msgspec.Raw(_ENCODER.encode(model))
    return _ENCODER.encode(fields)


def with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    """The options of a stream, with its usage asked for."""
    given = _TOP_LEVEL.decode(options) if options is not None and bytes(options) != b"null" else {}
    return msgspec.Raw(_ENCODER.encode(given | {"include_usage": msgspec.Raw(b"true")}))


def _asked(request: dict[str, object], fields: dict[str, msgspec.Raw], body_bytes: int) -> Asked:
    contents = Contents()
    switches = FIELDS.switches(request, contents.read_unknown)
    if switches:
        contents.files += names_in({name: value for name, value in request.items() if name not in FIELDS.plain})
    contents.read_messages(objects(request, "messages"))
    if contents.misspelt is not None:
        raise Invalid(f"The key {shown(contents.misspelt)} is not written as the API writes it.", "messages", CASE)
    stream, model = boolean(request, "stream"), model_name(request)
    contents.read_cache_marks(request)
    limit, text_tokens = _output_limit(request), body_bytes - contents.image_bytes
    if not switches and _RARE.isdisjoint(request) and not searches(model):
        return Asked(
            model, stream, text_tokens, contents.images, 1, limit, audio_input=contents.audio,
            long_cache_writes=contents.long_cache, unbounded=contents.unbounded, hides_output=hides_output(request),
            stored=uses(contents.files, "messages"),
        )  # fmt: skip
    tier, modalities = word(request, "service_tier", "auto"), _modalities(request)
    kinds = _tools(request, contents)
    beside = (*((SEARCH,) if searches(model) else ()), *(f"the provider's tool {shown(kind)}" for kind in kinds))
    outside = (*contents.unbounded, *(switch.words for switch in switches), *beside)
    fees = (*(switch.words for switch in switches if switch.fees), *beside)
    if not all(each in {"text", "audio"} for each in modalities):
        fees += ("output that is neither text nor audio",)
    return Asked(
        model=model,
        stream=stream,
        text_tokens=text_tokens + sum(map(punctuation, map(fields.get, _RENDERED_AS_JSON))),
        images=contents.images,
        choices=whole_number(request, "n", most=MOST_CHOICES) or 1,
        output_limit=limit,
        extra_output_tokens=_prediction(request),
        audio_input=contents.audio,
        audio_output="audio" in modalities or request.get("audio") is not None,
        service_tier=tier,
        possible_tiers=_FAST if tier == "fast" else None,
        long_cache_writes=contents.long_cache,
        unbounded=tuple(dict.fromkeys(outside)),
        fees=tuple(dict.fromkeys(fees)),
        usage_asked=usage_asked(request, stream),
        hides_output=hides_output(request),
        stored=uses(contents.files, "messages"),
        provider_tools=provider_tools(request, kinds),
    )


def _tools(request: dict[str, object], contents: Contents) -> tuple[str, ...]:
    tools = read_tools(array(request, "tools"), contents)
    if isinstance(tools, str):
        raise Invalid(tools, "tools")
    return tools


def _output_limit(request: dict[str, object]) -> int | None:
    limits = [limit for name in _LIMIT_FIELDS if (limit := whole_number(request, name)) is not None]
    return min(limits) if limits else None


def _modalities(request: dict[str, object]) -> list[object]:
    modalities = array(request, "modalities")
    if not all(isinstance(each, str) for each in modalities):
        raise expected(request, "modalities", "an array of strings")
    return modalities


def usage_asked(request: dict[str, object], stream: bool) -> bool:
    """Whether the caller asks for the usage of a stream. Raises Invalid."""
    options = request.get("stream_options")
    if options is None:
        return False
    if not is_object(options):
        raise expected(request, "stream_options", "an object")
    if not stream:
        raise Invalid("`stream_options` is only allowed when `stream` is true.", "stream_options")
    for name in options:
        if name != "include_usage" and name.casefold() == "include_usage":
            raise Invalid(f"The key {shown(name)} is not written as the API writes it.", "stream_options", CASE)
    asked = options.get("include_usage")
    if asked is not None and not isinstance(asked, bool):
        raise Invalid("`stream_options.include_usage` must be true or false.", "stream_options.include_usage")
    return asked is True


def _prediction(request: dict[str, object]) -> int:
    """Tokens of a predicted answer that may be billed although the model took another way."""
    prediction = request.get("prediction")
    if prediction is None:
        return 0
    if not is_object(prediction):
        raise expected(request, "prediction", "an object")
    return len(_ENCODER.encode(prediction.get("content")))  # in JSON: never less than its text
