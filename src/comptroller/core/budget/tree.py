"""The budget tree: every window that a call draws on, checked all together and then drawn all together.

Pure and in memory. A hold is checked against every window before any is touched, and no step waits, so
callers at once cannot overdraw; a fault in between cannot leave half a hold. What is posted in a window
plus what is held in it never passes its limit, except by an overrun (a provider billed above the bound).
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import astuple

from comptroller.core.budget.budget import MODEL_UNITS, TOOL_UNITS, Budget, Unit
from comptroller.core.budget.draw import ALL_UNITS, Draw, Window
from comptroller.core.budget.escrow import Escrow, pay_from, shift
from comptroller.core.budget.hold import EVERY, NOTHING, Amounts, WindowKey
from comptroller.core.budget.meter import LEDGER_KEY, Meter, is_session_bound, ledger_key
from comptroller.core.budget.scope import Facts, instances
from comptroller.core.budget.window import Span, WindowKind, span_at
from comptroller.core.work.bounds import Bounds

_DRAWN_MOST = 50_000
_WINDOWS_MOST = 200_000


class SettledTwiceError(Exception):
    """A hold was ended that is not open: a fault of ours, never a caller's."""


class Hold(msgspec.Struct, gc=False):
    """A pending charge: the windows it draws on, and how much in each unit."""

    id: str
    amounts: Amounts
    draw: Draw

    @property
    def windows(self) -> Sequence[Window]:
        return self.draw.windows


