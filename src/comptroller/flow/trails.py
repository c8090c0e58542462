"""What is remembered of the last steps of sessions, in memory and bounded: a restart begins anew."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TypeVar

import msgspec

from comptroller.core.detection.loops import Print, Rally, Trail

E = TypeVar("E")
SESSIONS_KEPT = 10_000  # of more, those that were at work longest ago are forgotten


class Taken:
    """The step that a call takes."""

    __slots__ = ("_counts", "actor", "mark", "rally", "trail")

    def __init__(self, trail: Trail, rally: Rally | None, actor: str, mark: Print) -> None:
        self.trail, self.rally, self.actor, self.mark = trail, rally, actor, mark
        self._counts = False

    def begin(self) -> None:
        """An attempt of the call begins."""
        self._counts = self.trail.begin(self.mark)

    def end(self, call_id: str, *, answered: bool, charge_nanos: int, output_tokens: int) -> None:
        """That attempt is over. Only what was answered is a step."""
        counts = self._counts and answered
        self.trail.end(self.mark, call_id, counts=counts, charge_nanos=charge_nanos, output_tokens=output_tokens)
        if counts and self.rally is not None:
            self.rally.note(self.actor, self.mark)


class Sentence(msgspec.Struct, frozen=True, gc=False):
    """A session that is to be quarantined, and why."""

    session: str
    rule: str
    reason: str


class Trails:
    """The steps of the sessions that were at work last."""

    def __init__(self, most: int = SESSIONS_KEPT) -> None:
        self._most = most
        self._trails = OrderedDict[str, Trail]()
        self._rallies = OrderedDict[str, Rally]()
        self.sentences: asyncio.Queue[Sentence] = asyncio.Queue()  # whoever makes stops takes them (control/timed.py)

    def trail(self, session: str) -> Trail:
        """Of a session."""
        return _kept(self._trails, session, Trail, self._most)

    def rally(self, root: str) -> Rally:
        """Of the tree below a session."""
        return _kept(self._rallies, root, Rally, self._most)

    def forget(self, session: str) -> None:
        """It begins anew, or is over."""
        self._trails.pop(session, None)
        self._rallies.pop(session, None)


def _kept(kept: OrderedDict[str, E], key: str, make: type[E], most: int) -> E:
    found = kept.get(key)
    if found is None:
        if len(kept) >= most:
            kept.popitem(last=False)
        found = kept[key] = make()
    else:
        kept.move_to_end(key)
    return found
