"""What is set aside for a session is there when it wants it, nobody else can spend it, and it all comes back."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from comptroller.core.budget.budget import Budget
from comptroller.core.budget.escrow import Escrow
from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.budget.scope import Facts
from comptroller.core.budget.tree import BudgetTree, Hold, Window
from comptroller.core.work.bounds import Bounds

NOW_NS = 1_000
TEAMS = ("red", "blue")


def budget(name: str, limit: int, per: Any = None, **scope: str) -> Budget:
    matching: Any = {key: (value,) for key, value in scope.items()}
    return Budget(name, matching, "usd", limit, "lifetime", "UTC", per, "hard", "caller")


BUDGETS = [
    budget("all", 250, organization="acme"),
    budget("red", 120, team="red"),
    budget("each", 90, "team", organization="acme"),
    budget("large", 70, organization="acme", model="large"),
]


class Shares(RuleBasedStateMachine):
    """Sessions of two teams below one another, some with a share; what each spent is added up by hand."""

    sessions = Bundle("sessions")
    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.tree = BudgetTree(BUDGETS)
        self.parent: dict[str, str | None] = {}
        self.team: dict[str, str] = {}
        self.usd: dict[str, int] = {}  # its bound
        self.share: dict[str, int] = {}  # of those that have one
        self.rows: dict[str, tuple[WindowKey, ...]] = {}  # that a share was set aside on
        self.over: set[str] = set()
        self.narrowed: set[str] = set()
        self.overran = False
        self.open_calls: dict[str, tuple[list[str], int]] = {}
        self.spent: list[tuple[list[str], int, str | None]] = []
        self.number = 0

    @initialize(target=sessions)
    def open_tops(self) -> object:
        return multiple(self._open(None, "red", 200), self._open(None, "blue", 100))

    @rule(target=sessions, parent=sessions, team=st.sampled_from(TEAMS), usd=st.integers(0, 60), reserve=st.booleans())
    def open_below(self, parent: str, team: str, usd: int, reserve: bool) -> object:
        if self._is_over(parent) or len(self._lineage(parent)) > 4:
            return multiple()
        usd = min(usd, self.usd[parent])
        draw = self.tree.drawn_by(self._facts(parent), NOW_NS)
        name = self._open(parent, team, usd)
        if not reserve:
            return name
        before = self._counts()
        fits = all(draw.left(window) >= usd for window in draw.windows)
        found = self.tree.set_aside(name, usd, draw)
        assert isinstance(found, Escrow) is fits, "on all windows or on none"
        if isinstance(found, Window):
            assert self._counts() == before
            self.over.add(name)
            self.tree.close_session(name)
            return multiple()
        self.share[name], self.rows[name] = usd, draw.keys
        return name

    @rule(target=calls, session=sessions, usd=st.integers(0, 60), model=st.sampled_from(["small", "large"]))
    def call(self, session: str, usd: int, model: str) -> object:
        if self._is_over(session):
            return multiple()
        draw = self.tree.drawn_by(self._facts(session, model), NOW_NS)
        there = not self.overran and model == "small" and self._must_fit(session, usd)
        self.number += 1
        name = f"call{self.number}"
        held = isinstance(self.tree.hold(name, draw, Amounts(usd, 0, 1)), Hold)
        assert held or not there, "what is set aside above is there"
        if not held:
            return multiple()
        self.open_calls[name] = (self._lineage(session), usd)
        return name

    @rule(call=consumes(calls), share=st.integers(0, 103))
    def settle(self, call: str, share: int) -> None:
        """A provider that bills more than the bound breaks limits, but not the count of what is held."""
        if call in self.open_calls:
            lineage, held = self.open_calls.pop(call)
            posted = held * share // 100
            self.overran = self.overran or posted > held
            self.tree.settle(call, Amounts(posted, 0, 1))
            self.spent.append((lineage, posted, None))

    @rule(call=calls, usd=st.integers(-30, 30))
    def hold_more_or_less(self, call: str, usd: int) -> None:
        if call not in self.open_calls:
            return
        lineage, held = self.open_calls[call]
        usd = max(usd, -held)
        if usd < 0:
            self.tree.shrink(call, Amounts(usd=-usd))
        elif not isinstance(self.tree.extend(call, Amounts(usd=usd)), Hold):
            usd = 0
        self.open_calls[call] = (lineage, held + usd)

    @rule(session=sessions, usd=st.integers(0, 60))
    def narrow(self, session: str, usd: int) -> None:
        """Only what has a share of its own: whoever is narrowed below what it has promised breaks its word."""
        if session in self.share and not self._is_over(session) and not self._below(session):
            self.usd[session] = min(usd, self.usd[session])
            self.share[session] = min(self.share[session], usd)
            self.narrowed.add(session)
            self.tree.bind_session(session, Bounds(usd_nanos=self.usd[session]))

    @rule(session=sessions)
    def renew(self, session: str) -> None:
        """More may be spent, and no more of it is set aside."""
        if session in self.share and not self._is_over(session):
            self.usd[session] += 10
            self.tree.bind_session(session, Bounds(usd_nanos=self.usd[session]))

    @rule(session=sessions, cheaper=st.integers(0, 30))
    def correct(self, session: str, cheaper: int) -> None:
        """The dearest call of a session turns out to have cost less."""
        own = [n for n, (lineage, _, _) in enumerate(self.spent) if lineage[0] == session]
        if own:
            place = max(own, key=lambda n: self.spent[n][1])
            lineage, posted, _ = self.spent[place]
            delta = -min(cheaper, posted)
            draw = self.tree.drawn_by(self._facts(session), NOW_NS)
            self.tree.adjust(draw.keys, Amounts(usd=delta))
            self.spent[place] = (lineage, posted + delta, None)

    @rule(session=sessions)
    def close(self, session: str) -> None:
        for each in [session, *self._below(session)]:
            if each not in self.over:
                self.over.add(each)
                self.tree.release(each)

    @rule()
    def start_again(self) -> None:
        """Killed and started: what is open is posted in full, and shares stand as they stood."""
        for call, (lineage, held) in self.open_calls.items():
            self.tree.settle(call, Amounts(held, 0, 1))
            self.spent.append((lineage, held, None))
        self.open_calls.clear()
        before = self._counts()
        ledger = {name: meter.posted for name in self.parent if (meter := self.tree.meter(name)) is not None}
        self.tree = BudgetTree(BUDGETS, {w.key: w.posted for w in self.tree.windows()})
        for name, parent in self.parent.items():
            if name in self.over:
                continue
            self.tree.open_session(name, Bounds(usd_nanos=self.usd[name]), ledger[name])
            if name in self.share and parent is not None:
                draw = self.tree.drawn_by(self._facts(parent), NOW_NS)
                self.tree.set_aside(name, self.share[name], draw, {*self.rows[name]})
        after = self._counts()
        assert after == {key: value for key, value in before.items() if key in after}

    @invariant()
    def nothing_is_over_its_limit(self) -> None:
        for window in self._windows():
            excused = self.overran or window.key.instance in self.narrowed
            assert excused or window.posted + window.held <= window.budget.limit
            assert 0 <= window.aside <= window.held

    @invariant()
    def what_is_held_is_calls_and_what_shares_have_left(self) -> None:
        """Of a share inside another, the one outside has so much less."""
        for name in self.parent:
            meter = self.tree.meter(name)
            if name in self.over or meter is None or meter.money is None:
                continue
            calls = sum(held for lineage, held in self.open_calls.values() if name in lineage)
            below = [each for each in self._below(name) if each in self.share and each not in self.over]
            aside = sum(self._left(each) for each in below)
            assert (meter.money.held, meter.money.aside) == (calls + aside, aside)
            assert self.tree.aside(name) == (self._left(name) if name in self.share else None)

    @invariant()
    def everything_comes_back(self) -> None:
        if not self.open_calls and all(each in self.over for each in self.share):
            assert all(window.held == window.aside == 0 for window in self._windows())

    def _left(self, name: str) -> int:
        """What a share has left, added up here."""
        spent = sum(posted for lineage, posted, _ in self.spent if name in lineage)
        held = sum(amount for lineage, amount in self.open_calls.values() if name in lineage)
        inside = [each for each in self._below(name) if each in self.share and each not in self.over]
        return max(0, min(self.share[name], self.usd[name]) - spent - held - sum(map(self._left, inside)))

    def _must_fit(self, session: str, usd: int) -> bool:
        """Whether a share above it promises this, as far as its own chain down from there allows."""
        lineage = self._lineage(session)
        promised = next((n for n, each in enumerate(lineage) if each in self.share), None)
        if promised is None or usd > self._left(lineage[promised]):  # whoever is renewed has no more promised
            return False
        down = lineage[: promised + 1]
        meters = [self.tree.meter(each) for each in down]
        own = [meter.money for meter in meters if meter is not None and meter.money is not None]
        teams = {self.team[each] for each in down} - {self.team[each] for each in lineage[promised + 1 :]}
        pooled = [w for w in self.tree.windows() if w.key.instance in teams or w.budget.name in teams]
        return all(window.remaining >= usd for window in (*own, *pooled))

    def _counts(self) -> dict[WindowKey, tuple[int, int, int]]:
        return {w.key: (w.posted, w.held, w.aside) for w in self._windows() if (w.posted, w.held) != (0, 0)}

    def _windows(self) -> list[Window]:
        meters = [self.tree.meter(name) for name in self.parent if name not in self.over]
        return [*self.tree.windows(), *(window for meter in meters if meter is not None for window in meter.windows)]

    def _open(self, parent: str | None, team: str, usd: int) -> str:
        self.number += 1
        name = f"s{self.number}"
        self.parent[name], self.team[name], self.usd[name] = parent, team, usd
        self.tree.open_session(name, Bounds(usd_nanos=usd))
        return name

    def _lineage(self, session: str) -> list[str]:
        line = [session]
        while (above := self.parent[line[-1]]) is not None:
            line.append(above)
        return line

    def _below(self, session: str) -> list[str]:
        return [each for each in self.parent if each != session and session in self._lineage(each)]

    def _is_over(self, session: str) -> bool:
        return any(each in self.over for each in self._lineage(session))

    def _facts(self, session: str, model: str | None = None) -> Facts:
        chain: Any = tuple(
            {"organization": "acme", "team": self.team[each], "session": each} for each in self._lineage(session)
        )
        return Facts(chain, {} if model is None else {"model": model})


TestShares = Shares.TestCase
TestShares.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
