"""Breaking the glass: for a while and up to an amount, what policies say no to is done all the same.

One admin asks, another one confirms. Then a call in its scope that the policies deny goes on, and counts under the
grant's own amount beside all budgets. Budgets, stops and records are as ever. It ends by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from comptroller.core.work.stop import StopKey

BreakGlassScope = Literal["session", "identity", "owner", "team", "tenant", "everything"]
BreakGlassState = Literal["asked", "in_force", "over"]

ASK_KEPT_NS = 3600 * 1_000_000_000
"""For so long somebody may confirm what was asked for: an emergency of yesterday is none."""

RULED_BY = "break-glass:"
"""Before the id of a grant, among the policies by which a call was decided. No policy can be called so."""


class BreakGlass(msgspec.Struct, frozen=True):
    """One grant, from when somebody asked for it."""

    id: str
    scope: BreakGlassScope
    value: str  # "" for everything
    limit_nanos: int
    lasts_s: int
    reason: str
    asked_at_ns: int
    asked_by: str
    confirmed_at_ns: int | None = None
    confirmed_by: str | None = None
    ends_at_ns: int | None = None
    ended_at_ns: int | None = None  # on record: by somebody before its time, or by itself
    ended_by: str | None = None

    @property
    def key(self) -> StopKey:
        return self.scope, self.value

    @property
    def name(self) -> str:
        return f"{self.scope} {self.value}".rstrip()

    def state(self, now_ns: int) -> BreakGlassState:
        if self.ended_at_ns is not None:
            return "over"
        if self.ends_at_ns is None:
            return "asked" if now_ns < self.asked_at_ns + ASK_KEPT_NS else "over"
        return "in_force" if now_ns < self.ends_at_ns else "over"


class Broken:
    """The grants that are in force, as one value: whoever changes them puts another one in its place."""

    def __init__(self, grants: Iterable[BreakGlass] = ()) -> None:
        self.grants = tuple(grants)

    def __bool__(self) -> bool:
        return bool(self.grants)

    def applying(self, keys: Sequence[StopKey], now_ns: int) -> Iterator[BreakGlass]:
        """Those for a caller with these keys (core/work/stop.py), the oldest first."""
        return (each for each in self.grants if each.key in keys and each.state(now_ns) == "in_force")
