"""The upper bound: never below the charge, and the affordable output limit is the largest that fits."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.money import parse_usd
from comptroller.core.pricing.book import Price, PriceBook, Rates
from comptroller.core.pricing.charge import charge_nanos
from comptroller.core.pricing.estimate import Asked, Estimate, ModelLimits, estimate
from comptroller.core.pricing.tariff import Tariff
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal

LARGE = Rates(input=parse_usd("3.00"), output=parse_usd("15.00"), cache_read=parse_usd("0.30"))
LIMITS = ModelLimits(max_output_tokens=4096, overhead_tokens=10)


def asked(**given: object) -> Asked:
    return Asked(**{"model": "m", "stream": False, "text_tokens": 1000, **given})  # type: ignore[arg-type]


def bound(request: Asked, limits: ModelLimits = LIMITS, rates: dict[str, Rates] | None = None, **given: bool) -> object:
    rates = {"default": LARGE} if rates is None else rates
    return estimate(
        request, limits, Tariff(rates), 10_000, money=given.get("money", True), metered=given.get("metered", True)
    )


def sure(request: Asked, limits: ModelLimits = LIMITS, rates: dict[str, Rates] | None = None) -> Estimate:
    found = bound(request, limits, rates)
    assert isinstance(found, Estimate), found
    return found


@pytest.mark.parametrize(
    ("request_", "limits", "tokens", "wanted", "least"),
    [
        (asked(), LIMITS, 1010, 4096, 1024),
        (asked(output_limit=50), LIMITS, 1010, 50, 50),
        (asked(output_limit=10**30), LIMITS, 1010, 4096, 1024),
        (asked(), ModelLimits(4096, min_output_tokens=1), 1000, 4096, 1),
        (asked(images=3), ModelLimits(4096, max_image_tokens=800), 3400, 4096, 1024),
        (asked(text_tokens=90_000), ModelLimits(4096, context_window=8_000), 8_000, 4096, 1024),
        (asked(unbounded=("a file",)), ModelLimits(4096, context_window=8_000), 8_000, 4096, 1024),
        (asked(unbounded=("a search",), rounds=4), ModelLimits(4096, context_window=8_000), 32_000, 4096, 1024),
    ],
)
def test_bounds(request_: Asked, limits: ModelLimits, tokens: int, wanted: int, least: int) -> None:
    found = sure(request_, limits)
    assert (found.input_tokens, found.wanted_output_tokens, found.least_output_tokens) == (tokens, wanted, least)


@pytest.mark.parametrize(
    ("request_", "rates", "code", "names"),
    [
        (asked(), {}, "price_unknown", "its tokens"),
        (asked(service_tier="priority"), None, "price_unknown", "'priority'"),
        (asked(audio_input=True), None, "price_unknown", "audio_input"),
        (asked(audio_output=True), None, "price_unknown", "audio_output"),
        (asked(fees=("web search",)), None, "estimate_unbounded", "web search"),
        (asked(images=1), None, "estimate_unbounded", "images"),
        (asked(unbounded=("a file",)), None, "estimate_unbounded", "a file"),
        (asked(unbounded=tuple("abcdefg")), None, "estimate_unbounded", "what a, b, c, d, e and 2 more in this"),
    ],
)
def test_what_has_no_price_or_bound_is_refused_by_name(
    request_: Asked, rates: dict[str, Rates] | None, code: str, names: str
) -> None:
    found = bound(request_, rates=rates)
    assert isinstance(found, Refusal)
    assert found.code == code
    assert names in found.sentence


def test_without_a_budget_that_needs_it_nothing_is_refused_for_lack_of_a_price() -> None:
    found = bound(asked(unbounded=("a file",), images=2), rates={}, money=False, metered=False)
    assert isinstance(found, Estimate)


def test_a_token_budget_does_not_bound_what_a_server_does_by_itself() -> None:
    found = bound(asked(fees=("web search",)), money=False, metered=True)
    assert isinstance(found, Refusal)
    assert found.code == "estimate_unbounded"


def test_what_lies_outside_the_body_may_be_audio() -> None:
    dear = {"default": Rates(10, 20, audio_input=90)}
    windowed = ModelLimits(4096, context_window=8_000)
    assert sure(asked(unbounded=("a file",)), windowed, dear).input_rate == 90
    assert sure(asked(), windowed, dear).input_rate == 10


def test_the_least_output_is_never_nothing() -> None:
    assert sure(asked(), ModelLimits(4096, min_output_tokens=0)).least_output_tokens == 1


def test_an_open_tier_is_held_at_the_dearest_and_a_named_one_at_itself_or_the_default() -> None:
    tiers = {"default": Rates(10, 20), "priority": Rates(20, 40), "flex": Rates(5, 10)}
    assert sure(asked(), rates=tiers).output_rate == 40
    assert sure(asked(service_tier="auto"), rates=tiers).output_rate == 40
    assert sure(asked(service_tier="flex"), rates=tiers).output_rate == 20
    assert sure(asked(service_tier="default"), rates=tiers).output_rate == 20


rates_of = st.builds(
    Rates,
    input=st.integers(0, 10**11),
    output=st.integers(0, 10**11),
    cache_read=st.none() | st.integers(0, 10**11),
    cache_write=st.none() | st.integers(0, 10**11),
    reasoning=st.none() | st.integers(0, 10**11),
)


@given(rates_of, st.integers(0, 5000), st.integers(1, 5000), st.integers(1, 4), st.data())
def test_no_honest_answer_costs_more_than_its_bound(
    rates: Rates, text: int, limit: int, choices: int, data: st.DataObject
) -> None:
    found = sure(asked(text_tokens=text, output_limit=limit, choices=choices), ModelLimits(5000), {"default": rates})
    total_in = data.draw(st.integers(0, found.input_tokens))
    cached = data.draw(st.integers(0, total_in))
    written = data.draw(st.integers(0, total_in - cached))
    total_out = data.draw(st.integers(0, choices * found.wanted_output_tokens))
    thought = data.draw(st.integers(0, total_out))
    usage = Usage(total_in, total_out, cached_tokens=cached, cache_write_tokens=written, reasoning_tokens=thought)
    assert charge_nanos(usage, rates) <= found.amount_nanos(found.wanted_output_tokens)
    assert usage.total_tokens <= found.tokens(found.wanted_output_tokens)


@given(
    rates_of,
    st.integers(0, 5000),
    st.integers(1, 4),
    st.integers(0, 100),
    st.integers(10_000, 10**6),
    st.integers(0, 10**12),
)
def test_the_affordable_limit_is_the_largest_that_fits(
    rates: Rates, text: int, choices: int, extra: int, factor: int, remaining: int
) -> None:
    request = asked(text_tokens=text, choices=choices, extra_output_tokens=extra)
    found = estimate(request, ModelLimits(5000), Tariff({"default": rates}), factor, money=True, metered=True)
    assert isinstance(found, Estimate)
    fits = found.affordable_by_money(remaining)
    if fits >= 0:
        assert found.amount_nanos(fits) <= remaining
    if found.output_rate:
        assert found.amount_nanos(max(0, fits + 1)) > remaining
    by_tokens = found.affordable_by_tokens(remaining)
    if by_tokens >= 0:
        assert found.tokens(by_tokens) <= remaining
    assert found.tokens(max(0, by_tokens + 1)) > remaining


@pytest.mark.parametrize(
    ("usage", "nanos"),
    [
        (Usage(1000, 100), 1000 * 3000 + 100 * 15000),
        (Usage(1000, 100, cached_tokens=900), 100 * 3000 + 900 * 300 + 100 * 15000),
        (Usage(1000, 100, reasoning_tokens=60), 1000 * 3000 + 100 * 15000),
        (Usage(0, 0), 0),
        (Usage(10, 0, cached_tokens=25), 25 * 300),  # a faulty server: the part is larger than its whole
    ],
)
def test_charges(usage: Usage, nanos: int) -> None:
    assert charge_nanos(usage, LARGE) == nanos


def test_the_price_book_takes_the_closest_line_of_the_latest_day() -> None:
    def price(model: str, day: str, rate: int, provider: str | None = None, tier: str = "default") -> Price:
        return Price(model, date.fromisoformat(day), Rates(rate, rate), provider, tier)

    book = PriceBook(
        [
            price("gpt-*", "2026-01-01", 1),
            price("gpt-5*", "2026-01-01", 2),
            price("gpt-5", "2026-01-01", 3),
            price("gpt-5", "2026-06-01", 4),
            price("gpt-*", "2026-01-01", 5, provider="azure"),
            price("gpt-5", "2026-06-01", 8, tier="priority"),
        ],
        "v",
    )

    def rate(provider: str, model: str, day: str) -> dict[str, int]:
        return {tier: found.input for tier, found in book.rates(provider, model, date.fromisoformat(day)).items()}

    assert rate("openai", "gpt-4", "2026-02-01") == {"default": 1}
    assert rate("openai", "gpt-5-mini", "2026-02-01") == {"default": 2}
    assert rate("openai", "gpt-5", "2026-02-01") == {"default": 3}
    assert rate("openai", "gpt-5", "2026-07-01") == {"default": 4, "priority": 8}
    assert rate("azure", "gpt-5", "2026-07-01")["default"] == 5
    assert rate("openai", "claude", "2026-07-01") == {}
    assert rate("openai", "gpt-5", "2025-07-01") == {}