class BudgetTree:
    """All budgets, their windows and the open holds."""

    def __init__(self, budgets: Iterable[Budget], posted: Mapping[WindowKey, int] | None = None) -> None:
        self._budgets: tuple[Budget, ...] = tuple(budgets)
        self._keyed = tuple((budget, budget.key) for budget in self._budgets)
        self._saved = dict(posted or {})
        self._windows: dict[WindowKey, Window] = {}
        self._holds: dict[str, Hold] = {}
        self._spans: dict[tuple[WindowKind, str], Span] = {}
        self._drawn: dict[tuple[str, ...], Draw] = {}  # by the key of facts
        self._swept_over = 0
        self._meters: dict[str, Meter] = {}  # by session
        self._escrows: dict[str, Escrow] = {}  # by the session that they are for; parents first

    @property
    def budgets(self) -> Sequence[Budget]:
        return self._budgets

    @property
    def holds(self) -> Mapping[str, Hold]:
        """The open holds by id."""
        return self._holds

    def windows(self) -> Sequence[Window]:
        """Every window in memory, current or not."""
        return tuple(self._windows.values())

    def current(self, budget: Budget, instance: str, now_ns: int) -> Window | None:
        """The current window of a budget for an instance, if it is in memory."""
        return self._windows.get(WindowKey(budget.key, instance, self._span(budget, now_ns).start_ns))

    def standing(self, now_ns: int) -> Iterator[tuple[Budget, int]]:
        """What is left in every current window, also in those that nobody has drawn on since the start.

        One picture of which windows there are, however slowly it is looked at.
        """
        windows, saved = tuple(self._windows.values()), tuple(self._saved.items())
        in_force = {key: budget for budget, key in self._keyed}
        for window in windows:
            if window.key.budget in in_force and window.span.contains(now_ns):
                yield window.budget, window.remaining
        for key, posted in saved:
            budget = in_force.get(key.budget)
            if budget is not None and key.start_ns == self._span(budget, now_ns).start_ns:
                yield budget, budget.limit - posted

    def drawn_by(self, facts: Facts, now_ns: int) -> Draw:
        """The current windows of every budget whose scope matches, each once."""
        draw = self._drawn.get(facts.key)
        if draw is None or now_ns >= draw.until_ns:
            draw = self._find_drawn(facts, now_ns)
            if facts.key:
                if len(self._drawn) >= _DRAWN_MOST:
                    self._drawn.clear()
                self._drawn[facts.key] = draw
        return draw

    def _find_drawn(self, facts: Facts, now_ns: int) -> Draw:
        if len(self._windows) > max(_WINDOWS_MOST, self._swept_over):
            self._forget_untouched()
            self._swept_over = 2 * len(self._windows)  # those are in use: not before there are as many again
        counted = _counted_in(facts)
        windows = (
            self._window(budget, key, instance, now_ns)
            for budget, key in self._keyed
            if budget.unit in counted
            for instance in instances(budget.per, budget.scope, facts)
        )
        meters = [self._meters[each] for each in facts.sessions if each in self._meters]
        escrows = [self._escrows[each] for each in facts.sessions if each in self._escrows]
        return Draw(windows, meters, facts.own_sessions, escrows, counted=counted)

    def meter(self, session_id: str) -> Meter | None:
        """What a session has spent and what bounds it; None if it is not open here."""
        return self._meters.get(session_id)

    def open_session(self, session_id: str, bounds: Bounds, posted: Amounts = NOTHING) -> None:
        """Count for a session from now on. `posted`: what it has spent before the start."""
        self._meters[session_id] = Meter(session_id, bounds, posted)

    def bind_session(self, session_id: str, bounds: Bounds) -> None:
        """Give a session other bounds, calls in flight included."""
        meter = self._meters.get(session_id)
        if meter is None:
            return
        drawn = [hold for hold in self._holds.values() if meter in hold.draw.meters]
        before = meter.money
        meter.bind(bounds, [hold.amounts for hold in drawn])
        self._drawn.clear()
        for hold in drawn:
            hold.draw = hold.draw.again()
        money, own = meter.money, self._escrows.get(session_id)
        for escrow in self._escrows.values():
            if money is not None and before is None and meter in escrow.meters:
                escrow.put(money, min(escrow.room, max(0, money.remaining)))
        if own is not None and money is not None:
            own.narrow(money.budget.limit)

    def close_session(self, session_id: str) -> None:
        """It is over: nothing draws on it any more but calls that are still in flight."""
        self.release(session_id)
        self._meters.pop(session_id, None)

    def set_aside(
        self, session_id: str, share: int, draw: Draw, again: Container[WindowKey] | None = None
    ) -> Escrow | Window:
        """Set a share in nano-USD aside for an open session, on all windows of the sessions above it or on none: then
        the window that binds is returned. `draw`: what those draw on.

        `again`: after a start, on those of these rows of the ledger that are current, and as much as fits there.
        """
        short = draw.binding(Amounts(usd=share)) if again is None else None
        if short is not None:
            return short
        escrow = Escrow(self._meters[session_id], share, draw.meters, draw.escrows)
        windows = [window for window in draw.by_unit[0] if again is None or _row_of(window) in again]
        room = escrow.room
        parts = [(window, room if again is None else min(room, max(0, draw.left(window)))) for window in windows]
        for window, amount in parts:
            escrow.put(window, amount)
        pay_from(draw.escrows, parts)
        self._escrows[session_id] = escrow
        return escrow

    def aside(self, session_id: str) -> int | None:
        """What is set aside for a session now, in nano-USD; None: nothing ever was, or it is over."""
        escrow = self._escrows.get(session_id)
        return None if escrow is None else escrow.room

    @property
    def sharers(self) -> Sequence[str]:
        """The sessions that have a share set aside."""
        return tuple(self._escrows)

    def release(self, session_id: str) -> None:
        """The session is over: what is set aside for it is so no more."""
        escrow = self._escrows.pop(session_id, None)
        if escrow is not None:
            escrow.narrow(0)

    def hold(self, hold_id: str, draw: Draw, amounts: Amounts) -> Hold | Window:
        """Take a hold on all windows, or on none: then the window that binds is returned."""
        if hold_id in self._holds:
            raise SettledTwiceError(f"hold {hold_id} is already open")
        short = draw.binding(amounts)
        return short if short is not None else self._take(hold_id, draw, amounts)

    def put_back(self, hold_id: str, facts: Facts, keys: Iterable[WindowKey], amounts: Amounts, now_ns: int) -> Hold:
        """After a start, take a hold that was taken before it: on those of these rows of the ledger that are current.

        Whatever is left there: its money is spent already, or will be. `facts`: whose it is. Raises SettledTwiceError
        if it is open.
        """
        if hold_id in self._holds:
            raise SettledTwiceError(f"hold {hold_id} is already open")
        by_key = {key: budget for budget, key in self._keyed}
        windows: list[Window] = []
        meters: list[Meter] = []
        for key in keys:
            budget = by_key.get(key.budget)
            if key.budget == LEDGER_KEY and key.instance in self._meters:
                meters.append(self._meters[key.instance])
            elif budget is not None and key.start_ns == self._span(budget, now_ns).start_ns:
                windows.append(self._window(budget, key.budget, key.instance, now_ns))
        escrows = [self._escrows[each] for each in facts.sessions if each in self._escrows]
        draw = Draw(windows, meters, facts.own_sessions, escrows, counted=_counted_in(facts))
        return self._take(hold_id, draw, amounts)

    def _take(self, hold_id: str, draw: Draw, amounts: Amounts) -> Hold:
        hold = self._holds[hold_id] = Hold(hold_id, amounts, draw)
        for windows, amount in zip(draw.by_unit, astuple(amounts), strict=True):
            for window in windows:
                window.held += amount
        if draw.escrows:
            shift(draw.escrows, draw.by_unit[0], amounts.usd)
        return hold

    def extend(self, hold_id: str, more: Amounts) -> Hold | Window:
        """Hold so much more on all windows of an open hold, or on none: then the window that binds is returned.

        A window whose limit was lowered below what it holds gives nothing more. Raises SettledTwiceError if the hold
        is not open.
        """
        hold = self._open(hold_id)
        short = hold.draw.binding(more, growing=True)
        return short if short is not None else _held_more(hold, more)

    def shrink(self, hold_id: str, less: Amounts) -> Hold:
        """Give back so much of an open hold, on all its windows. Raises SettledTwiceError if it is not open.

        Raises ValueError for more than it holds: nothing was given back then.
        """
        hold = self._open(hold_id)
        if less.exceeds(hold.amounts):
            raise ValueError(f"hold {hold_id} has less than is given back")
        return _held_more(hold, NOTHING.less(less))

    def _open(self, hold_id: str) -> Hold:
        hold = self._holds.get(hold_id)
        if hold is None:
            raise SettledTwiceError(f"hold {hold_id} is not open")
        return hold

    def settle(self, hold_id: str, posted: Amounts, *, void: bool = False) -> Hold:
        """End a hold: give back what was held and post what is charged, in the windows it was taken in.

        `void`: it came to nothing, though it may count as a call: no use of a grant is spent on it.
        Raises SettledTwiceError if it is not open.
        """
        hold = self._holds.pop(hold_id, None)
        if hold is None:
            raise SettledTwiceError(f"hold {hold_id} is not open")
        for windows, held, charged in zip(hold.draw.by_unit, astuple(hold.amounts), astuple(posted), strict=True):
            for window in windows:
                window.held -= held
                window.posted += charged
        for meter in hold.draw.meters:
            meter.post(posted)
        if hold.draw.escrows:
            shift(hold.draw.escrows, hold.draw.by_unit[0], posted.usd - hold.amounts.usd)
        for meter in hold.draw.lift.meters if void else ():
            meter.adjust(NOTHING.less(posted))
        return hold

    def adjust(self, keys: Collection[WindowKey], delta: Amounts) -> None:
        """Post a correction of a settled call in the windows it was settled in."""
        units: dict[str, Unit] = {budget_key: budget.unit for budget, budget_key in self._keyed}
        posted: list[Window] = []
        for key in keys:
            meter = self._meters.get(key.instance) if key.budget == LEDGER_KEY else None
            if meter is not None:
                meter.adjust(delta)
                posted += meter.windows
            window = self._windows.get(key)
            if window is not None:
                window.posted += delta.of(window.budget.unit)
                posted.append(window)
            elif key.budget in units:
                self._saved[key] = self._saved.get(key, 0) + delta.of(units[key.budget])
        for_it = [each for each in reversed(self._escrows.values()) if each.meter.key in {*keys}]
        shift(for_it, [window for window in posted if window.budget.unit == "usd"], delta.usd)

    def replace(self, budgets: Iterable[Budget], posted: Mapping[WindowKey, int]) -> None:
        """Install new budgets at once. Windows of budgets that still count the same go on; others begin at `posted`.

        Called with every change of the registry: what facts with the same key draw on may change only here.
        """
        self._drawn.clear()
        self._budgets = tuple(budgets)
        self._keyed = tuple((budget, budget.key) for budget in self._budgets)
        by_key = {budget.key: budget for budget in self._budgets}
        for window in self._windows.values():
            window.budget = by_key.get(window.key.budget, window.budget)
        for hold in self._holds.values():
            hold.draw = hold.draw.again()
        for key, amount in posted.items():
            if key not in self._windows:
                self._saved[key] = amount

    def join(self, hold: Hold, facts: Facts, now_ns: int) -> Sequence[Window]:
        """Draw an open hold on windows of budgets that came after it; returns those."""
        already = {window.key for window in hold.windows}
        joined = [w for w in self.drawn_by(facts, now_ns).pooled if w.key not in already]
        for window in joined:
            window.held += hold.amounts.of(window.budget.unit)
        hold.draw = hold.draw.again(joined)
        return joined

    def forget_past(self, now_ns: int, sessions: Container[str]) -> None:
        """Drop windows that have ended, or whose session is not among those that go on; the store has their balances.

        One that an open hold draws on stays until the hold has ended.
        """
        over = {budget.key for budget in self._budgets if budget.per == "session"}
        self._forget(
            window
            for window in self._windows.values()
            if (window.span.end_ns is not None and not window.span.contains(now_ns))
            or (window.key.budget in over and window.key.instance not in sessions)
        )

    def _forget_untouched(self) -> None:
        """Drop windows that nothing was ever drawn on: callers choose the names of some instances (models)."""
        self._forget(
            window
            for window in self._windows.values()
            if window.posted == self._for_everybody(window.key) and not window.held
        )

    def _forget(self, windows: Iterable[Window]) -> None:
        touched = {id(window) for hold in self._holds.values() for window in hold.windows}
        touched |= {id(window) for escrow in self._escrows.values() for window in escrow.windows}
        forgotten = [window.key for window in windows if id(window) not in touched]
        if forgotten:
            self._drawn.clear()
        for key in forgotten:
            del self._windows[key]
            self._saved.pop(key, None)

    def _window(self, budget: Budget, budget_key: str, instance: str, now_ns: int) -> Window:
        span = self._span(budget, now_ns)
        key = WindowKey(budget_key, instance, span.start_ns)
        window = self._windows.get(key)
        if window is None:
            posted = self._saved.pop(key, 0) + self._for_everybody(key)
            window = self._windows[key] = Window(budget, key, span, posted)
        return window

    def _for_everybody(self, key: WindowKey) -> int:
        """What is posted for every instance of the budget in this window."""
        return self._saved.get(WindowKey(key.budget, EVERY, key.start_ns), 0)

    def _span(self, budget: Budget, now_ns: int) -> Span:
        cached = self._spans.get((budget.window, budget.time_zone))
        if cached is None or not cached.contains(now_ns):
            cached = span_at(budget.window, ZoneInfo(budget.time_zone), now_ns)
            self._spans[(budget.window, budget.time_zone)] = cached
        return cached


def _counted_in(facts: Facts) -> frozenset[Unit]:
    if "tool" in facts.call:
        return TOOL_UNITS
    return MODEL_UNITS if "model" in facts.call else ALL_UNITS


def _row_of(window: Window) -> WindowKey:
    """The row of the ledger that counts a window."""
    return ledger_key(window.key.instance) if is_session_bound(window.budget) else window.key


def _held_more(hold: Hold, more: Amounts) -> Hold:
    for windows, amount in zip(hold.draw.by_unit, astuple(more), strict=True):
        for window in windows:
            window.held += amount
    if hold.draw.escrows:
        shift(hold.draw.escrows, hold.draw.by_unit[0], more.usd)
    hold.amounts = hold.amounts.plus(more)
    return hold
