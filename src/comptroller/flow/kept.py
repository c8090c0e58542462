"""The index of what providers keep for us, by the id that they gave it: one mapping, bounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from comptroller.core.work.stored import RESPONSE, Kind, StoredObject

MOST_ITEMS = 300_000  # of responses, about as much again
MOST = 100_000  # responses, and as many of everything else: about 60 MB each when full, beside their texts
MOST_TEXT = 64 * 1024 * 1024  # characters that are said of all responses, and of everything else


class Kept:
    """Objects that are not deleted, the oldest first. One that is added beyond `most` pushes the oldest out.

    Responses come with every call, and push out nothing that lasts longer.
    """

    def __init__(self, objects: Iterable[StoredObject] = (), most: int = MOST, most_text: int = MOST_TEXT) -> None:
        """`objects`: the oldest first."""
        self._responses = _Shelf(most, most_text)
        self._others = _Shelf(most, most_text)
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
        self._drop(self._responses.take(object_id))
        self._others.take(object_id)

    def _put(self, each: StoredObject) -> None:
        here, there = (self._responses, self._others) if each.kind == RESPONSE else (self._others, self._responses)
        there.take(each.id)
        pushed_out = here.put(each)
        for item in each.items.split():
            self._items[item] = each.id if self._is_free(item, each) else ""
        for old in pushed_out:
            self._drop(old)
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


class _Shelf(dict[str, StoredObject]):
    """Objects by id, the oldest first, and how much text is said of them: callers choose how much that is."""

    def __init__(self, most: int, most_text: int) -> None:
        super().__init__()
        self._most = most
        self._most_text = most_text
        self._text = 0

    def put(self, each: StoredObject) -> list[StoredObject]:
        """In the place of what has the same id; returns what is pushed out for it."""
        self._text += _text(each) - _text(self.get(each.id))
        self[each.id] = each
        pushed_out: list[StoredObject] = []
        while len(self) > self._most or self._text > self._most_text:
            old = self.take(next(iter(self)))
            pushed_out += () if old is None else (old,)
        return pushed_out

    def take(self, object_id: str) -> StoredObject | None:
        """Remove it."""
        old = self.pop(object_id, None)
        self._text -= _text(old)
        return old


def _text(each: StoredObject | None) -> int:
    return 0 if each is None else len(each.told) + len(each.bounds) + len(each.items)
