"""OpenAI Conversations as a surface: kept by key, and whoever has the key has them all. Nothing is billed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import msgspec

from comptroller.sandbox.chat.surface import OpenAISpoken
from comptroller.sandbox.errors import invalid, not_found
from comptroller.sandbox.faults import Control
from comptroller.sandbox.single import Job, Made

_PATH = "/conversations"
_ACTS = {
    "": {"GET": "read", "POST": "change", "DELETE": "delete"},
    "items": {"GET": "list", "POST": "add"},
    "item": {"GET": "read_item", "DELETE": "delete_item"},
}
_Body = dict[str, Any]


@dataclass(slots=True)
class Conversation:
    """One conversation."""

    id: str
    made_at: int
    metadata: _Body
    items: dict[str, _Body] = field(default_factory=dict[str, _Body])

    def shown(self) -> _Body:
        """As OpenAI tells of it."""
        return {"id": self.id, "object": "conversation", "created_at": self.made_at, "metadata": self.metadata}

    def add(self, items: list[_Body]) -> list[_Body]:
        """Take items in, each under an id of its own."""
        new = [{"id": f"msg_{uuid4().hex}", "type": "message", "status": "completed", **item} for item in items]
        self.items.update((item["id"], item) for item in new)
        return new


Conversations = dict[tuple[str, str], Conversation]


def conversation_acts(path: str) -> dict[str, tuple[str, str, str]]:
    """By method, what is done to which conversation, and to what in it; nothing for a path of something else."""
    if path == _PATH:
        return {"POST": ("create", "", "")}
    if not path.startswith(f"{_PATH}/"):
        return {}
    name, _, below = path.removeprefix(f"{_PATH}/").partition("/")
    below, _, item = below.partition("/")
    acts = _ACTS.get("item" if below and item else below, {})
    return {method: (act, name, item) for method, act in acts.items()}


class ConversationsSurface(OpenAISpoken):
    """One act on one conversation."""

    name = "conversations"

    def __init__(self, kept: Conversations, act: str, name: str, item: str) -> None:
        self._kept = kept
        self._act = act
        self._id = name
        self._item = item

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """Raises ApiError (404 for what this key has not made, 400 for what is no JSON object)."""
        key = self.key(headers) or ""
        try:
            given: _Body = msgspec.json.decode(body or b"{}", type=dict[str, Any])
        except msgspec.DecodeError:
            raise invalid("We could not parse the JSON body of your request.") from None
        if self._act == "create":
            made = Conversation(f"conv_{uuid4().hex}", int(time.time()), given.get("metadata") or {})
            made.add(given.get("items") or [])
            self._kept[key, made.id] = made
            return _said(made.shown())
        found = self._kept.get((key, self._id))
        if found is None:
            raise not_found(f"Conversation with id '{self._id}' not found.")
        return _said(self._done(key, found, given))

    def _done(self, key: str, found: Conversation, given: _Body) -> _Body:
        match self._act:
            case "delete":
                del self._kept[key, found.id]
                return {"id": found.id, "object": "conversation.deleted", "deleted": True}
            case "change":
                found.metadata = given.get("metadata") or {}
            case "list":
                return _page(list(found.items.values()))
            case "add":
                return _page(found.add(given.get("items") or []))
            case "read_item" | "delete_item" if self._item not in found.items:
                raise not_found(f"Item with id '{self._item}' not found.")
            case "read_item":
                return found.items[self._item]
            case "delete_item":
                del found.items[self._item]
            case _:
                pass
        return found.shown()


def _page(items: list[_Body]) -> _Body:
    ends = {"first_id": items[0]["id"], "last_id": items[-1]["id"]} if items else {"first_id": None, "last_id": None}
    return {"object": "list", "data": items, **ends, "has_more": False}


def _said(value: _Body) -> Job:
    body = msgspec.json.encode(value)
    return Job("", Control(), lambda _: Made(body, body))
