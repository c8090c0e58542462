"""A Messages request: what bounds its cost, and how it is rewritten before it leaves.

Field meanings: the Anthropic API reference; the anthropic SDK's types, stable and beta.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.core.work.conversation import Entry
from comptroller.core.work.outline import Outline, outline
from comptroller.wire.anthropic_messages.contents import Contents
from comptroller.wire.anthropic_messages.conversation import read_entries
from comptroller.wire.anthropic_messages.fields import (
    COMPACTION,
    FIELDS,
    check_who_pays,
    compacts,
)
from comptroller.wire.anthropic_messages.functions import definitions, functions, without
from comptroller.wire.anthropic_messages.stored import refused_use, stored_use
from comptroller.wire.anthropic_messages.tiers import asked_tier, possible_tiers
from comptroller.wire.anthropic_messages.tool_kinds import read_tools, with_uses
from comptroller.wire.anthropic_messages.trim import shorten
from comptroller.wire.body import is_array, is_object, read_object, shown
from comptroller.wire.called import provider_tool
from comptroller.wire.checks import (
    Invalid,
    array,
    boolean,
    expected,
    hides_output,
    is_whole_number,
    model_name,
    objects,
    punctuation,
    word,
)
from comptroller.wire.field_names import CASE
from comptroller.wire.head import PLAIN, Head
from comptroller.wire.parts import array_of, bytes_of, raws_of
from comptroller.wire.prompt import with_prompt

# A model that wants more uses than are left hears so and may try again: after this many rounds the API pauses the turn.
LOOP_ROUNDS = 10
LEAST_THINKING_TOKENS = 1_024  # the API refuses a smaller `budget_tokens`

_TOP_LEVEL = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_RENDERED_AS_JSON = ("tools", "output_config", "output_format")
# A context that is edited may be edited in another way when there is more of it.
_COUNTED_ALIKE = FIELDS.plain - {"context_management", "thread"}


class MessagesRequest(msgspec.Struct, frozen=True, gc=False):
    """A request that was read: its bounds, and its top-level fields as the bytes that came."""

    asked: Asked
    fields: dict[str, msgspec.Raw]
    thinking_tokens: int | None  # the budget it sets on its thinking, inside of the output limit

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

    def with_tool_calls(self, most: int) -> MessagesRequest:
        """The same with no more uses of each of the provider's tools than this, where a request can limit them."""
        before = array_of(self.fields.get("tools"))
        tools = [with_uses(each, most) if is_object(each) else each for each in before]
        if tools == before:
            return self
        limited = read_request(_ENCODER.encode({**self.fields, "tools": tools}))
        if not isinstance(limited, MessagesRequest):
            return self
        # It was read without its headers, so what extends it is not told from what does not.
        return msgspec.structs.replace(limited, asked=msgspec.structs.replace(limited.asked, prompt=None))

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


def read_request(body: bytes, head: Head = PLAIN) -> MessagesRequest | Refusal:
    """Read and check a request body; `request_invalid` names the field and what was expected there."""
    request = read_object(body)
    if isinstance(request, Refusal):
        return request
    fields = _TOP_LEVEL.decode(body)
    try:
        return refused_use(request) or _read(request, fields, len(body), head)
    except Invalid as wrong:
        return wrong.refusal


