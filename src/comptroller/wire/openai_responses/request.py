"""A Responses request: what bounds its cost, and how it is rewritten before it leaves.

Field meanings: the OpenAI API reference; the openai SDK's types; what compatible servers are known to read.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.rates import DEFAULT_TIER
from comptroller.core.refusal import Refusal
from comptroller.core.work.conversation import Entry
from comptroller.core.work.outline import Outline, outline
from comptroller.wire.body import is_array, read_object, shown
from comptroller.wire.called import provider_tool
from comptroller.wire.checks import (
    Invalid,
    array,
    boolean,
    expected,
    hides_output,
    model_name,
    punctuation,
    whole_number,
    word,
)
from comptroller.wire.field_names import CASE
from comptroller.wire.openai_chat.fields import SEARCH, searches
from comptroller.wire.openai_responses.conversation import input_items, read_entries
from comptroller.wire.openai_responses.fields import COMPACTION, FIELDS, PRO, compacts, is_pro
from comptroller.wire.openai_responses.functions import definitions, functions, without
from comptroller.wire.openai_responses.items import Items
from comptroller.wire.openai_responses.stored import refused_use, stored_use
from comptroller.wire.openai_responses.tool_kinds import MOST_TOOL_CALLS, Offered, read_tools
from comptroller.wire.openai_responses.trim import shorten
from comptroller.wire.parts import array_of, bytes_of, raws_of

# The answer calls it `priority` (OpenAI's API reference); either may fall back to the default.
_FAST = frozenset({"fast", "priority", DEFAULT_TIER})

_TOP_LEVEL = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_RENDERED_AS_JSON = ("tools", "text")


class ResponsesRequest(msgspec.Struct, frozen=True, gc=False):
    """A request that was read: its bounds, and its top-level fields as the bytes that came."""

    asked: Asked
    fields: dict[str, msgspec.Raw]

    def entries(self) -> list[Entry]:
        """What each of its messages is to the others."""
        return read_entries(input_items(self.fields))

    def messages(self) -> list[msgspec.Raw]:
        """Its messages as they came; none where they cannot be told apart."""
        return raws_of(self.fields.get("input"))

    def with_messages(self, messages: Sequence[object]) -> bytes:
        """The body with these in their place."""
        return _ENCODER.encode({**self.fields, "input": messages})

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
            tools=len(array_of(tools)),
            tool_bytes=bytes_of(tools),
            images=self.asked.images,
        )

    def with_tool_calls(self, most: int) -> ResponsesRequest:
        """The same with no more calls of the provider's own tools than this; the smaller limit counts.

        `most` is at most MOST_TOOL_CALLS. The limit is about tools that run at the provider, and not about functions of
        the caller.
        """
        said = self.fields.get("max_tool_calls")
        asked = None if said is None else msgspec.json.decode(said, type=int | None)
        if asked and asked <= most:
            return self
        limited = read_request(_ENCODER.encode({**self.fields, "max_tool_calls": most}))
        return limited if isinstance(limited, ResponsesRequest) else self


def read_request(body: bytes) -> ResponsesRequest | Refusal:
    """Read and check a request body; `request_invalid` names the field and what was expected there.

    `object_unknown` and `unsupported`: see stored.py.
    """
    request = read_object(body)
    if isinstance(request, Refusal):
        return request
    fields = _TOP_LEVEL.decode(body)
    items = Items()
    try:
        asked = _asked(request, fields, items, len(body))
    except Invalid as wrong:
        return wrong.refusal
    return refused_use(request) or ResponsesRequest(asked=asked, fields=fields)


def rewrite(request: ResponsesRequest, *, output_limit: int, model: str | None = None) -> bytes:
    """The body that goes upstream: one binding output limit, the rest as it came, each field in its place.

    `output_limit` is in tokens, thinking included. `model` replaces the model's name where it is another upstream.
    """
    fields = dict(request.fields)
    fields["max_output_tokens"] = msgspec.Raw(str(output_limit).encode())
    if model is not None:
        fields["model"] = msgspec.Raw(_ENCODER.encode(model))
    return _ENCODER.encode(fields)


def _asked(request: dict[str, object], fields: dict[str, msgspec.Raw], items: Items, body_bytes: int) -> Asked:
    switches = FIELDS.switches(request, items.read_unknown)
    model = model_name(request)
    _read_input(request, items)
    items.read_cache_marks(request)
    offered = _tools(request, items)
    if items.misspelt is not None:
        raise Invalid(f"The key {shown(items.misspelt)} is not written as the API writes it.", "input", CASE)
    tier, calls = word(request, "service_tier", "auto"), _most_calls(request)
    limited = offered.limited if calls else tuple(f"{each} without `max_tool_calls`" for each in offered.limited)
    kept = _kept_tools(request, items)
    beside = (*_beside(request, items, model), *offered.unlimited, *(() if calls else limited), *kept)
    outside = (*items.unbounded, *(switch.words for switch in switches), *limited, *beside)
    fees = (*(switch.words for switch in switches if switch.fees), *beside)
    return Asked(
        model=model,
        stream=boolean(request, "stream"),
        text_tokens=body_bytes - items.image_bytes + offered.tokens
        + sum(punctuation(fields.get(name)) for name in _RENDERED_AS_JSON),
        images=items.images,
        output_limit=whole_number(request, "max_output_tokens"),
        audio_input=items.audio,
        service_tier=tier,
        possible_tiers=_FAST if tier == "fast" else None,
        long_cache_writes=items.long_cache,
        unbounded=tuple(dict.fromkeys(outside)),
        fees=tuple(dict.fromkeys(fees)),
        web_searches=calls if offered.web_search else 0,
        file_searches=calls if offered.file_search else 0,
        rounds=1 + calls if offered.limited else 1,
        stored=stored_use(request, items),
        shortened=request.get("truncation") not in (None, "disabled"),
        hides_output=hides_output(request),
        deferred=boolean(request, "background"),
        searching=bool(offered.limited),
        provider_tools=tuple(dict.fromkeys(provider_tool("openai", kind) for kind in offered.kinds)),
    )  # fmt: skip


def _beside(request: dict[str, object], items: Items, model: str) -> tuple[str, ...]:
    """What is billed beside this answer's tokens, or not within its limits, in words."""
    compaction = items.compacts or compacts(request.get("context_management"))
    return (
        *((SEARCH,) if searches(model) else ()),
        *((COMPACTION,) if compaction else ()),
        *((PRO,) if is_pro(request.get("reasoning")) else ()),
    )


