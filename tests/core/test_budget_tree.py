"""The budget tree under every order of holds, ends, time and registry changes (hypothesis state machine)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from comptroller.core.budget import tree as tree_module
from comptroller.core.budget.budget import Budget, Mode
from comptroller.core.budget.draw import UNITS, Window
from comptroller.core.budget.hold import EVERY, Amounts, WindowKey
from comptroller.core.budget.scope import Facts
from comptroller.core.budget.tree import BudgetTree, Hold, SettledTwiceError
from comptroller.core.instant import NANOS_PER_SECOND

HOUR = 3600 * NANOS_PER_SECOND
T0 = 1_790_000_000 * NANOS_PER_SECOND


def a_budget(name: str, **given: object) -> Budget:
    fields: dict[str, object] = {
        "name": name, "scope": {"organization": ("acme",)}, "unit": "usd", "limit": 1000, "window": "hour",
        "time_zone": "UTC", "per": None, "mode": "hard", "visible": "caller", **given,
    }  # fmt: skip
    return Budget(**fields)  # type: ignore[arg-type]


def facts(identity: str = "agent/a", team: str = "red", model: str = "large", session: str = "ses_1") -> Facts:
    node = {"organization": "acme", "team": team, "identity": identity, "session": session}
    return Facts((node,), {"model": model, "provider": "p"}, (identity, team, model, session))  # type: ignore[arg-type]


def test_a_call_draws_on_every_matching_budget_or_on_none() -> None:
    tree = BudgetTree([a_budget("all", limit=1000), a_budget("red", scope={"team": ("red",)}, limit=100)])
    draw = tree.drawn_by(facts(), T0)
    refused = tree.hold("h1", draw, Amounts(usd=101))
    assert isinstance(refused, Window)
    assert refused.budget.name == "red"
    assert [w.held for w in draw.windows] == [0, 0]
    assert isinstance(tree.hold("h2", draw, Amounts(usd=100)), Hold)
    assert [w.held for w in draw.windows] == [100, 100]


def test_what_is_posted_for_everybody_is_in_every_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a flood of made-up names does not fill the memory with windows that only have that."""
    each = a_budget("each", per="model", limit=100)
    start_ns = BudgetTree([each]).drawn_by(facts(), T0).windows[0].key.start_ns
    saved = {WindowKey(each.key, EVERY, start_ns): 60, WindowKey(each.key, "large", start_ns): 10}
    tree = BudgetTree([each], saved)
    (large,) = tree.drawn_by(facts(), T0).windows
    assert (large.posted, large.remaining) == (70, 30)
    monkeypatch.setattr(tree_module, "_WINDOWS_MOST", 5)
    for number in range(50):
        (window,) = tree.drawn_by(facts(model=f"made-up-{number}"), T0).windows
        assert window.posted == 60
        assert len(tree.windows()) <= 7
    assert tree.drawn_by(facts(), T0).windows == (large,)


@pytest.mark.parametrize(
    ("scope", "matches"),
    [
        ({"team": ("red",)}, True),
        ({"team": ("red", "blue")}, True),
        ({"team": ("blue",)}, False),
        ({"team": ("red",), "model": ("large",)}, True),
        ({"team": ("red",), "model": ("small",)}, False),
        ({"identity": ("agent/a",), "team": ("red",)}, True),
        ({"model_class": ("frontier",)}, False),
    ],
)
def test_scopes(scope: dict[str, tuple[str, ...]], matches: bool) -> None:
    tree = BudgetTree([a_budget("b", scope=scope)])
    assert bool(tree.drawn_by(facts(), T0).windows) is matches


def test_all_attributes_of_a_scope_must_match_at_one_node_and_a_budget_is_drawn_once() -> None:
    parent = {"organization": "acme", "team": "red", "identity": "agent/parent"}
    child = {"organization": "acme", "team": "blue", "identity": "agent/child"}
    chain = Facts((child, parent), {})  # type: ignore[arg-type]
    mixed = a_budget("mixed", scope={"team": ("red",), "identity": ("agent/child",)})
    each = a_budget("each", per="identity")
    tree = BudgetTree([a_budget("all"), mixed, each])
    assert [(w.budget.name, w.key.instance) for w in tree.drawn_by(chain, T0).windows] == [
        ("all", ""),
        ("each", "agent/child"),
        ("each", "agent/parent"),
    ]


