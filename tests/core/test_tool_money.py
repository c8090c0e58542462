"""What calls to tools come to: held at the most, counted in their own units, charged exactly."""

from datetime import date
from typing import Any

import pytest

from comptroller.core.budget.budget import Budget, Unit
from comptroller.core.budget.counter import Window
from comptroller.core.budget.hold import Amounts
from comptroller.core.budget.scope import Facts
from comptroller.core.budget.settlement import Phase, settlement
from comptroller.core.budget.tree import BudgetTree, Hold
from comptroller.core.pricing.book import Price, PriceBook
from comptroller.core.pricing.charge import charge_nanos
from comptroller.core.pricing.estimate import Estimate
from comptroller.core.pricing.rates import DEFAULT_TIER, Rates
from comptroller.core.pricing.tariff import Tariff
from comptroller.core.pricing.tool_estimate import tool_estimate, tool_tariff
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.core.work.tool_use import ToolUse

NODE: Any = {"organization": "acme", "team": "search"}
MODEL = Facts((NODE,), {"provider": "openai", "model": "gpt"})
TOOL = Facts((NODE,), {"provider": "mcp/files", "server": "files", "tool": "files/read"})
DAY = date(2026, 1, 1)
CENT = 10_000_000
UNPRICED = Tariff({})


def priced(request_nanos: int = 0, unit_nanos: int = 0) -> Tariff:
    rates = Rates(0, 0, request=request_nanos * 1_000_000, result_unit=unit_nanos * 1_000_000)
    return Tariff({DEFAULT_TIER: rates})


def tool(**given: Any) -> ToolUse:
    return ToolUse(**{"server": "search", "name": "search/web", "arguments": b"{}", "result_bytes": 10_000, **given})


def budget(unit: Unit, limit: int, **scope: Any) -> Budget:
    return Budget(unit, scope or {"team": ("search",)}, unit, limit, "lifetime", "UTC", None, "hard", "caller")


def bound_of(use: ToolUse, listed: Tariff, *, money: bool = True) -> Estimate:
    found = tool_estimate(use, listed, money=money)
    assert isinstance(found, Estimate)
    return found


@pytest.mark.parametrize(
    ("use", "listed", "most_nanos"),
    [
        (tool(), UNPRICED, 0),
        (tool(), priced(CENT), CENT),
        (tool(), priced(CENT, 100), CENT + 10 * 100),
        (tool(result_bytes=1_025), priced(0, 100), 200),
        (tool(unit="item", result_bytes=160), priced(0, 100), 1_000),
        (tool(quote_nanos=5 * CENT), UNPRICED, 5 * CENT),
        (tool(quote_nanos=5 * CENT), priced(CENT, 100), 5 * CENT),
        (tool(quote_nanos=0, risks=("spends_money",)), UNPRICED, 0),
    ],
)
def test_a_call_is_held_at_the_most_it_can_cost(use: ToolUse, listed: Tariff, most_nanos: int) -> None:
    bound = bound_of(use, listed)
    assert bound.amount_nanos(0) == most_nanos
    assert (bound.calls, bound.tool_calls, bound.tokens(0)) == (0, 1, 0)
    assert not bound.free


