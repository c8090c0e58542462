"""The index of what providers keep for us, by the id that they gave it: one mapping, bounded."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from comptroller.core.work.stored import StoredObject

MOST = 100_000  # about 60 MB when full


class Kept:
    """Objects that are not deleted, the oldest first. One that is added beyond `most` pushes the oldest out."""

    def __init__(self, objects: Iterable[StoredObject] = (), most: int = MOST) -> None:
        """`objects`: the oldest first."""
        self._most = most
        self._by_id: dict[str, StoredObject] = {}
        for each in objects:
            self._put(each)

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, object_id: str) -> StoredObject | None:
        return self._by_id.get(object_id)

    def add(self, made: StoredObject) -> StoredObject:
        """Returns it as it stands. An id that another call has had already is nobody's from now on."""
        known = self._by_id.get(made.id)
        if known is not None and known.call_id != made.call_id:
            made = msgspec.structs.replace(made, identity="", root="", tokens=None)
        self._put(made)
        return made

    def change(self, changed: StoredObject) -> bool:
        """Put it in the place of what is there; False if that is not there any more, or is another call's."""
        known = self._by_id.get(changed.id)
        if known is None or known.call_id != changed.call_id or not known.identity:
            return False
        self._by_id[changed.id] = changed
        return True

    def forget(self, object_id: str) -> None:
        self._by_id.pop(object_id, None)

    def _put(self, each: StoredObject) -> None:
        self._by_id[each.id] = each
        if len(self._by_id) > self._most:
            del self._by_id[next(iter(self._by_id))]
