"""No sequence of mints, spends, narrowings and closes lets sessions together outspend one above them."""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from comptroller.core.budget.hold import NOTHING, Amounts
from comptroller.core.budget.scope import Facts
from comptroller.core.budget.tree import BudgetTree, Hold
from comptroller.core.refusal import Refusal
from comptroller.core.work.bounds import Bounds, narrowed, widened
from comptroller.core.work.delegation import child_bounds, may_open_below
from comptroller.core.work.session import Session

NOW_NS = 1_000
FAR_NS = 10**18
ASKED = st.builds(
    Bounds,
    usd_nanos=st.none() | st.integers(0, 120),
    model_calls=st.none() | st.integers(0, 6),
    depth=st.none() | st.integers(0, 3),
    fan_out=st.none() | st.integers(0, 3),
)


class Runs(RuleBasedStateMachine):
    """A tree of sessions, and what we saw them spend, added up by hand."""

    sessions = Bundle("sessions")
    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.tree = BudgetTree([])
        self.known: dict[str, Session] = {}
        self.had: dict[str, Bounds] = {}  # the widest it ever had
        self.open_calls: dict[str, tuple[list[str], Amounts]] = {}
        self.spent: list[tuple[list[str], Amounts]] = []
        self.number = 0

    @initialize(target=sessions, bounds=ASKED)
    def open_root(self, bounds: Bounds) -> str:
        ceiling = Bounds(usd_nanos=100, model_calls=5, depth=3, fan_out=3)
        return self._open(Session("root", "agent/a", "c", NOW_NS, FAR_NS, "test", bounds=narrowed(ceiling, bounds)))

    @rule(target=sessions, parent=sessions, asked=ASKED)
    def open_child(self, parent: str, asked: Bounds) -> object:
        above = self.known[parent]
        children = sum(each.parent == parent and each.goes_on(NOW_NS) for each in self.known.values())
        if may_open_below(self._lineage(parent), None, children, NOW_NS) is not None:
            return multiple()
        bounds = child_bounds(self._lineage(parent), Bounds(usd_nanos=1_000), asked)
        if isinstance(bounds, Refusal):
            return multiple()
        assert widened(above.bounds, bounds) == ()
        self.number += 1
        child = Session(f"s{self.number}", "agent/a", "c", NOW_NS, FAR_NS, "test", parent=parent, root="root")
        return self._open(msgspec.structs.replace(child, depth=above.depth + 1, bounds=bounds))

    @rule(target=calls, session=sessions, usd=st.integers(0, 60))
    def call(self, session: str, usd: int) -> object:
        lineage = [each.id for each in self._lineage(session)]
        if not all(self.known[each].goes_on(NOW_NS) for each in lineage):
            return multiple()  # refused before anything is held
        self.number += 1
        name, amounts = f"call{self.number}", Amounts(usd, 0, 1)
        if not isinstance(self.tree.hold(name, self.tree.drawn_by(self._facts(lineage), NOW_NS), amounts), Hold):
            return multiple()
        self.open_calls[name] = (lineage, amounts)
        for each in lineage:
            spent, bounds = self._of(each), self.known[each].bounds
            assert bounds.usd_nanos is None or spent.usd <= bounds.usd_nanos
            assert bounds.model_calls is None or spent.calls <= bounds.model_calls
        return name

    @rule(call=consumes(calls), share=st.integers(0, 100))
    def settle(self, call: str, share: int) -> None:
        if call not in self.open_calls:
            return  # a start has ended it
        lineage, held = self.open_calls.pop(call)
        posted = Amounts(held.usd * share // 100, 0, 1)
        self.tree.settle(call, posted)
        self.spent.append((lineage, posted))

    @rule(session=sessions, asked=ASKED)
    def narrow(self, session: str, asked: Bounds) -> None:
        known = self.known[session]
        bounds = narrowed(known.bounds, asked)
        self.known[session] = msgspec.structs.replace(known, bounds=bounds)
        self.tree.bind_session(session, bounds)

    @rule(session=sessions)
    def close(self, session: str) -> None:
        for each in list(self.known.values()):
            if any(above.id == session for above in self._lineage(each.id)):
                self.known[each.id] = msgspec.structs.replace(each, ended_at_ns=NOW_NS)

    @rule()
    def start_again(self) -> None:
        """Killed and started: what is open is posted in full, and the ledger says what was posted."""
        for call, (lineage, held) in self.open_calls.items():
            self.tree.settle(call, held)
            self.spent.append((lineage, held))
        ledger = {name: meter.posted for name in self.known if (meter := self.tree.meter(name)) is not None}
        self.tree = BudgetTree([])
        for name, session in self.known.items():
            self.tree.open_session(name, session.bounds, ledger[name])
        self.open_calls.clear()

    @invariant()
    def nobody_outspends_one_above(self) -> None:
        for name, bounds in self.had.items():
            spent, meter = self._of(name), self.tree.meter(name)
            assert bounds.usd_nanos is None or spent.usd <= bounds.usd_nanos
            assert bounds.model_calls is None or spent.calls <= bounds.model_calls
            assert meter is not None
            posted = sum(amounts.usd for lineage, amounts in self.spent if name in lineage)
            assert meter.posted.usd == posted

    def _open(self, session: Session) -> str:
        self.known[session.id] = session
        self.had[session.id] = session.bounds
        self.tree.open_session(session.id, session.bounds)
        return session.id

    def _lineage(self, session: str) -> list[Session]:
        line = [self.known[session]]
        while (parent := line[-1].parent) is not None:
            line.append(self.known[parent])
        return line

    def _facts(self, lineage: list[str]) -> Facts:
        return Facts(tuple({"session": each} for each in lineage), {}, tuple(lineage))  # type: ignore[arg-type]

    def _of(self, session: str) -> Amounts:
        """All that it and those below it have spent or hold."""
        total = NOTHING
        for lineage, amounts in (*self.spent, *self.open_calls.values()):
            if session in lineage:
                total = total.plus(amounts)
        return total


TestRuns = Runs.TestCase
TestRuns.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
