"""Routing: when a route applies, which model of its target takes a call, and what no route may do."""

from collections.abc import Sequence
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.budget.scope import Facts
from comptroller.core.routing.choose import Asking, Chosen, Member, Passed, choose, first_of, in_order
from comptroller.core.routing.route import BACK_BP, Conditions, Route
from comptroller.core.routing.routing import Routing

ORDER = ("small", "standard", "frontier")
ALL = {"organization": ("acme",)}
CLASSES: dict[str, str | None] = {
    "tiny": "small",
    "mini": "small",
    "middle": "standard",
    "big": "frontier",
    "odd": None,
}
FACTS = Facts(
    ({"organization": "acme", "team": "search", "task_type": "ticket"}, {"organization": "acme", "team": "ops"}),
    {"provider": "p", "model": "big", "model_class": "frontier"},
)


@pytest.mark.parametrize(
    ("when", "left_bp", "input_tokens", "holds"),
    [
        (Conditions(), 0, 0, True),
        (Conditions(), 10_000, 10**9, True),
        (Conditions(budget_below_bp=2_000), 1_999, 5, True),
        (Conditions(budget_below_bp=2_000), 2_000, 5, False),
        (Conditions(input_tokens_over=100), 0, 100, False),
        (Conditions(input_tokens_over=100), 0, 101, True),
        (Conditions(input_tokens_under=100), 0, 99, True),
        (Conditions(input_tokens_under=100), 0, 100, False),
        (Conditions(2_000, 10, 100), 1_000, 50, True),
        (Conditions(2_000, 10, 100), 3_000, 50, False),
        (Conditions(2_000, 10, 100), 1_000, 10, False),
        (Conditions(2_000, 10, 100), 1_000, 100, False),
    ],
)
def test_a_route_applies_where_all_its_conditions_hold(
    when: Conditions, left_bp: int, input_tokens: int, holds: bool
) -> None:
    assert when.hold(left_bp, input_tokens) is holds


@given(below=st.integers(100, 10_000), left=st.lists(st.integers(0, 10_000), min_size=2, max_size=60))
def test_a_session_that_was_routed_for_want_of_budget_does_not_flap(below: int, left: list[int]) -> None:
    when, kept, flips = Conditions(budget_below_bp=below), False, list[int]()
    for left_bp in left:
        now = when.hold(left_bp, 0, kept=kept)
        if now is not kept:
            flips.append(left_bp)
        kept = now
    assert all(abs(one - other) > BACK_BP - 1 for one, other in pairwise(flips))


@pytest.mark.parametrize(
    ("sources", "scope", "model", "is_for"),
    [
        (None, ALL, "big", True),
        (("frontier",), ALL, "big", True),
        (("big",), ALL, "big", True),
        (("big", "frontier"), ALL, "tiny", False),
        (None, {"task_type": ("ticket",)}, "big", True),
        (None, {"task_type": ("mail",)}, "big", False),
        (None, {"team": ("ops",)}, "big", True),  # whoever stands above counts, as for budgets
        (None, {"team": ("ops",), "task_type": ("ticket",)}, "big", False),  # at one and the same node
        (None, {"model_class": ("frontier",)}, "big", True),
    ],
)
def test_a_route_is_for_its_scope_and_its_sources(
    sources: tuple[str, ...] | None, scope: dict[str, tuple[str, ...]], model: str, is_for: bool
) -> None:
    route = Route("r", "tiny", scope, sources)  # type: ignore[arg-type] - literals of attributes
    assert route.is_for(model, CLASSES[model], FACTS) is is_for


@pytest.mark.parametrize(
    ("task_type", "model_class", "below", "above"),
    [
        (None, "small", False, False),
        ("unknown", "small", False, False),
        ("ticket", "small", True, False),
        ("ticket", "standard", False, False),
        ("ticket", "frontier", False, True),
        ("ticket", None, True, False),
        ("ticket", "unranked", True, False),
    ],
)
def test_a_floor_is_a_rank(task_type: str | None, model_class: str | None, below: bool, above: bool) -> None:
    routing = Routing(order=ORDER, floors={"ticket": "standard"})
    assert routing.is_below_floor(task_type, model_class) is below
    assert routing.is_above_floor(task_type, model_class) is above


