"""What a request names that is stored at the provider: it has an owner, and only that one may use it.

Of responses our records say who made them (flow/objects.py); of nothing else yet, so nothing else can be used.
"""

from __future__ import annotations

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import RESPONSE, Named, StoredUse
from comptroller.wire.body import is_object, shown
from comptroller.wire.openai_responses.items import Items

_PREVIOUS = "previous_response_id"
_WHOLE = "Send the whole conversation in `input`"


def refused_use(request: dict[str, object], items: Items) -> Refusal | None:
    """The refusal of a request that uses what is stored and is not known, or goes on unstored; None for any other."""
    if request.get("background") is True and request.get("store") is False:
        return Refusal(
            code="request_invalid",
            sentence="A response in the background is stored: it can be asked for in no other way.",
            hint="Leave `store` out, or `background`.",
            param="store",
        )
    for name, named in (*_named(request), *items.stored):
        if named is not None:
            return Refusal(
                code="object_unknown",
                sentence=f"`{name}` names {_shown(named)}, and no record of this gateway says whose that is.",
                hint=f"{_WHOLE}, without ids of what a provider stores.",
                param=name,
            )
    return None


def stored_use(request: dict[str, object]) -> StoredUse:
    """The response that it goes on with, and whether its own is kept: it is, unless it asks for the contrary."""
    previous = request.get(_PREVIOUS)
    uses = (Named(previous, RESPONSE, _PREVIOUS),) if isinstance(previous, str) else ()
    return StoredUse(uses, keeps=RESPONSE if request.get("store") is not False else None)


def _named(request: dict[str, object]) -> list[tuple[str, object]]:
    """(field, id) of every field that names something; the id is None where it names nothing, or a response."""
    previous = request.get(_PREVIOUS)
    conversation, prompt = request.get("conversation"), request.get("prompt")
    cache = request.get("prompt_cache_options")
    compared = cache.get("comparison_response_id") if is_object(cache) else None
    return [
        (_PREVIOUS, None if isinstance(previous, str) else previous),
        ("conversation", conversation.get("id", conversation) if is_object(conversation) else conversation),
        ("prompt", prompt.get("id", prompt) if is_object(prompt) else prompt),
        ("prompt_cache_options", compared),
    ]


def _shown(named: object) -> str:
    return shown(named) if isinstance(named, str) else "something stored at the provider"
