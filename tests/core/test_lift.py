"""Grants on the budget tree: whatever calls do by them, a budget comes to its limit and their amounts at the most."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from comptroller.core.budget.budget import Budget
from comptroller.core.budget.draw import Draw, Lift
from comptroller.core.budget.hold import NOTHING, Amounts
from comptroller.core.budget.meter import Meter
from comptroller.core.budget.scope import Facts
from comptroller.core.budget.tree import BudgetTree, Hold
from comptroller.core.work.bounds import Bounds

LIMIT, AMOUNT, USES = 100, 60, 3
BUDGETS = tuple(
    Budget(name, {"organization": ("acme",)}, "usd", LIMIT, "lifetime", "UTC", None, "hard", "caller")
    for name in ("lifted", "other")
)
FACTS = Facts(({"organization": "acme"},), {}, ("acme",))


def opened(limit: int = LIMIT) -> tuple[BudgetTree, Meter, Lift]:
    tree = BudgetTree(BUDGETS)
    tree.open_session("grt_1", Bounds(usd_nanos=AMOUNT, model_calls=USES))
    meter = tree.meter("grt_1")
    assert meter is not None
    return tree, meter, Lift((meter,), frozenset({"lifted"}))


def test_a_lifted_budget_counts_and_has_no_say() -> None:
    tree, meter, lift = opened()
    plain = tree.drawn_by(FACTS, 1)
    draw = plain.lifted(lift)
    assert {w.budget.name for w in draw.hard["usd"]} == {"other", "session:usd"}
    assert len(plain.hard["usd"]) == 2, "what others draw on is as it was"
    assert draw.again().lift is lift
    assert draw.again().meters == (meter,)
    assert draw.lifted(Lift()).meters == ()
    hold = tree.hold("a", draw, Amounts(60, 0, 1))
    assert isinstance(hold, Hold)
    assert {w.budget.name: w.held for w in plain.windows} == {"lifted": 60, "other": 60}
    tree.settle("a", Amounts(50, 0, 1))
    assert (meter.posted.usd, meter.posted.calls) == (50, 1)


def test_what_is_left_of_a_grant_is_nothing_that_policies_ask_for() -> None:
    tree, meter, lift = opened()
    meter.adjust(Amounts(usd=59))
    assert tree.drawn_by(FACTS, 1).lifted(lift).left_bp() == 10_000


def test_a_void_attempt_is_no_use() -> None:
    tree, meter, lift = opened()
    draw = tree.drawn_by(FACTS, 1).lifted(lift)
    tree.hold("a", draw, Amounts(10, 0, 1))
    tree.settle("a", Amounts(0, 0, 1), void=True)
    assert meter.posted == NOTHING
    assert [window.remaining for window in meter.windows] == [AMOUNT, USES]


class Grants(RuleBasedStateMachine):
    """Calls with and without the grant, at once, that end in any way."""

    def __init__(self) -> None:
        super().__init__()
        self.tree, self.meter, self.lift = opened()
        self.count = 0

    def _draw(self, *, lifted: bool) -> Draw:
        draw = self.tree.drawn_by(FACTS, 1)
        return draw.lifted(self.lift) if lifted else draw

    @rule(usd=st.integers(0, 50), lifted=st.booleans())
    def call(self, usd: int, lifted: bool) -> None:
        self.count += 1
        name = str(self.count)
        self.tree.hold(name, self._draw(lifted=lifted), Amounts(usd, 0, 1))

    @rule(data=st.data(), share=st.integers(0, 100), void=st.booleans())
    def end(self, data: st.DataObject, share: int, void: bool) -> None:
        if not self.tree.holds:
            return
        name = data.draw(st.sampled_from(sorted(self.tree.holds)))
        held = self.tree.holds[name].amounts.usd
        posted = Amounts(0 if void else held * share // 100, 0, 1)
        self.tree.settle(name, posted, void=void)

    @rule(name=st.just("grt_1"))
    def revoke(self, name: str) -> None:
        """Calls in flight go on; the same is given again, with what was spent."""
        posted = self.meter.posted
        if any(self.meter in hold.draw.meters for hold in self.tree.holds.values()):
            return
        self.tree.close_session(name)
        self.tree.open_session(name, Bounds(usd_nanos=AMOUNT, model_calls=USES), posted)
        found = self.tree.meter(name)
        assert found is not None
        self.meter, self.lift = found, Lift((found,), frozenset({"lifted"}))

    @invariant()
    def nothing_is_overdrawn(self) -> None:
        taken = {w.budget.name: w.posted + w.held for w in self.tree.windows()}
        assert taken.get("lifted", 0) <= LIMIT + AMOUNT
        assert taken.get("other", 0) <= LIMIT, "what the grant does not name has its say"
        usd, calls = self.meter.windows
        assert usd.posted + usd.held <= AMOUNT
        assert calls.posted + calls.held <= USES
        assert calls.held == sum(hold.amounts.calls for hold in self.tree.holds.values() if hold.draw.lift.meters)


TestGrants = Grants.TestCase
