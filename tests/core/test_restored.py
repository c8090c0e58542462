"""Windows after a restore: never less than is known, and the whole limit where nobody knows."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.budget.budget import Budget
from comptroller.core.budget.hold import EVERY, Amounts, WindowKey
from comptroller.core.budget.restored import carried, missing, presumed
from comptroller.core.budget.scope import Facts
from comptroller.core.budget.tree import BudgetTree
from comptroller.core.budget.window import span_at

NOW_NS = 1_795_000_000_000_000_000
NOBODY = Facts(({"organization": "acme", "identity": "agent/new"},), {})


def budget(**changes: object) -> Budget:
    known: dict[str, object] = {
        "name": "all",
        "scope": {"organization": ("acme",)},
        "unit": "usd",
        "limit": 100,
        "window": "day",
        "time_zone": "UTC",
        "per": None,
        "mode": "hard",
        "visible": "caller",
    }
    return Budget(**(known | changes))  # type: ignore[arg-type]


def key(of: Budget, instance: str = "", ago: int = 0) -> WindowKey:
    span = span_at(of.window, of.zone, NOW_NS)
    return WindowKey(of.key, instance, span.start_ns - ago)


def after(posted: Mapping[WindowKey, Amounts], added: Mapping[WindowKey, Amounts]) -> dict[WindowKey, int]:
    nothing = Amounts()
    return {k: posted.get(k, nothing).plus(added.get(k, nothing)).usd for k in posted.keys() | added.keys()}


def test_what_the_replaced_store_showed_is_carried_over() -> None:
    a, b, c = (WindowKey(name, "", 0) for name in "abc")
    settled = {a: Amounts(5, 50, 1), b: Amounts(7, 70, 2)}
    present = {a: Amounts(9, 50, 3), b: Amounts(6, 70, 2), c: Amounts(1, 2, 3)}
    assert carried(settled, present) == {a: Amounts(4, 0, 2), c: Amounts(1, 2, 3)}


AMOUNTS = st.dictionaries(st.sampled_from(["agent/ant", "agent/bee", EVERY]), st.integers(-5, 50))


@given(settled=AMOUNTS, present=AMOUNTS)
def test_no_instance_shows_less_than_either_store_did(settled: dict[str, int], present: dict[str, int]) -> None:
    """Also where one of them has presumed something for everybody."""
    each = budget(per="identity")

    def rows(amounts: dict[str, int]) -> dict[WindowKey, Amounts]:
        return {key(each, name): Amounts(amount) for name, amount in amounts.items()}

    merged = after(rows(settled), carried(rows(settled), rows(present)))
    for name in ("agent/ant", "agent/bee", "agent/new"):
        shown = [amounts.get(name, 0) + amounts.get(EVERY, 0) for amounts in (settled, present)]
        assert merged.get(key(each, name), 0) + merged.get(key(each, EVERY), 0) >= max(shown)
        if name in settled or name in present:
            assert merged.get(key(each, name), 0) + merged.get(key(each, EVERY), 0) == max(shown)


def test_open_windows_of_hard_budgets_may_lack_something() -> None:
    pool, each = budget(), budget(name="each", per="identity")
    posted = {
        key(pool): Amounts(30),
        key(pool, ago=86_400_000_000_000): Amounts(99),  # yesterday is over
        key(each, "agent/ant"): Amounts(120),
        WindowKey("gone#1", "", 0): Amounts(1),
    }
    shadow, session = budget(name="shadow", mode="shadow"), budget(name="session", per="session")
    found = [
        (row.budget.name, row.key.instance, row.posted, row.most)
        for row in missing((pool, each, shadow, session), posted, NOW_NS)
    ]
    assert found == [("all", "", 30, 70), ("each", EVERY, 0, 100), ("each", "agent/ant", 120, 0)]


def test_a_window_that_nobody_has_drawn_on_yet_is_presumed_all_the_same() -> None:
    each = budget(per="identity", limit=7, unit="calls")
    added = presumed(missing((each,), {}, NOW_NS))
    assert added == {key(each, EVERY): Amounts(calls=7)}
    tree = BudgetTree((each,), {k: amounts.calls for k, amounts in added.items()})
    (window,) = tree.drawn_by(NOBODY, NOW_NS).windows
    assert (window.posted, window.remaining) == (7, 0)


@given(
    limit=st.integers(0, 200),
    own=st.dictionaries(st.sampled_from(["agent/ant", "agent/bee", "agent/cat"]), st.integers(0, 300)),
    times=st.integers(1, 3),
)
def test_presumed_windows_show_their_limit_or_what_is_known(limit: int, own: dict[str, int], times: int) -> None:
    each = budget(per="identity", limit=limit)
    posted = {key(each, name): Amounts(amount) for name, amount in own.items()}
    for _ in range(times):  # a store that was restored before may be restored again
        total = after(posted, presumed(missing((each,), posted, NOW_NS)))
        posted = {k: Amounts(amount) for k, amount in total.items()}
    tree = BudgetTree((each,), {k: amounts.usd for k, amounts in posted.items()})
    for name in (*own, "agent/new"):
        facts = Facts(({"organization": "acme", "identity": name},), {})
        (window,) = tree.drawn_by(facts, NOW_NS).windows
        assert window.posted == max(limit, own.get(name, 0))


@given(posted=st.integers(0, 300), limit=st.integers(0, 200))
def test_a_presumed_pool_shows_its_limit_or_what_is_known(posted: int, limit: int) -> None:
    pool = budget(limit=limit)
    known = {key(pool): Amounts(posted)}
    assert after(known, presumed(missing((pool,), known, NOW_NS))) == {key(pool): max(limit, posted)}
