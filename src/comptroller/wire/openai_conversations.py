"""OpenAI Conversations as dialects: creating, reading, changing and deleting one, and what is in it.

OpenAI takes nothing for them; a response that goes on in one is held for the whole context. There is no list of them.

Source: the OpenAI API reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import CONVERSATION, Named, StoredUse
from comptroller.wire.body import invalid, is_array, read_object
from comptroller.wire.checks import Invalid
from comptroller.wire.head import PLAIN, Head
from comptroller.wire.object_calls import ObjectAnswer, ObjectCall, asks_nothing
from comptroller.wire.openai_objects import OpenAIObjects
from comptroller.wire.openai_responses.items import Items
from comptroller.wire.openai_surface import AskedRequest

_NAME = "openai_conversations"
_PATH = "/v1/conversations"
_EMPTY = b"{}"
_ITEM = re.compile(r"([^/]+)/items/([A-Za-z0-9_-]{1,200})", re.ASCII)


class OpenAIConversations(OpenAIObjects):
    """Acts on one conversation, or on an item in it, which a path names after it."""

    query_parameters = frozenset({b"include", b"include[]", b"include%5B%5D", b"after", b"limit", b"order"})

    def __init__(self, below: str = "", *, deletes: bool = False, writes: bool = False) -> None:
        """`writes`: it takes a body, whose items may name more."""
        super().__init__(_NAME, CONVERSATION, _PATH, below, deletes=deletes)
        self._writes = writes

    def read_request(self, body: bytes, head: Head = PLAIN) -> ObjectCall | Refusal:
        """The conversation is the caller's, and so is all that its new items name."""
        item = _ITEM.fullmatch(head.named) if not self._below else None
        name, below = (item[1], f"/items/{item[2]}") if item is not None else (head.named, self._below)
        conversation = Named(name, CONVERSATION)
        if not self._writes:
            use = StoredUse((conversation,), deletes=self._deletes and item is None)
            return ObjectCall(asks_nothing(use), f"{_PATH}/{name}{below}")
        named = _named(body or _EMPTY)
        if isinstance(named, Refusal):
            return named
        use = StoredUse((conversation, *named))
        return ObjectCall(asks_nothing(use), f"{_PATH}/{name}{below}", body or _EMPTY)

    def read_answer(self, request: AskedRequest, body: bytes) -> ObjectAnswer:
        """There is no list that it would be told in."""
        return msgspec.structs.replace(super().read_answer(request, body), told="")


class OpenAINewConversation(OpenAIConversations):
    """The dialect of POST /v1/conversations."""

    def read_request(self, body: bytes, head: Head = PLAIN) -> ObjectCall | Refusal:
        """All that its items name is the caller's."""
        named = _named(body or _EMPTY)
        if isinstance(named, Refusal):
            return named
        return ObjectCall(asks_nothing(StoredUse(named, CONVERSATION)), _PATH, body or _EMPTY)


def _named(body: bytes) -> tuple[Named, ...] | Refusal:
    """Everything at the provider that a body names."""
    request = read_object(body)
    if isinstance(request, Refusal):
        return request
    given, items = request.get("items"), Items()
    if given is not None and not is_array(given):
        return invalid("`items` must be an array of items.", "", "items")
    try:
        items.read_items(given or (), "items")
        for name, value in request.items():
            if name not in {"items", "metadata"}:
                items.read_unknown(value)
    except Invalid as wrong:
        return wrong.refusal
    if items.misspelt is not None:
        return invalid(f"The key {items.misspelt[:64]!r} is not written as the API writes it.", "", "items")
    where = (each if each.param is not None else Named(each.id, each.kind, "items") for each in items.files)
    return tuple(dict.fromkeys((*items.named, *where)))


# By path, with the method before it. What follows the id and `/items` in a path is an item.
CONVERSATION_CALLS: Mapping[str, OpenAIConversations] = {
    _PATH: OpenAINewConversation(),
    "GET /v1/conversations/{name}": OpenAIConversations(),
    "/v1/conversations/{name}": OpenAIConversations(writes=True),
    "DELETE /v1/conversations/{name}": OpenAIConversations(deletes=True),
    "GET /v1/conversations/{name}/items": OpenAIConversations("/items"),
    "/v1/conversations/{name}/items": OpenAIConversations("/items", writes=True),
}
