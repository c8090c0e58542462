"""Sessions' bounds: what is narrower, and as windows of the budget tree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.budget.budget import Budget
from comptroller.core.budget.draw import Draw
from comptroller.core.budget.hold import Amounts
from comptroller.core.budget.meter import ledger_key
from comptroller.core.budget.scope import Facts
from comptroller.core.budget.tree import BudgetTree, Hold, Window
from comptroller.core.money import NANOS_PER_USD
from comptroller.core.work.bounds import NAMES, SHIPPED, Bounds, narrowed, say_widened, widened
from comptroller.core.work.session import STATES, Session, state_of

NOW_NS = 1_790_000_000 * 10**9
BOUNDS = st.builds(Bounds, *(st.none() | st.integers(0, 5) for _ in NAMES))


def facts(*lineage: str) -> Facts:
    chain = tuple({"organization": "acme", "identity": "agent/a", "session": session} for session in lineage)
    return Facts(chain, {"model": "large"}, lineage)  # type: ignore[arg-type]


def draw(tree: BudgetTree, *lineage: str) -> Draw:
    return tree.drawn_by(facts(*lineage), NOW_NS)


@given(BOUNDS, BOUNDS)
def test_what_is_narrowed_asks_for_no_more_than_either(wide: Bounds, asked: Bounds) -> None:
    both = narrowed(wide, asked)
    assert widened(wide, both) == widened(asked, both) == ()
    assert narrowed(both, wide) == both


def test_what_acts_alone_is_bounded_more_than_people() -> None:
    agent, human = SHIPPED["agent"], SHIPPED["human"]
    assert narrowed(human, agent) == agent
    assert all(bounds.usd_nanos and bounds.model_calls and bounds.wall_clock_s for bounds in SHIPPED.values())


@pytest.mark.parametrize(
    ("changes", "given", "state"),
    [
        ({}, {}, "active"),
        ({}, {"exhausted": True}, "exhausted"),
        ({}, {"exhausted": True, "suspended": True}, "suspended"),
        ({"expires_at_ns": NOW_NS}, {"suspended": True}, "expired"),
        ({"expires_at_ns": NOW_NS, "ended_at_ns": 1}, {"exhausted": True}, "ended"),
    ],
)
def test_states(changes: dict[str, int], given: dict[str, bool], state: str) -> None:
    known = {"id": "ses_1", "identity": "agent/a", "credential": "c", "opened_at_ns": 0, "minted_by": "admin"}
    session = Session(**(known | {"expires_at_ns": NOW_NS + 1} | changes))  # type: ignore[arg-type]
    assert state_of(session, NOW_NS, **given) == state
    assert STATES[state].final is (state in {"ended", "expired"})  # type: ignore[index]


def test_a_call_is_held_in_every_session_above_it_and_each_has_one_row_in_the_ledger() -> None:
    tree = BudgetTree([])
    tree.open_session("root", Bounds(usd_nanos=100, model_calls=2))
    tree.open_session("child", Bounds(usd_nanos=60))
    assert draw(tree, "child", "root").keys == (ledger_key("child"), ledger_key("root"))
    assert isinstance(tree.hold("h1", draw(tree, "child", "root"), Amounts(60, 5, 1)), Hold)
    short = tree.hold("h2", draw(tree, "root"), Amounts(41, 5, 1))
    assert isinstance(short, Window)
    assert (short.budget.name, short.key.instance, short.remaining) == ("session:usd", "root", 40)
    tree.settle("h1", Amounts(10, 5, 1, 3))
    for session in ("child", "root"):
        meter = tree.meter(session)
        assert meter is not None
        assert meter.posted == Amounts(10, 5, 1, 3)
    assert isinstance(tree.hold("h3", draw(tree, "root"), Amounts(90, 5, 1)), Hold)
    assert isinstance(tree.hold("h4", draw(tree, "root"), Amounts(0, 5, 1)), Window)  # the third call


def test_a_bound_that_comes_later_begins_with_what_was_spent_and_what_is_held() -> None:
    tree = BudgetTree([])
    tree.open_session("s", Bounds())
    tree.hold("h1", draw(tree, "s"), Amounts(30, 5, 1))
    tree.settle("h1", Amounts(20, 5, 1))
    tree.hold("h2", draw(tree, "s"), Amounts(30, 5, 1))
    tree.bind_session("s", Bounds(usd_nanos=60))
    (window,) = draw(tree, "s").windows
    assert (window.posted, window.held, window.remaining) == (20, 30, 10)
    tree.settle("h2", Amounts(25, 5, 1))
    assert (window.posted, window.held) == (45, 0)
    tree.bind_session("s", Bounds())
    tree.hold("h3", draw(tree, "s"), Amounts(1000, 5, 1))
    tree.bind_session("s", Bounds(usd_nanos=2000))
    (again,) = draw(tree, "s").windows
    assert (again.posted, again.held) == (45, 1000)
    tree.settle("h3", Amounts(1000, 5, 1))
    assert (again.posted, again.held) == (1045, 0)


def test_a_start_goes_on_from_the_ledger_and_a_correction_reaches_a_session() -> None:
    tree = BudgetTree([])
    tree.open_session("s", Bounds(usd_nanos=100), Amounts(70, 9, 4))
    tree.adjust([ledger_key("s")], Amounts(usd=-20))
    (window,) = draw(tree, "s").windows
    assert window.remaining == 50
    tree.close_session("s")
    assert draw(tree, "s", "t").windows == () or window in draw(tree, "s").windows
    tree.adjust([ledger_key("s")], Amounts(usd=-20))  # of one that is over: the store alone counts it


def test_a_registry_change_leaves_the_bounds_of_open_calls() -> None:
    tree = BudgetTree([])
    tree.open_session("s", Bounds(usd_nanos=100))
    hold = tree.hold("h", draw(tree, "s"), Amounts(30, 5, 1))
    assert isinstance(hold, Hold)
    all_of_it = Budget("all", {"organization": ("acme",)}, "usd", 9, "day", "UTC", None, "hard", "operator")
    tree.replace([all_of_it], {})
    assert [window.budget.name for window in tree.join(hold, facts("s"), NOW_NS)] == ["all"]
    assert hold.draw.keys[-1] == ledger_key("s")
    tree.settle("h", Amounts(10, 5, 1))
    assert [window.posted for window in draw(tree, "s").windows] == [10, 10]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Bounds(usd_nanos=100 * NANOS_PER_USD), "usd 100.00 is more than the 80.00 of ses_1"),
        (Bounds(wall_clock_s=172_800), "wall_clock 48 h is more than the 90 s of ses_1"),
        (Bounds(tokens=9, depth=3, usd_nanos=NANOS_PER_USD), "depth 3 is more than the 2 of ses_1"),
        (Bounds(usd_nanos=NANOS_PER_USD, tokens=9), None),
    ],
)
def test_what_is_more_is_said_with_both_amounts(asked: Bounds, said: str | None) -> None:
    assert say_widened(Bounds(usd_nanos=80 * NANOS_PER_USD, wall_clock_s=90, depth=2), asked, "ses_1") == said