def rewrite(request: MessagesRequest, *, output_limit: int, model: str | None = None) -> bytes:
    """The body that goes upstream: one binding output limit, the rest as it came, each field in its place.

    A thinking budget that no longer fits under a lowered limit is lowered in proportion, so that the same share
    is left for the answer; where even the least budget does not fit, the answer is made without thinking.
    `model` replaces the model's name where it is another upstream.
    """
    fields = dict(request.fields)
    fields["max_tokens"] = msgspec.Raw(str(output_limit).encode())
    asked, budget = request.asked.output_limit or 0, request.thinking_tokens
    if budget is not None and output_limit <= budget < asked:
        fields["thinking"] = _less_thinking(fields["thinking"], output_limit, budget * output_limit // asked)
    if model is not None:
        fields["model"] = msgspec.Raw(_ENCODER.encode(model))
    return _ENCODER.encode(fields)


def _less_thinking(thinking: msgspec.Raw, output_limit: int, budget: int) -> msgspec.Raw:
    if output_limit <= LEAST_THINKING_TOKENS:
        return msgspec.Raw(b'{"type":"disabled"}')
    fitting = msgspec.Raw(str(max(LEAST_THINKING_TOKENS, budget)).encode())
    return msgspec.Raw(_ENCODER.encode(_TOP_LEVEL.decode(thinking) | {"budget_tokens": fitting}))


def _read(request: dict[str, object], fields: dict[str, msgspec.Raw], body_bytes: int, head: Head) -> MessagesRequest:
    contents = Contents()
    switches = FIELDS.switches(request, contents.read_unknown)
    check_who_pays(request)
    _read_system(request, contents)
    contents.read_messages(objects(request, "messages"))
    contents.read_cache_control(request.get("cache_control"))
    tools = [*array(request, "tools"), *contents.defined_tools]
    offered = read_tools(tools, contents)
    if isinstance(offered, str):
        raise Invalid(offered, "tools")
    if contents.misspelt is not None:
        raise Invalid(f"The key {shown(contents.misspelt)} is not written as the API writes it.", "messages", CASE)
    capacity = word(request, "service_tier", "auto")
    speed, geography = word(request, "speed", "standard"), word(request, "inference_geo", "global")
    compaction = (COMPACTION,) if compacts(request.get("context_management")) else ()
    # Each round of a tool that runs at the provider reads the whole context again, so the context window does not bound
    # the call (seen in a recording: 494,549 input tokens of a model with 200,000). Where nothing limits their uses,
    # nothing bounds it, and they count as billed apart too.
    outside = (*(switch.words for switch in switches), *compaction, *offered.limited, *offered.unlimited)
    fees = (*(switch.words for switch in switches if switch.fees), *compaction, *offered.unlimited)
    asked = Asked(
        model=model_name(request),
        stream=boolean(request, "stream"),
        text_tokens=body_bytes - contents.image_bytes + contents.extra_tokens + offered.tokens
        + sum(punctuation(fields.get(name)) for name in _RENDERED_AS_JSON)
        + _shown_again(tools, contents.shown_tools),
        images=contents.images,
        output_limit=_output_limit(request),
        service_tier=asked_tier(capacity, speed, geography),
        possible_tiers=possible_tiers(capacity, speed, geography),
        long_cache_writes=contents.hour_cache,
        unbounded=tuple(dict.fromkeys((*contents.unbounded, *outside))),
        fees=tuple(dict.fromkeys((*contents.fees, *fees))),
        hides_output=hides_output(request),
        web_searches=offered.searches,
        rounds=max(1 + offered.uses, LOOP_ROUNDS) if offered.limited else 1,
        stored=stored_use(request, contents),
        searching=offered.may_limit,
        provider_tools=_provider_tools(request, offered.kinds),
    )  # fmt: skip
    return MessagesRequest(
        asked=with_prompt(asked, "anthropic_messages", fields, _COUNTED_ALIKE, body_bytes, head),
        fields=fields,
        thinking_tokens=_thinking_tokens(request),
    )


def _provider_tools(request: dict[str, object], kinds: Iterable[str]) -> tuple[str, ...]:
    switched = ("mcp",) if request.get("mcp_servers") else ()
    return tuple(dict.fromkeys(provider_tool("anthropic", kind) for kind in (*kinds, *switched)))


def _read_system(request: dict[str, object], contents: Contents) -> None:
    system = request.get("system")
    if system is not None and not isinstance(system, str) and not is_array(system):
        raise expected(request, "system", "a text or an array of text blocks")
    contents.read_content(system)


def _output_limit(request: dict[str, object]) -> int:
    """The API demands a limit. Zero is one: it only fills the prompt cache."""
    limit = request.get("max_tokens")
    if not is_whole_number(limit, 0):
        raise expected(request, "max_tokens", "a whole number from 0 on")
    return limit


def _thinking_tokens(request: dict[str, object]) -> int | None:
    thinking = request.get("thinking")
    if thinking is None:
        return None
    if not is_object(thinking):
        raise expected(request, "thinking", "an object")
    budget = thinking.get("budget_tokens")
    if budget is not None and not is_whole_number(budget, 1):
        raise Invalid("`thinking.budget_tokens` must be a whole number from 1 on.", "thinking.budget_tokens")
    return budget


def _shown_again(tools: list[object], names: list[str]) -> int:
    """Tokens of the tools whose definitions references in the messages put into the prompt once more."""
    if not names:
        return 0
    texts = {
        tool["name"]: _ENCODER.encode(tool) for tool in tools if is_object(tool) and isinstance(tool.get("name"), str)
    }
    sizes = {name: len(text) + punctuation(text) for name, text in texts.items()}
    return sum(sizes.get(name, 0) for name in names)
