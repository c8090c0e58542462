"""A whole JSON response: what it says was used. The last event of a stream holds the same."""

from __future__ import annotations

from typing import Any

import msgspec

from comptroller.core.pricing.usage import Usage
from comptroller.core.work.conversation import Call
from comptroller.core.work.stored import is_id
from comptroller.wire.body import is_array
from comptroller.wire.openai_responses.functions import calls_in
from comptroller.wire.openai_responses.usage import NO_SEARCHES, Searches, read_searches, read_usage
from comptroller.wire.reported import read_name


class Answer(msgspec.Struct, frozen=True, gc=False):
    """`malformed`: not a JSON object. `usage_malformed`: a good answer whose usage says what cannot be, so it is None.

    An answer without any usage is neither. `object_id`: what the provider keeps it under, as far as it says so.
    `pending`: the response is not done; if it is made in the background, nothing that it reports is final.
    """

    usage: Usage | None = None
    served_model: str | None = None
    service_tier: str | None = None
    malformed: bool = False
    usage_malformed: bool = False
    object_id: str | None = None
    pending: bool = False
    status: str | None = None
    called: tuple[Call, ...] = ()  # the tools that it calls
    items: str = ""  # the ids of what is in it, and of the containers that its code ran in, with spaces between them


class _Item(msgspec.Struct, gc=False):
    id: Any = None
    container_id: Any = None


class _Body(msgspec.Struct, gc=False):
    id: Any = None
    store: Any = None
    status: Any = None
    model: Any = None
    service_tier: Any = None
    usage: Any = None
    tool_usage: Any = None
    output: msgspec.Raw = msgspec.Raw(b"null")


_PENDING = frozenset({"queued", "in_progress"})

_DECODER = msgspec.json.Decoder(_Body)
_ITEMS = msgspec.json.Decoder(list[_Item] | None)
_SEARCH = b"_search_call"  # in the type of every item that is a search


def read_answer(body: bytes | msgspec.Raw, long_cache: bool = False) -> Answer:
    """Read usage, model and tier; never raises. `long_cache`: see `read_usage`."""
    try:
        answer = _DECODER.decode(body)
        searched = _searches(answer)
    except (ValueError, RecursionError):
        return Answer(malformed=True)
    tier, status = read_name(answer.service_tier), read_name(answer.status)
    named = answer.id if answer.id.__class__ is str and answer.store is not False else None
    usage = read_usage(answer.usage, tier, long_cache, searched) if answer.usage else None
    malformed = bool(answer.usage) and usage is None
    items = _item_ids(answer.output) if named is not None else ""
    return Answer(
        usage, read_name(answer.model), tier, False, malformed, named, status in _PENDING, status,
        calls_in(answer.output), items,
    )  # fmt: skip


def _item_ids(output: msgspec.Raw) -> str:
    try:
        found = dict.fromkeys(each for item in _ITEMS.decode(output) or () for each in (item.id, item.container_id))
        return " ".join(each for each in found if each.__class__ is str and is_id(each))
    except (ValueError, RecursionError):
        return ""


def _searches(answer: _Body) -> Searches:
    output = bytes(answer.output)
    if _SEARCH not in output and answer.tool_usage is None:
        return NO_SEARCHES
    items: Any = msgspec.json.decode(output) if _SEARCH in output else []
    return read_searches(answer.tool_usage, items if is_array(items) else ())
