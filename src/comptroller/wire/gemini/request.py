"""A generateContent request: what bounds its cost, and how it is rewritten before it leaves.

Field meanings: the Gemini API reference; the google-genai SDK's types. The model stands in the path.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.rates import DEFAULT_TIER
from comptroller.core.refusal import Refusal
from comptroller.core.work.conversation import Entry
from comptroller.core.work.outline import Outline, outline
from comptroller.core.work.stored import VECTOR_STORE, Named
from comptroller.wire.body import is_array, is_object, json_name, read_object, shown
from comptroller.wire.called import provider_tool
from comptroller.wire.checks import Invalid, expected, model_name, punctuation, whole_number, word
from comptroller.wire.field_names import ServerSide
from comptroller.wire.gemini.contents import Contents
from comptroller.wire.gemini.conversation import contents_of, read_entries
from comptroller.wire.gemini.fields import (
    COMPUTER_USE,
    CONFIG,
    CONFIG_LIMITS,
    CONFIG_SWITCHES,
    FILE_SEARCH,
    OTHER_LIMITS,
    OWN_TOOLS,
    REQUEST,
    SEARCH,
    SERVER_SIDE,
    THINKING,
    TOOLS,
)
from comptroller.wire.gemini.functions import definitions, functions, without
from comptroller.wire.gemini.names import snake
from comptroller.wire.gemini.stored import stored_use
from comptroller.wire.gemini.trim import shorten
from comptroller.wire.head import Head
from comptroller.wire.parts import array_of, bytes_of, raws_of

MOST_CANDIDATES = 8
LEAST_THINKING_TOKENS = 512  # below it, some models refuse a `thinkingBudget` that is not 0

# Whoever leaves the tier open gets standard capacity: the others are opted into, request by request.
_STANDARD = frozenset({DEFAULT_TIER})
_MODALITIES = frozenset({"TEXT", "IMAGE", "AUDIO", "MODALITY_UNSPECIFIED"})

_TOP_LEVEL = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_LIMIT = "maxOutputTokens"


class GenerateRequest(msgspec.Struct, frozen=True, gc=False):
    """A request that was read: its bounds, and its fields as the bytes that came, by the names that came."""

    asked: Asked
    fields: dict[str, msgspec.Raw]
    config: dict[str, msgspec.Raw]  # the fields of `generationConfig`

    def entries(self) -> list[Entry]:
        """What each of its messages is to the others."""
        return read_entries(contents_of(self.fields))

    def messages(self) -> list[msgspec.Raw]:
        """Its messages as they came; none where they cannot be told apart."""
        return raws_of(self.fields.get("contents"))

    def with_messages(self, messages: Sequence[object]) -> bytes:
        """The body with these in their place."""
        return _ENCODER.encode({**self.fields, "contents": messages})

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
        tools = self.fields.get("tools")
        return outline(
            self.entries(),
            body_bytes=body_bytes,
            tools=sum(map(_definitions, array_of(tools))),
            tool_bytes=bytes_of(tools),
            images=self.asked.images,
        )


def read_request(body: bytes, head: Head, *, stream: bool) -> GenerateRequest | Refusal:
    """Read and check a request body; `request_invalid` names the field and what was expected there."""
    request = read_object(body)
    if isinstance(request, Refusal):
        return request
    fields = _TOP_LEVEL.decode(body)
    try:
        asked = _asked(request, fields, head, len(body), stream=stream)
    except Invalid as wrong:
        return wrong.refusal
    given = fields.get(REQUEST.spelled(fields, "generationConfig"))
    config = {} if given is None or bytes(given) == b"null" else _TOP_LEVEL.decode(given)
    return GenerateRequest(asked, fields, config)


def rewrite(request: GenerateRequest, *, output_limit: int, model: str | None = None) -> bytes:
    """The body that goes upstream: one binding output limit, the rest as it came, each field in its place.

    `output_limit` is per candidate, in tokens, thinking included. A thinking budget that no longer fits under a lowered
    limit is lowered to half of it, so that there is an answer. `model` replaces the name where the body has one.
    """
    fields = dict(request.fields)
    limit = CONFIG.spelled(request.config, _LIMIT)
    config = request.config | {limit: _number(output_limit)}
    asked = request.asked.output_limit
    if asked is None or output_limit < asked:
        _lower_thinking(config, output_limit)
    fields[REQUEST.spelled(fields, "generationConfig")] = msgspec.Raw(_ENCODER.encode(config))
    if model is not None and "model" in fields:
        fields["model"] = renamed(model)
    return _ENCODER.encode(fields)


def _definitions(tool: object) -> int:
    """How many tools an entry of `tools` defines: its functions, and one for every other kind."""
    kinds = TOOLS.read(tool, "tools.") if is_object(tool) else {}
    return sum(len(value) if is_array(value) else 1 for value in kinds.values() if value is not None)


def _number(value: int) -> msgspec.Raw:
    return msgspec.Raw(str(value).encode())


def _lower_thinking(config: dict[str, msgspec.Raw], output_limit: int) -> None:
    name = CONFIG.spelled(config, "thinkingConfig")
    given = config.get(name)
    if given is None or bytes(given) == b"null":
        return
    thinking = _TOP_LEVEL.decode(given)
    budget = THINKING.spelled(thinking, "thinkingBudget")
    asked = thinking.get(budget)
    if asked is not None and bytes(asked).isdigit() and int(bytes(asked)) >= output_limit > LEAST_THINKING_TOKENS:
        thinking[budget] = _number(max(LEAST_THINKING_TOKENS, output_limit // 2))
        config[name] = msgspec.Raw(_ENCODER.encode(thinking))


def renamed(model: str) -> msgspec.Raw:
    """A model's name as bodies have it."""
    return msgspec.Raw(_ENCODER.encode(f"models/{model}"))