def test_a_hold_grows_on_every_window_or_on_none_and_gives_back_on_all() -> None:
    tree = BudgetTree([a_budget("all", limit=1000), a_budget("red", scope={"team": ("red",)}, limit=100)])
    draw = tree.drawn_by(facts(), T0)
    tree.hold("h", draw, Amounts(usd=60))
    refused = tree.extend("h", Amounts(usd=41))
    assert isinstance(refused, Window)
    assert (refused.budget.name, [w.held for w in draw.windows]) == ("red", [60, 60])
    assert isinstance(tree.extend("h", Amounts(usd=40)), Hold)
    assert [w.held for w in draw.windows] == [100, 100]
    tree.shrink("h", Amounts(usd=90))
    assert [w.held for w in draw.windows] == [10, 10]
    tree.settle("h", Amounts(usd=7))
    assert [(w.held, w.posted) for w in draw.windows] == [(0, 7), (0, 7)]


def test_an_overdrawn_window_has_no_say_in_a_unit_that_does_not_grow() -> None:
    tree = BudgetTree([a_budget("all"), a_budget("calls", unit="calls", limit=5)])
    tree.hold("h", tree.drawn_by(facts(), T0), Amounts(usd=10, calls=1))
    tree.replace([a_budget("all"), a_budget("calls", unit="calls", limit=0)], {})
    assert isinstance(tree.extend("h", Amounts(usd=10)), Hold)
    tree.replace([a_budget("all", limit=19), a_budget("calls", unit="calls", limit=0)], {})
    assert isinstance(tree.extend("h", Amounts(usd=1)), Window)


def test_a_call_settles_in_the_window_it_was_reserved_in() -> None:
    tree = BudgetTree([a_budget("b")])
    before = tree.drawn_by(facts(), T0)
    tree.hold("h", before, Amounts(usd=400))
    after = tree.drawn_by(facts(), T0 + HOUR)
    assert after.windows[0].remaining == 1000
    tree.settle("h", Amounts(usd=300))
    assert (before.windows[0].posted, after.windows[0].posted) == (300, 0)


def test_a_registry_change_is_seen_by_facts_that_were_seen_before() -> None:
    tree = BudgetTree([a_budget("b")])
    assert [w.budget.name for w in tree.drawn_by(facts(), T0).windows] == ["b"]
    tree.replace([a_budget("b", limit=7), a_budget("c")], {})
    assert [(w.budget.name, w.budget.limit) for w in tree.drawn_by(facts(), T0).windows] == [("b", 7), ("c", 1000)]


def test_a_registry_change_is_seen_by_open_holds() -> None:
    """What was sorted when the hold was taken is sorted anew."""
    tree = BudgetTree([a_budget("b"), a_budget("s", mode="shadow")])
    hold = tree.hold("h", tree.drawn_by(facts(), T0), Amounts(usd=5))
    assert isinstance(hold, Hold)
    assert [w.budget.name for w in hold.draw.shown] == ["b"]
    tree.replace([a_budget("b", visible="operator"), a_budget("s")], {})
    assert [w.budget.name for w in hold.draw.shown] == ["s"]
    assert [w.budget.name for w in hold.draw.shadow] == []


def test_a_lowered_limit_admits_nothing_new_and_an_overrun_is_recorded() -> None:
    tree = BudgetTree([a_budget("b", limit=1000)])
    tree.hold("h", tree.drawn_by(facts(), T0), Amounts(usd=500))
    tree.settle("h", Amounts(usd=700))  # billed above the hold
    tree.replace([a_budget("b", limit=600)], {})
    draw = tree.drawn_by(facts(), T0)
    assert draw.windows[0].remaining == -100
    assert isinstance(tree.hold("h2", draw, Amounts(usd=1)), Window)


def test_shadow_budgets_count_and_do_not_refuse() -> None:
    tree = BudgetTree([a_budget("s", mode="shadow", limit=10)])
    draw = tree.drawn_by(facts(), T0)
    assert isinstance(tree.hold("h", draw, Amounts(usd=500)), Hold)
    assert draw.windows[0].remaining == -490