def test_members_are_tried_by_health_then_price_then_name() -> None:
    members = [
        Member("cheap-but-aside", "small", aside=True, price=1),
        Member("unpriced", "small"),
        Member("b", "small", price=5),
        Member("a", "small", price=5),
        Member("cheapest", "small", price=2),
    ]
    for some in permutations(members):
        assert [each.name for each in in_order(some)] == ["cheapest", "a", "b", "unpriced", "cheap-but-aside"]


def test_why_no_model_of_a_target_can_have_a_call() -> None:
    routing = Routing(order=ORDER, floors={"ticket": "standard"})
    members = [Member("tiny", "small", price=1), Member("middle", "standard", price=2)]

    def attempt(name: str) -> int | str:
        return f"{name} is not served here"

    found = first_of(routing, "ticket", members, attempt)
    assert found == "tiny is below standard, the floor of ticket; middle is not served here"
    assert first_of(routing, None, [], attempt) == "no model is behind it"


def behind(target: str) -> Sequence[Member]:
    names = [name for name, own in CLASSES.items() if own == target] or [target]
    return [Member(name, CLASSES[name], price=len(name)) for name in names]


routes = st.builds(
    Route,
    name=st.text("abc", min_size=1, max_size=2),
    to=st.sampled_from(("small", "standard", "frontier", "tiny", "big", "odd")),
    scope=st.just(ALL),
    sources=st.none() | st.lists(st.sampled_from((*CLASSES, *ORDER)), min_size=1, max_size=3).map(tuple),
    when=st.builds(
        Conditions,
        st.none() | st.integers(1, 10_000),
        st.none() | st.integers(0, 100),
        st.none() | st.integers(1, 100),
    ),
    mode=st.sampled_from(("hard", "shadow")),
)


def asking_for(model: str, task: str | None, left_bp: int, tokens: int, kept: frozenset[str]) -> Asking:
    return Asking(model, CLASSES[model], task, left_bp, tokens, kept)


askings = st.builds(
    asking_for,
    st.sampled_from(sorted(CLASSES)),
    st.none() | st.sampled_from(("ticket", "review", "mail")),
    st.integers(0, 10_000),
    st.integers(0, 200),
    st.frozensets(st.text("abc", min_size=1, max_size=2)),
)


@given(
    some=st.lists(routes, max_size=5),
    asking=askings,
    order=st.permutations(ORDER).map(tuple),
    floors=st.dictionaries(st.sampled_from(("ticket", "review")), st.sampled_from(ORDER)),
    down=st.frozensets(st.sampled_from(sorted(CLASSES))),
)
def test_a_floor_is_never_broken_and_a_choice_is_always_the_same(
    some: list[Route], asking: Asking, order: tuple[str, ...], floors: dict[str, str], down: frozenset[str]
) -> None:
    routing = Routing(order=order, floors=floors, routes=tuple(some))
    applying = [each for each in some if each.is_for(asking.model, asking.model_class, FACTS)]

    def attempt(name: str) -> int | str:
        return f"{name} is down" if name in down else len(name)

    def once() -> list[Chosen[int] | Passed]:
        return list(choose(routing, applying, asking, behind, attempt))

    steps = once()
    assert steps == once(), "the same call in the same world is routed the same way"
    for step in steps[:-1]:
        assert isinstance(step, Passed), "only the first route that takes the call does"
    for step in steps:
        held = step.route.when.hold(asking.left_bp, asking.input_tokens, kept=step.route.name in asking.kept)
        assert held, "a route whose conditions do not hold does nothing"
        to = step.member.name if isinstance(step, Chosen) else step.to
        if not to:
            assert isinstance(step, Passed)
            assert step.why, "who does not take a call says why"
            continue
        assert to != asking.model
        assert to not in down
        assert (step.route.mode == "shadow") is isinstance(step, Passed)
        floor = floors.get(asking.task_type or "")
        if floor is not None:
            assert order.index(CLASSES[to] or "") >= order.index(floor)
    if not steps:
        quiet = [
            each
            for each in applying
            if each.when.hold(asking.left_bp, asking.input_tokens, kept=each.name in asking.kept)
        ]
        assert all(asking.model in {member.name for member in behind(each.to)} for each in quiet[:1])