def _read_input(request: dict[str, object], items: Items) -> None:
    given, instructions = request.get("input"), request.get("instructions")
    if is_array(given):
        items.read_items(given, "input")
    elif not isinstance(given, str):
        raise expected(request, "input", "a text or an array of items")
    if is_array(instructions):
        items.read_items(instructions, "instructions")
    elif instructions is not None and not isinstance(instructions, str):
        raise expected(request, "instructions", "a text")


def _tools(request: dict[str, object], items: Items) -> Offered:
    offered = read_tools([*array(request, "tools"), *items.tools], items)
    if isinstance(offered, str):
        raise Invalid(offered, "tools")
    return offered


def _kept_tools(request: dict[str, object], items: Items) -> tuple[str, ...]:
    """Tools of the provider that stay in a stored context: who goes on from there neither shows nor limits them."""
    found = read_tools(items.tools, Items()) if request.get("store") is not False else None
    if found is None or isinstance(found, str):
        return ()
    return tuple(f"{each} in an `input` that is stored" for each in found.limited)


def _most_calls(request: dict[str, object]) -> int:
    """How often the provider's tools may be called at most; 0 where nothing that could be held bounds it."""
    calls = whole_number(request, "max_tool_calls", 0) or 0
    return calls if calls <= MOST_TOOL_CALLS else 0