def test_a_changed_scope_is_another_count_and_a_changed_limit_is_not() -> None:
    first = a_budget("b")
    assert a_budget("b", limit=5, mode="shadow").key == first.key
    assert a_budget("b", scope={"team": ("red",)}).key != first.key
    assert a_budget("b", window="day").key != first.key


class TreeMachine(RuleBasedStateMachine):
    """Against a model that keeps every transfer and adds them up from scratch."""

    open_holds: Bundle[str] = Bundle("open_holds")

    @initialize(limits=st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(0, 5000), st.integers(0, 9)))
    def start(self, limits: tuple[int, int, int, int]) -> None:
        self.budgets = [
            a_budget("all", limit=limits[0], window="lifetime"),
            a_budget("each", limit=limits[1], per="identity"),
            a_budget("tokens", unit="tokens", limit=limits[2], scope={"team": ("red",)}, window="day"),
            a_budget("calls", unit="calls", limit=limits[3]),
        ]
        self.tree = BudgetTree(self.budgets)
        self.now = T0
        self.count = 0
        self.held: dict[str, tuple[Amounts, list[tuple[WindowKey, str]]]] = {}
        self.posted: list[tuple[Amounts, list[tuple[WindowKey, str]]]] = []
        self.overrun = False
        self.unbound = False

    @rule(
        target=open_holds,
        who=st.sampled_from(["agent/a", "agent/b"]),
        team=st.sampled_from(["red", "blue"]),
        usd=st.integers(0, 200),
        tokens=st.integers(0, 2000),
    )
    def hold(self, who: str, team: str, usd: int, tokens: int) -> str:
        self.count += 1
        name, amounts = f"h{self.count}", Amounts(usd, tokens, 1)
        draw = self.tree.drawn_by(facts(who, team), self.now)
        binding = [w for w in draw.windows if w.budget.mode == "hard"]
        fits = all(amounts.of(w.budget.unit) <= w.remaining for w in binding)
        outcome = self.tree.hold(name, draw, amounts)
        assert isinstance(outcome, Hold) is fits
        if fits:
            self.held[name] = (amounts, [(w.key, w.budget.unit) for w in draw.windows])
        return name

    @rule(name=open_holds, usd=st.integers(0, 200), tokens=st.integers(0, 2000))
    def extend(self, name: str, usd: int, tokens: int) -> None:
        more = Amounts(usd, tokens)
        if name not in self.held:
            with pytest.raises(SettledTwiceError):
                self.tree.extend(name, more)
            return
        amounts, keys = self.held[name]
        grows = [w for w in self.tree.holds[name].windows if w.budget.mode == "hard" and more.of(w.budget.unit)]
        fits = all(more.of(w.budget.unit) <= w.remaining for w in grows)
        outcome = self.tree.extend(name, more)
        assert isinstance(outcome, Hold) is fits
        if isinstance(outcome, Hold):
            self.held[name] = (amounts.plus(more), keys)
            assert outcome.amounts == self.held[name][0]

    @rule(name=open_holds, usd=st.floats(0, 1.2), tokens=st.floats(0, 1.2))
    def shrink(self, name: str, usd: float, tokens: float) -> None:
        if name not in self.held:
            with pytest.raises(SettledTwiceError):
                self.tree.shrink(name, Amounts())
            return
        amounts, keys = self.held[name]
        less = Amounts(int(amounts.usd * usd), int(amounts.tokens * tokens))
        if less.exceeds(amounts):
            with pytest.raises(ValueError, match=name):
                self.tree.shrink(name, less)
            return
        assert self.tree.shrink(name, less).amounts == amounts.less(less)
        self.held[name] = (amounts.less(less), keys)

    @rule(name=consumes(open_holds), part=st.floats(0, 1), over=st.booleans())
    def settle(self, name: str, part: float, over: bool) -> None:
        if name not in self.held:
            with pytest.raises(SettledTwiceError):
                self.tree.settle(name, Amounts())
            return
        amounts, keys = self.held.pop(name)
        charge = Amounts(int(amounts.usd * part), int(amounts.tokens * part), 1)
        if over:
            charge, self.overrun = Amounts(amounts.usd + 7, amounts.tokens + 7, 1), True
        self.tree.settle(name, charge)
        self.posted.append((charge, keys))
        with pytest.raises(SettledTwiceError):
            self.tree.settle(name, charge)

    @rule(seconds=st.integers(0, 100_000))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * NANOS_PER_SECOND

    @rule()
    def what_is_past_is_forgotten(self) -> None:
        self.tree.forget_past(self.now, ())

    @rule(mode=st.sampled_from(["hard", "shadow"]), chosen=st.integers(0, 10))
    def a_budget_binds_or_does_not(self, mode: Mode, chosen: int) -> None:
        self.unbound = self.unbound or mode == "shadow"
        place = chosen % len(self.budgets)
        self.budgets[place] = msgspec.structs.replace(self.budgets[place], mode=mode)
        self.tree.replace(self.budgets, {})

    @invariant()
    def every_balance_is_the_sum_of_its_transfers(self) -> None:
        for window in self.tree.windows():
            unit = window.budget.unit
            assert window.held == sum(a.of(unit) for a, keys in self.held.values() if (window.key, unit) in keys)
            assert window.posted == sum(a.of(unit) for a, keys in self.posted if (window.key, unit) in keys)

    @invariant()
    def nothing_is_overdrawn_but_by_an_overrun(self) -> None:
        for window in self.tree.windows():
            free = self.overrun or self.unbound
            assert free or window.posted + window.held <= window.budget.limit

    @invariant()
    def open_holds_are_the_ones_we_know(self) -> None:
        assert set(self.tree.holds) == set(self.held)


