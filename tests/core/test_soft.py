"""Soft steps of a budget: how they are written, and when they are passed."""

import pytest

from comptroller.core.budget.budget import Budget
from comptroller.core.budget.draw import Draw
from comptroller.core.budget.hold import Amounts
from comptroller.core.budget.scope import Facts
from comptroller.core.budget.soft import Soft, in_order, parse_soft
from comptroller.core.budget.tree import BudgetTree, Hold
from comptroller.core.work.bounds import Bounds

NOW_NS = 1_790_000_000 * 10**9
NODE = Facts(({"organization": "acme", "team": "red", "session": "ses_1"},), {})
STEPS = ("50% notify", "80% route:small", "99.5% approval:finops")


def a_tree(*, limit: int = 1_000, soft: tuple[str, ...] = STEPS, mode: str = "hard") -> BudgetTree:
    scope = {"organization": ("acme",)}
    budget = Budget("all", scope, "usd", limit, "hour", "UTC", None, mode, "caller", in_order(soft))  # type: ignore[arg-type]
    return BudgetTree([budget])


def passed(draw: Draw) -> list[str]:
    return [str(step) for step, _ in draw.passed()]


@pytest.mark.parametrize(
    ("written", "step"),
    [
        ("50% notify", Soft(5_000, "notify")),
        ("  80%   route:small ", Soft(8_000, "route", "small")),
        ("80% route:vendor/large:2026", Soft(8_000, "route", "vendor/large:2026")),
        ("99.5% approval:fin-ops@eu", Soft(9_950, "approval", "fin-ops@eu")),
        ("0.01% notify", Soft(1, "notify")),
        ("100.00% notify", Soft(10_000, "notify")),
    ],
)
def test_a_step_reads_as_it_is_written(written: str, step: Soft) -> None:
    assert parse_soft(written) == step
    assert parse_soft(str(step)) == step


def test_steps_stand_from_the_lowest_share_up_however_they_were_written() -> None:
    assert [str(step) for step in in_order(tuple(reversed(STEPS)))] == list(STEPS)


@pytest.mark.parametrize(
    ("posted", "held", "steps"),
    [
        (0, 0, 0),
        (499, 0, 0),
        (500, 0, 1),
        (0, 500, 1),
        (400, 399, 1),
        (400, 400, 2),
        (994, 0, 2),
        (995, 0, 3),
        (1_000, 0, 3),
    ],
)
def test_a_step_is_passed_by_what_is_posted_and_held(posted: int, held: int, steps: int) -> None:
    tree = a_tree()
    draw = tree.drawn_by(NODE, NOW_NS)
    assert isinstance(tree.hold("before", draw, Amounts(usd=posted)), Hold)
    tree.settle("before", Amounts(usd=posted))
    assert isinstance(tree.hold("now", draw, Amounts(usd=held)), Hold)
    assert passed(draw) == list(reversed(STEPS[:steps]))
    assert [window.posted for _, window in draw.passed()] == [posted] * steps, "looking draws nothing"


def test_what_is_given_back_unpasses_a_step() -> None:
    tree = a_tree()
    draw = tree.drawn_by(NODE, NOW_NS)
    tree.hold("h", draw, Amounts(usd=900))
    assert passed(draw) == ["80% route:small", "50% notify"]
    tree.settle("h", Amounts(usd=10))
    assert passed(draw) == []


def test_a_budget_of_nothing_has_passed_all_its_steps() -> None:
    assert len(a_tree(limit=0).drawn_by(NODE, NOW_NS).passed()) == len(STEPS)


def test_a_shadow_budget_has_steps_too_and_one_without_any_is_not_looked_at() -> None:
    tree = a_tree(mode="shadow")
    draw = tree.drawn_by(NODE, NOW_NS)
    tree.hold("h", draw, Amounts(usd=5_000))
    assert len(passed(draw)) == len(STEPS)
    assert a_tree(soft=()).drawn_by(NODE, NOW_NS).soft == ()


def test_new_steps_hold_for_windows_and_holds_that_are_there() -> None:
    tree = a_tree(soft=())
    hold = tree.hold("h", tree.drawn_by(NODE, NOW_NS), Amounts(usd=600))
    assert isinstance(hold, Hold)
    tree.replace(a_tree().budgets, {})
    assert passed(hold.draw) == passed(tree.drawn_by(NODE, NOW_NS)) == ["50% notify"]


def test_what_is_set_aside_for_a_session_is_left_to_it() -> None:
    """So its own calls do not see it as used, and those of others do."""
    tree = a_tree()
    tree.open_session("ses_1", Bounds(usd_nanos=600))
    others = tree.drawn_by(Facts(({"organization": "acme"},), {}), NOW_NS)
    tree.set_aside("ses_1", 600, others)
    assert passed(others) == ["50% notify"]
    assert passed(tree.drawn_by(NODE, NOW_NS)) == []