def named_model(head: Head) -> str:
    """The model that the path names; raises Invalid."""
    return model_name({"model": head.named})


def check_same_model(request: dict[str, object], model: str, where: str = "") -> None:
    """A body may name the model once more, and then the same: raises Invalid."""
    said = request.get("model")
    if said is not None and said not in (model, f"models/{model}"):
        sentence = (
            f"`{where}model` is {shown(said) if isinstance(said, str) else 'no name'}, and the path says {model!r}."
        )
        raise Invalid(sentence, f"{where}model", "Name the model in the path alone.")


def _asked(
    given: dict[str, object], fields: dict[str, msgspec.Raw], head: Head, body_bytes: int, *, stream: bool
) -> Asked:
    request, contents, model = REQUEST.read(given), Contents(), named_model(head)
    check_same_model(request, model)
    config = _config(request)
    switches = [*_switches(request, contents), *_config_switches(config, contents)]
    if not request.get("contents"):
        raise expected(request, "contents", "a non-empty array of contents")
    contents.read(request["contents"])
    contents.read(request.get("systemInstruction"))
    kinds = _tools(request, contents)
    server_side = tuple(f"the provider's tool {shown(kind)}" for kind in kinds if kind != COMPUTER_USE)
    modalities = _modalities(config)
    fees = (*(switch.words for switch in switches if switch.fees), *server_side)
    if not _MODALITIES.issuperset(modalities):
        fees += ("output that is neither text, images nor audio",)
    tier = _service_tier(request)
    rendered = (fields.get(REQUEST.spelled(fields, name)) for name in ("tools", "generationConfig"))
    return Asked(
        model=model,
        stream=stream,
        text_tokens=body_bytes - contents.image_bytes + contents.extra_tokens + sum(map(punctuation, rendered)),
        images=contents.images,
        choices=whole_number(config, "candidateCount", most=MOST_CANDIDATES) or 1,
        output_limit=whole_number(config, _LIMIT),
        audio_input=contents.audio,
        audio_output="AUDIO" in modalities,
        service_tier=tier,
        possible_tiers=_STANDARD if tier is None else None,
        unbounded=tuple(dict.fromkeys((*contents.unbounded, *(switch.words for switch in switches), *server_side))),
        fees=tuple(dict.fromkeys(fees)),
        hides_output=_thinks(config.get("thinkingConfig")),
        stored=stored_use(request, contents),
        provider_tools=tuple(provider_tool("gemini", snake(kind)) for kind in kinds),
    )


