"""Stored responses as a surface: reading, deleting and cancelling one, as OpenAI answers. Nothing is billed."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

import msgspec

from comptroller.sandbox.bill import Bill, Line
from comptroller.sandbox.chat.surface import OpenAISpoken
from comptroller.sandbox.config import SandboxConfig
from comptroller.sandbox.errors import invalid, not_found
from comptroller.sandbox.faults import Control, FaultBook
from comptroller.sandbox.responses.stored import Entry, Stored, Work
from comptroller.sandbox.single import Job, Made, SingleStory
from comptroller.sandbox.wire import Exchange

_PATH = "/responses/"
_ACTS = {"": {"GET": "read", "DELETE": "delete"}, "input_items": {"GET": "list"}, "cancel": {"POST": "cancel"}}


def stored_acts(path: str) -> dict[str, tuple[str, str]]:
    """By method, what is done to which response on a path; nothing if it is a path of something else."""
    if not path.startswith(_PATH):
        return {}
    name, _, below = path.removeprefix(_PATH).partition("/")
    return {method: (act, name) for method, act in _ACTS.get(below, {}).items()}


class StoredStory(SingleStory):
    """One act; reading a response in the background may be following it."""

    def __init__(self, surface: StoredSurface, config: SandboxConfig, bill: Bill, faults: FaultBook) -> None:
        super().__init__(surface, config, bill, faults)
        self._acts = surface

    async def answer(self, exchange: Exchange, line: Line) -> None:
        """As any act is, but for a stream."""
        query = parse_qs(exchange.query.decode("latin-1"))
        if query.get("stream", ["false"])[-1] != "true":
            return await super().answer(exchange, line)
        work = self._acts.work(exchange.headers)
        after = query.get("starting_after", ["-1"])[-1]
        if not after.removeprefix("-").isdigit():
            raise invalid("'starting_after' must be a whole number.", param="starting_after")
        line.status = 200
        return await work.follow(exchange, int(after))


class StoredSurface(OpenAISpoken):
    """One act on one response."""

    name = "stored_responses"

    def __init__(self, stored: Stored, act: str, name: str) -> None:
        self._stored = stored
        self._act = act
        self._id = name

    def work(self, headers: Mapping[bytes, bytes]) -> Work:
        """Who makes the response. Raises ApiError for one that is not made in the background."""
        entry = self._stored.find(self.key(headers) or "", self._id)
        if entry is None:
            raise not_found(f"Response with id '{self._id}' not found.")
        if entry.work is None or self._act != "read":
            raise invalid("Only responses in the background can be followed.", param="stream")
        return entry.work

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
