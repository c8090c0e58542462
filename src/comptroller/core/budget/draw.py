"""What a call draws on: windows, and these sorted once by all that every call asks of them.

Whoever draws on the same windows shares one `Draw`. What is sorted here (mode, unit, visibility) changes only with
the registry and with the bounds of a session, and the tree sorts anew then.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import get_args

import msgspec

from comptroller.core.budget.budget import Unit
from comptroller.core.budget.counter import Window
from comptroller.core.budget.escrow import Escrow
from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.budget.meter import Meter, is_session_bound
from comptroller.core.budget.soft import Soft, used_bp

ALL_LEFT_BP = 10_000
UNITS: tuple[Unit, ...] = get_args(Unit)
ALL_UNITS: frozenset[Unit] = frozenset(UNITS)
_NEVER_NS = 2**63


class Lift(msgspec.Struct, frozen=True, gc=False):
    """What grants do to a draw: their meters count it too, and these budgets count it without a say."""

    meters: tuple[Meter, ...] = ()
    budgets: frozenset[str] = frozenset()  # by name


NO_LIFT = Lift()


class Draw:
    """The windows of one call: those of budgets (`pooled`), and those that bound the sessions of its chain."""

    __slots__ = (
        "_limits",
        "_shut",
        "by_unit",
        "counted",
        "escrows",
        "hard",
        "keys",
        "lift",
        "meters",
        "own",
        "pooled",
        "shadow",
        "shown",
        "soft",
        "units",
        "until_ns",
        "windows",
    )

    def __init__(
        self,
        windows: Iterable[Window],
        meters: Iterable[Meter] = (),
        own: Container[str] | None = None,
        escrows: Sequence[Escrow] = (),
        lift: Lift = NO_LIFT,
        counted: frozenset[Unit] = ALL_UNITS,
    ) -> None:
        """`own`: the sessions of the chain whose amounts the caller may see; None: all.

        `escrows`: what is set aside for sessions of the chain, deepest first. `counted`: the units that such a call is
        counted in; windows in others have no say about it.
        """
        self.counted = counted
        self.own = own
        self.escrows = escrows
        self.lift = lift
        self.pooled = tuple(window for window in windows if window.budget.unit in counted)
        self.meters = (*meters, *lift.meters)
        bounds = (window for meter in self.meters for window in meter.windows if window.budget.unit in counted)
        self.windows = (*self.pooled, *bounds)
        # The rows of the ledger: a session has one, whatever bounds it.
        self.keys: tuple[WindowKey, ...] = (*(w.key for w in self.pooled), *(meter.key for meter in self.meters))
        by_unit = _by_unit(self.windows)
        self.by_unit = tuple(by_unit.get(unit, ()) for unit in UNITS)  # as amounts are in order
        hard = (window for window in self.windows if window.budget.mode == "hard")
        self.hard = _by_unit(w for w in hard if w.budget.name not in lift.budgets)
        self.shadow = tuple(window for window in self.windows if window.budget.mode == "shadow")
        self.shown = tuple(window for window in self.hard.get("usd", ()) if self.shows(window))
        self.soft = tuple(window for window in self.pooled if window.budget.soft)
        self.units = frozenset(self.hard)  # in which it is counted and enforced
        beside = {id(window) for meter in lift.meters for window in meter.windows}  # no policy asks for what is left
        limits = [(w, w.budget.limit) for windows in self.hard.values() for w in windows if id(w) not in beside]
        self._limits = tuple((window, limit) for window, limit in limits if limit)
        self._shut = len(self._limits) < len(limits)  # one of them allows nothing
        ends = (window.span.end_ns for window in self.windows if window.span.end_ns is not None)
        self.until_ns = min(ends, default=_NEVER_NS)  # from then on another window is current

    def again(self, more: Iterable[Window] = ()) -> Draw:
        """The same sorted anew, with windows that came later."""
        meters = self.meters[: len(self.meters) - len(self.lift.meters)]
        return Draw((*self.pooled, *more), meters, self.own, self.escrows, self.lift, self.counted)

    def lifted(self, lift: Lift) -> Draw:
        """The same as these grants let it be drawn, and no others."""
        meters = self.meters[: len(self.meters) - len(self.lift.meters)]
        return Draw(self.pooled, meters, self.own, self.escrows, lift, self.counted)

    def left(self, window: Window) -> int:
        """What may be held on a window by a call of this chain: what is free, and what is set aside for it."""
        free = window.budget.limit - window.posted - window.held
        return free + sum(escrow.on(window) for escrow in self.escrows) if self.escrows else free

    def shows(self, window: Window) -> bool:
        """Whether the caller may see its amounts."""
        if self.own is not None and is_session_bound(window.budget):
            return window.key.instance in self.own
        return window.budget.visible == "caller"

    def binding(self, amounts: Amounts, *, growing: bool = False) -> Window | None:
        """The hard window that has too little left for these amounts: the one with the smallest share left.

        `growing`: more for a call that was let in. A window of a unit that does not grow has no say then, overdrawn or
        not.
        """
        short: list[Window] = []
        for unit, windows in self.hard.items():
            amount = amounts.of(unit)
            if amount or not growing:
                short += [w for w in windows if w.budget.limit - w.posted - w.held < amount]
        if self.escrows:
            short = [window for window in short if self.left(window) < amounts.of(window.budget.unit)]
        return min(short, key=self._share_left) if short else None

    def left_bp(self) -> int:
        """How much the tightest hard window has left, in hundredths of a percent of its limit."""
        if self._shut:
            return 0
        if self.escrows:
            left = [self.left(window) * ALL_LEFT_BP // limit for window, limit in self._limits]
        else:
            left = [(limit - window.posted - window.held) * ALL_LEFT_BP // limit for window, limit in self._limits]
        return max(0, min(left, default=ALL_LEFT_BP))

    def passed(self) -> Sequence[tuple[Soft, Window]]:
        """The soft steps that are passed now, by what is posted and held: highest share first. Changes nothing."""
        found = [
            (step, window)
            for window in self.soft
            for share in (used_bp(window.budget.limit - self.left(window), window.budget.limit),)
            for step in window.budget.soft
            if step.at_bp <= share
        ]
        return sorted(found, key=lambda each: each[0].at_bp, reverse=True)

    def tightest(self, unit: Unit) -> Window | None:
        """The hard window of this unit with the least left."""
        return self._least_left(self.hard.get(unit, ()))

    @property
    def tightest_shown(self) -> Window | None:
        """That in USD of those whose amounts the caller may see."""
        return self._least_left(self.shown)

    def _share_left(self, window: Window) -> int:
        return self.left(window) * ALL_LEFT_BP // max(1, window.budget.limit)

    def _least_left(self, windows: Iterable[Window]) -> Window | None:
        if self.escrows:
            return min(windows, key=self.left, default=None)
        tightest, least = None, 0
        for window in windows:
            remaining = window.budget.limit - window.posted - window.held
            if tightest is None or remaining < least:
                tightest, least = window, remaining
        return tightest


def _by_unit(windows: Iterable[Window]) -> Mapping[Unit, tuple[Window, ...]]:
    known = tuple(windows)
    found: dict[Unit, tuple[Window, ...]] = {}
    for unit in UNITS:
        some = tuple(window for window in known if window.budget.unit == unit)
        if some:
            found[unit] = some
    return found