def _thinks(thinking: object) -> bool:
    """Whether the request turns thinking on: thoughts are billed, and at best summed up in what is seen."""
    return is_object(thinking) and THINKING.read(thinking, "").get("thinkingBudget") != 0


def _switches(request: dict[str, object], contents: Contents) -> list[ServerSide]:
    """Check the names of all fields; returns the switches that are on."""
    found: list[ServerSide] = []
    for name, value in request.items():
        if name in SERVER_SIDE:
            if value not in (None, "", {}):
                found.append(SERVER_SIDE[name])
        elif name not in REQUEST.usual:
            if name.replace("_", "").casefold() in OTHER_LIMITS | CONFIG_LIMITS:
                sentence = f"{shown(name)} is not a field of a request: the limit that binds stands elsewhere."
                raise Invalid(sentence, name[:64], "Send `generationConfig.maxOutputTokens`.")
            contents.read_unknown(value)
    return found


def _config(request: dict[str, object]) -> dict[str, object]:
    config = request.get("generationConfig")
    if config is None:
        return {}
    if not is_object(config):
        raise expected(request, "generationConfig", "an object")
    found = CONFIG.read(config, "generationConfig.")
    thinking = found.get("thinkingConfig")
    if thinking is not None:
        if not is_object(thinking):
            raise expected(found, "thinkingConfig", "an object")
        THINKING.read(thinking, "generationConfig.thinkingConfig.")
    return found


def _config_switches(config: dict[str, object], contents: Contents) -> list[ServerSide]:
    found: list[ServerSide] = []
    for name, value in config.items():
        if name in CONFIG_SWITCHES:
            if value not in (None, {}):
                found.append(CONFIG_SWITCHES[name])
        elif name not in CONFIG.usual:
            if name.replace("_", "").casefold() in OTHER_LIMITS:
                sentence = f"{shown(name)} is another name of `{_LIMIT}`, which must bind."
                raise Invalid(sentence, f"generationConfig.{name[:64]}", f"Send `{_LIMIT}`.")
            contents.read_unknown(value)
    return found


def _tools(request: dict[str, object], contents: Contents) -> tuple[str, ...]:
    """The kinds of tools that the API defines itself, each once."""
    tools = request.get("tools")
    kinds: dict[str, None] = {}
    for tool in tools if is_array(tools) else [] if tools is None else [tools]:
        if not is_object(tool):
            raise Invalid(f"Every entry of `tools` must be an object, and one is a {json_name(tool)}.", "tools")
        for kind, value in TOOLS.read(tool, "tools.").items():
            if kind == OWN_TOOLS or value is None:
                continue
            if kind == FILE_SEARCH:
                contents.named += _stores(value)
            if kind == COMPUTER_USE:
                contents.add("the definitions of computer use")
            kinds[kind] = None
    return tuple(kinds)


def _stores(search: object) -> list[Named]:
    """The stores that a search of files reads."""
    names = SEARCH.read(search, "tools.fileSearch.").get("fileSearchStoreNames") if is_object(search) else None
    given = names if is_array(names) else [] if names is None else [names]
    return [Named(each if isinstance(each, str) else "", VECTOR_STORE, "tools", context=False) for each in given]


def _modalities(config: dict[str, object]) -> list[str]:
    said = config.get("responseModalities")
    modalities = [] if said is None else said if is_array(said) else [said]
    if not all(isinstance(each, str) for each in modalities):
        raise expected(config, "responseModalities", 'an array of strings such as "TEXT"')
    return [str(each).upper() for each in modalities]


def _service_tier(request: dict[str, object]) -> str | None:
    """None where it is left open."""
    said = (word(request, "serviceTier", "standard") or "").lower().removeprefix("service_tier_")
    return said if said not in {"", "unspecified"} else None
