"""Stored responses as a surface: reading, deleting and cancelling one, as OpenAI answers. Nothing is billed."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.sandbox.chat.surface import OpenAISpoken
from comptroller.sandbox.errors import invalid, not_found
from comptroller.sandbox.faults import Control
from comptroller.sandbox.responses.stored import Entry, Stored
from comptroller.sandbox.single import Job, Made

_PATH = "/responses/"
_ACTS = {"": {"GET": "read", "DELETE": "delete"}, "input_items": {"GET": "list"}, "cancel": {"POST": "cancel"}}


def stored_acts(path: str) -> dict[str, tuple[str, str]]:
    """By method, what is done to which response on a path; nothing if it is a path of something else."""
    if not path.startswith(_PATH):
        return {}
    name, _, below = path.removeprefix(_PATH).partition("/")
    return {method: (act, name) for method, act in _ACTS.get(below, {}).items()}


class StoredSurface(OpenAISpoken):
    """One act on one response."""

    name = "stored_responses"

    def __init__(self, stored: Stored, act: str, name: str) -> None:
        self._stored = stored
        self._act = act
        self._id = name

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """Raises ApiError (404 for what this key has not stored, 400 for what is over already)."""
        del body
        key = self.key(headers) or ""
        entry = self._stored.find(key, self._id)
        if entry is None:
            raise not_found(f"Response with id '{self._id}' not found.")
        if self._act == "cancel":
            if entry.work is None:
                raise invalid("Cannot cancel a synchronous response.")
            entry.work.cancel()
        said = self._said(entry)
        if self._act == "delete":
            self._stored.forget(key, self._id)
        return Job("", Control(), lambda _: Made(said, said))

    def _said(self, entry: Entry) -> bytes:
        if self._act == "delete":
            return msgspec.json.encode({"id": self._id, "object": "response", "deleted": True})
        if self._act == "list":
            page = {"object": "list", "data": entry.items, "first_id": None, "last_id": None, "has_more": False}
            return msgspec.json.encode(page)
        return entry.whole()
