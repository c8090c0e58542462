"""Escrows: a share in USD that is set aside for a session below another when it is opened.

The share stands as held on every window that calls of the sessions above draw on, so nobody else can spend it. When
a call of the session (or of one below it) takes its hold, what is set aside for it on the same window becomes that
hold, and what the call did not need is set aside again: a window never counts both. On no window an escrow has
more than the session may still spend of its share.

Escrows of a chain are passed deepest first: a call takes from its own session's share before it takes from one that
was set aside for a session above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from comptroller.core.budget.counter import Window
from comptroller.core.budget.hold import WindowKey
from comptroller.core.budget.meter import Meter

Part = tuple[Window, int]
"""So much on this window, in nano-USD."""


class Escrow:
    """What is set aside for one session."""

    __slots__ = ("_on", "_windows", "above", "meter", "meters", "share")

    def __init__(self, meter: Meter, share: int, meters: Sequence[Meter], above: Sequence[Escrow]) -> None:
        self.meter = meter  # of the session that it is for
        self.meters = meters  # of the sessions above it
        self.share = share  # nano-USD; never more again once it is less
        self.above = above  # the escrows of the chain that it was taken from, deepest first
        self._on: dict[WindowKey, int] = {}
        self._windows: dict[WindowKey, Window] = {}

    @property
    def room(self) -> int:
        """What its session may still spend of it."""
        money = self.meter.money
        return 0 if money is None else max(0, min(self.share, money.budget.limit) - money.posted - money.held)

    @property
    def windows(self) -> Iterable[Window]:
        """Those on which something was set aside."""
        return self._windows.values()

    def on(self, window: Window) -> int:
        """How much of it stands on a window."""
        return self._on.get(window.key, 0)

    def put(self, window: Window, amount: int) -> None:
        """Set so much more aside on a window; below zero: less."""
        self._windows[window.key] = window
        self._on[window.key] = self.on(window) + amount
        window.held += amount
        window.aside += amount

    def narrow(self, share: int) -> None:
        """Have no more than this from now on; what that frees goes back to where it was taken from."""
        self.share = min(self.share, share)
        freed = self._fit()
        give_back(self.above, freed)

    def _fit(self) -> Sequence[Part]:
        """Let go of what its session could not spend; returns that."""
        room = self.room
        beyond = [(window, self.on(window) - room) for window in self._windows.values() if self.on(window) > room]
        for window, amount in beyond:
            self.put(window, -amount)
        return beyond

    def take(self, parts: Mapping[WindowKey, Part]) -> Mapping[WindowKey, Part]:
        """A hold of its session, or an overrun, stands on these windows: it is paid from here. Returns what is not."""
        left: dict[WindowKey, Part] = {}
        for key, (window, amount) in parts.items():
            taken = min(amount, self.on(window))
            if taken:
                self.put(window, -taken)
            left[key] = (window, amount - taken)
        self._fit()
        return left

    def give(self, parts: Mapping[WindowKey, Part]) -> Mapping[WindowKey, Part]:
        """So much came free on these windows: it is set aside again. Returns what is beyond the share."""
        room = self.room
        left: dict[WindowKey, Part] = {}
        for key, (window, amount) in parts.items():
            given = min(amount, max(0, room - self.on(window))) if key in self._windows else 0
            if given:
                self.put(window, given)
            left[key] = (window, amount - given)
        self._fit()
        return left


def pay_from(escrows: Sequence[Escrow], parts: Iterable[Part]) -> None:
    """Holds or charges were put on these windows: what is set aside for them there is so no more."""
    left: Mapping[WindowKey, Part] = {window.key: (window, amount) for window, amount in parts}
    for escrow in escrows:
        left = escrow.take(left)


def give_back(escrows: Sequence[Escrow], parts: Iterable[Part]) -> None:
    """So much came free on these windows: escrows that it was taken from have it again."""
    left: Mapping[WindowKey, Part] = {window.key: (window, amount) for window, amount in parts}
    for escrow in escrows:
        left = escrow.give(left)


def shift(escrows: Sequence[Escrow], windows: Iterable[Window], more: int) -> None:
    """Holds and charges on these windows are more than before by this; below zero: less."""
    if more >= 0:
        pay_from(escrows, [(window, more) for window in windows])
    else:
        give_back(escrows, [(window, -more) for window in windows])
