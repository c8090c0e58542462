"""The shipped prices equal those of a second table that other people keep, but for the exceptions named here.

An exception that is no longer needed fails too, so the list stays true.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from comptroller.core.pricing.rates import Rates
from tests.pricing.second import BOOK, DAY, ROWS, Row

METERS = ("input", "output", "cache_read", "cache_write", "cache_write_1h")

# Where both know a price and do not agree, or only one of them has it. Which is right was not told by the pages
# that they name, unless it says so here.
EXCEPTIONS = {
    "anthropic/claude-sonnet-4-5": {"sizes"},  # ours doubles above 200,000 (a beta); the other ends there
    "anthropic/claude-sonnet-4-5-20250929": {"sizes"},
    "openai/gpt-5.6-cyber": {"sizes"},  # the other doubles above 272,000, as for all models beside it
    "openai/gpt-5.5-pro": {"batch long input", "batch long output"},  # ours has no long price for batches
    "openai/gpt-5.5-pro-2026-04-23": {"batch long input", "batch long output"},
    "google/gemini-2.5-pro-preview-tts": {"default cache_read"},  # ours has no price for cached input
}

# OpenAI's `web_search_preview` tool on models that do not reason: 25 USD a thousand and its results free, where the
# `web_search` tool costs 10 and its results are input. The other table has the former, ours the latter.
SEARCHED_BY_THE_PREVIEW_TOOL = ("openai/gpt-4.1", "openai/gpt-4o-mini")

# Service tiers that only the other table prices. A response that names one is charged as presumed, with a finding.
_BOTH = {"priority", "flex"}
TIERS_WE_LACK = {
    **{
        f"google/gemini-{model}": _BOTH
        for model in (
            *("2.5-flash", "2.5-flash-lite", "2.5-pro", "3-flash-preview", "3.1-flash-lite", "3.5-flash-lite"),
            *("3.1-flash-lite-preview", "3.1-pro-preview", "3.1-pro-preview-customtools", "3.6-flash", "3.8-flash"),
            *("4-argon", "flash-latest", "flash-lite-latest", "pro-latest"),
        )
    },
    "google/gemini-3.5-flash": {*_BOTH, "batch"},
    "google/gemini-3.7-flash": {*_BOTH, "batch"},
    "google/gemini-embedding-001": {"batch"},
    "google/gemini-robotics-er-2-preview": {"batch"},
    "openai/text-embedding-3-large": {"batch"},
    "openai/text-embedding-3-small": {"batch"},
    "openai/text-embedding-ada-002-v2": {"batch"},
}

# Models that only the other table prices, or that ours cannot price (`price_unknown` until the registry does).
MODELS_WE_LACK = {
    *("anthropic/claude-mythos-5", "anthropic/claude-mythos-5-1", "anthropic/claude-mythos-preview"),
    *("openai/daybreak-blue-latest", "openai/daybreak-red-latest", "openai/gpt-daybreak-blue-latest"),
    *("openai/gpt-daybreak-red-latest", "openai/gpt-5.5-cyber-preview"),
    # They search with every call, and that fee is in neither table: their tokens alone would be too cheap.
    *("openai/gpt-4o-search-preview", "openai/gpt-4o-search-preview-2025-03-11"),
    *("openai/gpt-4o-mini-search-preview", "openai/gpt-4o-mini-search-preview-2025-03-11"),
    *("openai/gpt-5-search-api", "openai/gpt-5-search-api-2025-10-14"),
    *("openai/gpt-6-astra-law", "google/gemini-exp-1206", "google/deep-research-max-preview-04-2026"),
    *("google/deep-research-preview-04-2026", "google/deep-research-pro-preview-12-2025"),
    *("google/gemini-2.5-computer-use-preview-10-2025", "google/gemini-gemma-2-27b-it", "google/gemini-gemma-2-9b-it"),
    *("google/gemini-omni-1.1-flash", "google/gemini-omni-flash-preview"),  # ours is priced by video output, too
}
KNOWN = [name for name in ROWS if name not in MODELS_WE_LACK]


def ours(row: Row) -> dict[str, Rates]:
    return dict(BOOK.rates(row.provider, row.model, DAY))


def usd(nanos_per_million: int | None) -> Fraction | None:
    return None if nanos_per_million is None else Fraction(nanos_per_million, 10**9)


def differences(row: Row) -> Iterator[str]:
    rates = ours(row)
    sizes = [size.over_input_tokens for size in rates["default"].sizes]
    if sizes != ([row.over] if row.over else []):
        yield "sizes"
    for place, prices in row.prices.items():
        tier, _, is_long = place.partition(" ")
        if tier not in rates or (is_long and sizes != [row.over]):
            continue
        found = rates[tier].at((row.over or 0) + 1 if is_long else 0)
        # Beside the default tier a price that only one of them has is no difference: the other leaves it open.
        meters = METERS if tier == "default" else tuple(prices)
        for meter in meters:
            theirs, mine = prices.get(meter), usd(getattr(found, meter))
            if theirs != mine and (theirs or mine):
                yield f"{place} {meter}"


@pytest.mark.parametrize("name", KNOWN)
def test_both_tables_have_the_same_price(name: str) -> None:
    assert set(differences(ROWS[name])) == EXCEPTIONS.get(name, set())


def test_models_and_tiers_that_only_the_other_table_has_are_named() -> None:
    assert {name for name, row in ROWS.items() if not ours(row)} == MODELS_WE_LACK
    lacking = {name: {t for t in ROWS[name].prices if " " not in t} - ours(ROWS[name]).keys() for name in KNOWN}
    assert {name: tiers for name, tiers in lacking.items() if tiers} == TIERS_WE_LACK


def test_the_tables_overlap_enough_to_say_something() -> None:
    assert len(KNOWN) >= 146
    assert len([name for name in KNOWN if name not in EXCEPTIONS]) >= 140
    assert {ROWS[name].provider for name in KNOWN} == {"openai", "anthropic", "google"}


@pytest.mark.parametrize("name", [name for name in KNOWN if name.startswith("anthropic/")])
def test_what_we_add_for_us_only_inference_is_what_the_other_table_says(name: str) -> None:
    row, rates = ROWS[name], ours(ROWS[name])
    assert ("us" in rates) == (row.us_times is not None)
    if row.us_times is not None:
        for meter in METERS:
            assert usd(getattr(rates["us"], meter)) == (usd(getattr(rates["default"], meter)) or 0) * row.us_times
    if row.fast_times is not None:
        assert usd(rates["fast"].output) == row.fast_times * row.prices["default"]["output"]


def test_what_we_add_for_openais_long_cache_writes_is_what_the_other_table_says() -> None:
    """`cache_write_1h` of these is compared above; here, that there are any."""
    there = [
        name for name, row in ROWS.items() if row.provider == "openai" and "cache_write_1h" in row.prices["default"]
    ]
    assert len(there) >= 10


@pytest.mark.parametrize("name", [name for name in KNOWN if ROWS[name].web_search_per_thousand is not None])
def test_a_web_search_costs_the_same(name: str) -> None:
    """Where both say so."""
    rate, theirs = ours(ROWS[name])["default"].web_search, ROWS[name].web_search_per_thousand
    if rate is not None and theirs is not None:
        mine = Fraction(rate, 10**9 * 1_000)
        assert (mine, theirs) == ((10, 25) if name.startswith(SEARCHED_BY_THE_PREVIEW_TOOL) else (theirs, theirs))


def test_the_exceptions_are_in_the_docs() -> None:
    said = (Path(__file__).parents[2] / "docs" / "prices.md").read_text(encoding="utf-8")
    assert [name for name in EXCEPTIONS if f"`{name.partition('/')[2]}`" not in said] == []
    assert f"| {len(MODELS_WE_LACK)} models" in said
    assert f"{len(KNOWN)} are in both, and for {len(KNOWN) - len(EXCEPTIONS)} of these" in said
