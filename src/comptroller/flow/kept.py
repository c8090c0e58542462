"""The index of what providers keep for us, by the id that they gave it: one mapping, bounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from comptroller.core.work.stored import RESPONSE, Kind, StoredObject

MOST_ITEMS = 300_000  # of responses, about as much again
MOST = 100_000  # responses, and as many of everything else: about 60 MB each when full


class Kept:
    """Objects that are not deleted, the oldest first. One that is added beyond `most` pushes the oldest out.

    Responses come with every call, and push out nothing that lasts longer.
    """

    def __init__(self, objects: Iterable[StoredObject] = (), most: int = MOST) -> None:
        """`objects`: the oldest first."""
        self._most = most
        self._responses: dict[str, StoredObject] = {}
        self._others: dict[str, StoredObject] = {}
        self._items: dict[str, str] = {}  # by item, the response that it is of; '' where two are said to have it
        for each in objects:
            self._put(each)

    def __len__(self) -> int:
        return len(self._responses) + len(self._others)

    def get(self, object_id: str) -> StoredObject | None:
        return self._responses.get(object_id) or self._others.get(object_id)

    def with_item(self, item_id: str) -> StoredObject | None:
        """The response that an item is of."""
        return self._responses.get(self._items.get(item_id, ""))

    def of(self, kind: Kind, api: str, identity: str, root: str, tenant: str) -> Iterator[StoredObject]:
        """What is told of those of a kind that somebody may use, the oldest first."""
        return (
            each
            for each in self._others.values()
            if each.kind == kind and each.api == api and each.told and each.belongs_to(identity, root, tenant)
        )

    def add(self, made: StoredObject) -> StoredObject:
        """Returns it as it stands. An id that another call has had already is nobody's from now on."""
        known = self.get(made.id)
        if known is not None and known.call_id != made.call_id:
            made = msgspec.structs.replace(made, identity="", root="", tokens=None)
        self._put(made)
        return made

    def change(self, changed: StoredObject) -> bool:
        """Put it in the place of what is there; False if that is not there any more, or is another call's."""
        known = self.get(changed.id)
        if known is None or known.call_id != changed.call_id or not known.identity:
            return False
        self._put(changed)
        return True

    def forget(self, object_id: str) -> None:
        self._drop(self._responses.pop(object_id, None))
        self._others.pop(object_id, None)

    def _put(self, each: StoredObject) -> None:
        here, there = (self._responses, self._others) if each.kind == RESPONSE else (self._others, self._responses)
        there.pop(each.id, None)
        here[each.id] = each
        for item in each.items.split():
            self._items[item] = each.id if self._is_free(item, each) else ""
        if len(here) > self._most:
            self._drop(here.pop(next(iter(here))))
        while len(self._items) > MOST_ITEMS:
            del self._items[next(iter(self._items))]

    def _is_free(self, item: str, response: StoredObject) -> bool:
        """Whether an item can be of this response: nobody else has it. Code of one caller may run on in a container."""
        known = self._items.get(item)
        if known in {None, response.id}:
            return True
        other = self._responses.get(known or "")
        return other is not None and (other.identity, other.tenant) == (response.identity, response.tenant)

    def _drop(self, each: StoredObject | None) -> None:
        """Its items go with it; one that two are said to have stays nobody's."""
        if each is None:
            return
        for item in each.items.split():
            if self._items.get(item) == each.id:
                del self._items[item]
