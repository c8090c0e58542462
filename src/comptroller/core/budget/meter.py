"""The meter of a session: all that it has spent, its descendants included, and the windows that bound it.

A session's bounds are windows like those of any budget: held before a call leaves, posted when it has ended. They
have one row in the ledger together, which counts every unit, so that a bound that comes later begins with what was
spent before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from comptroller.core.budget.budget import MODEL_UNITS, Budget, Unit
from comptroller.core.budget.counter import Window
from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.budget.window import Span
from comptroller.core.work.bounds import Bounds

LEDGER_KEY = "session:"
"""What balances of sessions stand under. No budget of a registry can be called so."""
_EVER = Span(0, None)

COUNTED: Mapping[Unit, str] = {
    "usd": "usd_nanos",
    "tokens": "tokens",
    "calls": "model_calls",
    "thinking_tokens": "thinking_tokens",
    "tool_calls": "tool_calls",
}
"""The bounds that are counted, by what they count."""


def ledger_key(session_id: str) -> WindowKey:
    """The row of the ledger that counts a session."""
    return WindowKey(LEDGER_KEY, session_id, _EVER.start_ns)


def is_session_bound(budget: Budget) -> bool:
    """Whether this is a bound of a session and no budget of the registry."""
    return budget.name.startswith(LEDGER_KEY)


class Meter:
    """One session's."""

    __slots__ = ("key", "posted", "windows")

    def __init__(self, session_id: str, bounds: Bounds, posted: Amounts) -> None:
        self.key = ledger_key(session_id)
        self.posted = posted
        self.windows: tuple[Window, ...] = ()
        self.bind(bounds, ())

    @property
    def money(self) -> Window | None:
        """The window that bounds it in USD."""
        return next((window for window in self.windows if window.budget.unit == "usd"), None)

    @property
    def exhausted(self) -> bool:
        """Whether a counted bound of calls to models has nothing left."""
        return any(window.remaining <= 0 for window in self.windows if window.budget.unit in MODEL_UNITS)

    def post(self, amounts: Amounts) -> None:
        """Count what a call came to. Its windows are posted with all others."""
        self.posted = self.posted.plus(amounts)

    def adjust(self, delta: Amounts) -> None:
        """Count a correction, in the windows too."""
        self.post(delta)
        for window in self.windows:
            window.posted += delta.of(window.budget.unit)

    def bind(self, bounds: Bounds, held: Iterable[Amounts]) -> None:
        """Take other bounds. A window that stays goes on; a new one begins with what is posted, and with `held`."""
        pending = _sum(held)
        before = {window.budget.unit: window for window in self.windows}
        after: list[Window] = []
        for unit, name in COUNTED.items():
            limit: int | None = getattr(bounds, name)
            if limit is None:
                continue
            window = before.get(unit)
            budget = _bound(unit, limit)
            if window is None:
                key = WindowKey(budget.name, self.key.instance, _EVER.start_ns)
                window = Window(budget, key, _EVER, self.posted.of(unit), pending.of(unit))
            window.budget = budget
            after.append(window)
        self.windows = tuple(after)


def _sum(amounts: Iterable[Amounts]) -> Amounts:
    """All of them together."""
    total = Amounts()
    for each in amounts:
        total = total.plus(each)
    return total


def _bound(unit: Unit, limit: int) -> Budget:
    return Budget(f"{LEDGER_KEY}{unit}", {}, unit, limit, "lifetime", "UTC", "session", "hard", "caller")