TestTreeMachine = TreeMachine.TestCase
TestTreeMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_correction_reaches_a_window_that_is_not_in_memory() -> None:
    tree = BudgetTree([a_budget("b", limit=1000)])
    (window,) = BudgetTree([a_budget("b")]).drawn_by(facts(), T0).windows
    tree.adjust([window.key], Amounts(usd=600))
    assert tree.drawn_by(facts(), T0).windows[0].remaining == 400


def test_names_that_callers_make_up_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "_WINDOWS_MOST", 10)
    tree = BudgetTree([a_budget("each", per="model")])
    kept = tree.drawn_by(facts(model="kept"), T0)
    tree.hold("h", kept, Amounts(usd=5))
    for number in range(100):
        tree.drawn_by(facts(model=f"made-up-{number}"), T0)
    assert len(tree.windows()) <= 12
    assert tree.drawn_by(facts(model="kept"), T0).windows[0].held == 5


def test_more_windows_in_use_than_expected_are_not_looked_through_in_every_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tree_module, "_WINDOWS_MOST", 10)
    tree = BudgetTree([a_budget("each", per="identity")])
    for number in range(30):
        draw = tree.drawn_by(facts(f"agent/{number}"), T0)
        tree.hold(f"h{number}", draw, Amounts(usd=5))
        tree.settle(f"h{number}", Amounts(usd=5))
    known = tree.drawn_by(facts("agent/0"), T0)
    tree.drawn_by(facts("agent/new"), T0)
    assert tree.drawn_by(facts("agent/0"), T0) is known


def test_the_windows_of_a_session_that_is_over_are_forgotten_but_not_under_an_open_hold() -> None:
    tree = BudgetTree([a_budget("each", per="session"), a_budget("pool")])
    for session in ("over", "held", "goes-on"):
        tree.hold(session, tree.drawn_by(facts(session=session), T0), Amounts(usd=5))
    for session in ("over", "goes-on"):
        tree.settle(session, Amounts(usd=3))
    tree.forget_past(T0, {"goes-on"})
    assert {w.key.instance for w in tree.windows() if w.budget.name == "each"} == {"held", "goes-on"}
    tree.settle("held", Amounts(usd=2))
    tree.forget_past(T0, {"goes-on"})
    assert {w.key.instance: w.posted for w in tree.windows()} == {"goes-on": 3, "": 8}


def test_amounts_are_in_the_order_of_the_units() -> None:
    """The tree adds them up by position."""
    assert Amounts.__struct_fields__ == UNITS