@pytest.mark.parametrize("unit", ["kib", "item"])
@pytest.mark.parametrize("size", [0, 1, 16, 1_023, 1_024, 1_025, 9_999, 10_000])
def test_no_result_within_the_cap_costs_more_than_was_held(unit: Any, size: int) -> None:
    use, listed = tool(unit=unit), priced(CENT, 7)
    units = -(-size // 1_024) if unit == "kib" else size // 16
    rates = tool_tariff(use, listed)[DEFAULT_TIER]
    charge = charge_nanos(Usage(0, 0, result_bytes=size, result_units=units), rates)
    assert charge == CENT + 7 * units
    assert charge <= bound_of(use, listed).amount_nanos(0)


def test_what_spends_money_needs_a_price_where_money_is_limited() -> None:
    use = tool(risks=("spends_money",))
    refused = tool_estimate(use, UNPRICED, money=True)
    assert isinstance(refused, Refusal)
    assert refused.code == "price_unknown"
    assert 'tool = "search/web"' in (refused.hint or "")
    assert bound_of(use, UNPRICED, money=False).amount_nanos(0) == 0
    assert bound_of(use, priced(CENT)).amount_nanos(0) == CENT


@pytest.mark.parametrize(
    ("phase", "counted"), [("held", 0), ("refused", 1), ("failed", 1), ("written", 1), ("answering", 1)]
)
def test_a_tool_call_that_went_out_counts_as_one(phase: Phase, counted: int) -> None:
    held = Amounts(usd=CENT, tool_calls=1, result_bytes=1_000)
    done = settlement(phase, held, exact=None, seen=None)
    assert done.posted.tool_calls == counted
    assert done.posted.usd == (0 if done.end == "voided" else CENT)
    assert done.posted.calls == 0


@pytest.mark.parametrize(
    ("facts", "unit", "amounts"),
    [
        (MODEL, "tool_calls", Amounts(usd=1, tokens=10, calls=1)),
        (MODEL, "result_bytes", Amounts(usd=1, tokens=10, calls=1)),
        (TOOL, "tokens", Amounts(usd=1, tool_calls=1, result_bytes=10)),
        (TOOL, "calls", Amounts(usd=1, tool_calls=1, result_bytes=10)),
    ],
)
def test_an_overdrawn_budget_stops_only_what_is_counted_in_it(facts: Facts, unit: Unit, amounts: Amounts) -> None:
    tree = BudgetTree([budget(unit, 5)])
    other = TOOL if facts is MODEL else MODEL
    tree.hold("first", tree.drawn_by(other, 1), Amounts(**{unit: 5}))
    tree.settle("first", Amounts(**{unit: 9}))
    assert isinstance(tree.hold("second", tree.drawn_by(other, 1), Amounts(**{unit: 1})), Window)
    draw = tree.drawn_by(facts, 1)
    assert isinstance(tree.hold("third", draw, amounts), Hold)
    assert draw.left_bp() == 10_000, "policies hear of it in their own units"


def test_money_is_one_pool_for_models_and_tools() -> None:
    tree = BudgetTree([budget("usd", 10), budget("tool_calls", 1, server=("files",))])
    assert isinstance(tree.hold("model", tree.drawn_by(MODEL, 1), Amounts(usd=6, calls=1)), Hold)
    short = tree.hold("dear", tree.drawn_by(TOOL, 1), Amounts(usd=5, tool_calls=1))
    assert isinstance(short, Window)
    assert short.budget.unit == "usd"
    assert isinstance(tree.hold("cheap", tree.drawn_by(TOOL, 1), Amounts(usd=4, tool_calls=1)), Hold)
    short = tree.hold("again", tree.drawn_by(TOOL, 1), Amounts(tool_calls=1))
    assert isinstance(short, Window)
    assert short.budget.unit == "tool_calls"


def test_the_closest_line_of_the_book_wins_and_no_line_of_a_model_is_for_a_tool() -> None:
    def line(pattern: str, first_day: date, request: int) -> Price:
        return Price(pattern, first_day, Rates(0, 0, request=request))

    tools = [line("search/*", DAY, 1), line("search/web", DAY, 2), line("search/web", date(2026, 6, 1), 3)]
    book = PriceBook([Price("*", DAY, Rates(5, 5))], "1", tools=tools)
    assert book.rates("mcp/search", "search/news", DAY)[DEFAULT_TIER].request == 1
    assert book.rates("mcp/search", "search/web", DAY)[DEFAULT_TIER].request == 2
    assert book.rates("mcp/search", "search/web", date(2026, 7, 1))[DEFAULT_TIER].request == 3
    assert not book.rates("mcp/files", "files/read", DAY)
    assert book.rates("openai", "search/web", DAY)[DEFAULT_TIER].input == 5, "a model of that name is a model"
