"""What a request names that is stored at the provider: it has an owner, and only that one may use it.

Our records say who made what (flow/objects.py). Of prompts they say nothing: those are made elsewhere.
"""

from __future__ import annotations

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import CONVERSATION, RESPONSE, Named, StoredUse, uses
from comptroller.wire.body import is_object, shown
from comptroller.wire.openai_responses.items import Items

_PREVIOUS = "previous_response_id"


def refused_use(request: dict[str, object]) -> Refusal | None:
    """The refusal of a request that uses what nobody here made, or goes on unstored; None for any other."""
    if request.get("background") is True and request.get("store") is False:
        return Refusal(
            code="request_invalid",
            sentence="A response in the background is stored: it can be asked for in no other way.",
            hint="Leave `store` out, or `background`.",
            param="store",
        )
    prompt = request.get("prompt")
    if prompt is None:
        return None
    named = prompt.get("id") if is_object(prompt) else prompt
    what = shown(named) if isinstance(named, str) else "something stored at the provider"
    return Refusal(
        code="object_unknown",
        sentence=f"`prompt` names {what}, and no record of this gateway says whose that is.",
        hint="Send what it says in `instructions` or `input`.",
        param="prompt",
    )


def stored_use(request: dict[str, object], items: Items) -> StoredUse:
    """All that it names, and whether its own answer is kept: it is, unless it asks for the contrary."""
    keeps = RESPONSE if request.get("store") is not False else None
    return uses([*_fields(request), *items.named, *items.files], "input", keeps) or StoredUse()


def _fields(request: dict[str, object]) -> list[Named]:
    conversation, cache = request.get("conversation"), request.get("prompt_cache_options")
    compared = cache.get("comparison_response_id") if is_object(cache) else None
    if is_object(conversation):
        conversation = conversation.get("id", "")
    found = [
        (request.get(_PREVIOUS), Named("", RESPONSE, _PREVIOUS)),
        (conversation, Named("", CONVERSATION, "conversation")),
        (compared, Named("", RESPONSE, "prompt_cache_options", context=False)),
    ]
    return [
        Named(named if isinstance(named, str) else "", use.kind, use.param, use.context)
        for named, use in found
        if named is not None
    ]
