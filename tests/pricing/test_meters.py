"""Laws of the meters: every unit is billed once, and no honest answer costs more than its estimate."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from comptroller.core.money import total_nanos
from comptroller.core.pricing.charge import charge_lines, charge_nanos, unpriced
from comptroller.core.pricing.estimate import Asked, Estimate, ModelLimits, estimate
from comptroller.core.pricing.rates import FEES, METERS, Rates, Size, tier_name
from comptroller.core.pricing.tariff import Tariff
from comptroller.core.pricing.usage import COUNTS, Usage
from comptroller.core.refusal import Refusal

RATE = st.integers(0, 10**11)
MAYBE = st.none() | RATE
INPUT_PARTS = ("cached_tokens", "cache_write_tokens", "audio_input_tokens", "image_input_tokens", "video_input_tokens")
OUTPUT_PARTS = ("reasoning_tokens", "audio_output_tokens", "image_output_tokens")


@st.composite
def flat(draw: st.DrawFn) -> Rates:
    """Everything that a request of any kind needs has a price; what may be left out sometimes is."""
    must = {
        name: draw(RATE) for name in ("input", "output", "audio_input", "audio_output", "web_search", "file_search")
    }
    may = {name: draw(MAYBE) for name in METERS if name not in must}
    return Rates(**must, **may)


@st.composite
def tariffs(draw: st.DrawFn) -> Rates:
    overs = draw(st.lists(st.integers(1, 3_000), max_size=2, unique=True))
    sizes = tuple(Size(over, draw(flat())) for over in sorted(overs))
    base = draw(flat())
    return Rates(**{name: getattr(base, name) for name in METERS}, sizes=sizes)


TIERS = st.dictionaries(st.sampled_from(("priority", "flex", "us")), tariffs()).flatmap(
    lambda more: tariffs().map(lambda base: {"default": base, **more})
)


@st.composite
def parts(draw: st.DrawFn, whole: int, names: tuple[str, ...]) -> dict[str, int]:
    """Parts that fit into a whole together."""
    left, found = whole, dict[str, int]()
    for name in draw(st.permutations(names)):
        found[name] = draw(st.integers(0, left))
        left -= found[name]
    return found


@st.composite
def usages(draw: st.DrawFn, most_input: int, most_output: int) -> Usage:
    """What an honest provider may report for at most so many tokens."""
    total_in, total_out = draw(st.integers(0, most_input)), draw(st.integers(0, most_output))
    inside, made = draw(parts(total_in, INPUT_PARTS)), draw(parts(total_out, OUTPUT_PARTS))
    hour = draw(st.integers(0, inside["cache_write_tokens"]))
    # Cached audio and images are in two parts at once, and so leave room in the whole.
    shared = draw(parts(min(inside["cached_tokens"], total_in - sum(inside.values())), ("audio", "image")))
    inside["audio_input_tokens"] += shared["audio"]
    inside["image_input_tokens"] += shared["image"]
    return Usage(
        total_in,
        total_out,
        **inside,
        **made,
        cache_write_1h_tokens=hour,
        cached_audio_tokens=shared["audio"],
        cached_image_tokens=shared["image"],
    )


def bound(asked: Asked, rates: dict[str, Rates], factor_bp: int = 10_000) -> Estimate:
    found = estimate(asked, ModelLimits(5_000, 4_000, 300), Tariff(rates), factor_bp, money=True, metered=True)
    assert isinstance(found, Estimate), found
    return found


def everything(**more: Any) -> Asked:
    """A request that can lead to every meter."""
    known: dict[str, Any] = {"audio_input": True, "audio_output": True, "unbounded": ("a file",)}
    return Asked(**{"model": "m", "stream": False, "text_tokens": 100, **known, **more})


@given(TIERS, st.integers(1, 3), st.integers(0, 4), st.integers(0, 4), st.data())
def test_no_honest_answer_costs_more_than_its_estimate(
    rates: dict[str, Rates], choices: int, web: int, files: int, data: st.DataObject
) -> None:
    long = data.draw(st.booleans())
    every = [each for tariff in rates.values() for each in tariff.up_to(5_000)]
    assume(not long or all(each.cache_write is None or each.cache_write_1h is not None for each in every))
    asked = everything(
        output_limit=2_000, choices=choices, web_searches=web, file_searches=files, long_cache_writes=long
    )
    found = bound(asked, rates)
    used = data.draw(usages(found.input_tokens, choices * found.wanted_output_tokens))
    searched = {
        "web_search_requests": data.draw(st.integers(0, web)),
        "file_search_requests": data.draw(st.integers(0, files)),
    }
    lasting = {
        "cache_write_1h_tokens": used.cache_write_1h_tokens if long else 0
    }  # nobody keeps what was not asked for
    usage = Usage(**{name: getattr(used, name) for name in COUNTS} | searched | lasting)
    for tariff in rates.values():
        assert charge_nanos(usage, tariff) <= found.amount_nanos(found.wanted_output_tokens)


@given(TIERS, st.integers(0, 3_500), st.booleans(), st.sampled_from((None, "auto", "flex", "default")))
def test_a_request_of_text_is_held_at_the_dearest_rate_it_can_reach(
    rates: dict[str, Rates], text: int, long_writes: bool, tier: str | None
) -> None:
    assume(tier is None or tier == "auto" or tier in rates)
    asked = Asked(model="m", stream=False, text_tokens=text, service_tier=tier, long_cache_writes=long_writes)
    tiers = rates if tier in {None, "auto"} else {name: rates[name] for name in {"default", str(tier)}}
    reached = [
        each
        for tariff in tiers.values()
        for each in (tariff, *(s.rates for s in tariff.sizes))
        if each is tariff or each in longer(tariff, text)
    ]
    found = estimate(asked, ModelLimits(5_000, 4_000, 300), Tariff(rates), 10_000, money=True, metered=True)
    if long_writes and any(each.cache_write is not None and each.cache_write_1h is None for each in reached):
        assert isinstance(found, Refusal)
        assert found.code == "price_unknown"
        return
    assert isinstance(found, Estimate)
    meters = ["input", "cache_read", "cache_write", *(["cache_write_1h"] if long_writes else [])]
    assert found.input_rate == max(getattr(each, meter) or 0 for each in reached for meter in meters)
    outputs = ("output", "reasoning", "image_output")
    assert found.output_rate == max(getattr(each, meter) or 0 for each in reached for meter in outputs)


def longer(tariff: Rates, text: int) -> list[Rates]:
    return [size.rates for size in tariff.sizes if text > size.over_input_tokens]


@given(tariffs(), usages(4_000, 4_000))
def test_every_token_is_billed_once(tariff: Rates, usage: Usage) -> None:
    lines = charge_lines(usage, tariff)
    assert sum(line.units for line in lines if line.meter not in FEES) == usage.total_tokens
    assert charge_nanos(usage, tariff) == total_nanos((line.units, line.rate) for line in lines)
    assert len({line.meter for line in lines}) == len(lines)


@given(tariffs(), st.integers(0, 4_000))
def test_the_size_of_the_prompt_sets_the_price_of_all_of_it(tariff: Rates, prompt: int) -> None:
    reached = [size for size in tariff.sizes if prompt > size.over_input_tokens]
    expected = reached[-1].rates if reached else tariff
    cost = charge_nanos(Usage(prompt, 7), tariff)
    assert cost == -(-(prompt * expected.input + 7 * expected.output + (expected.request or 0)) // 1_000_000)


@pytest.mark.parametrize(
    ("usage", "nanos"),
    [
        (Usage(300_000, 0), 300_000 * 5_000),
        (Usage(272_000, 0), 272_000 * 2_500),
        (Usage(272_001, 10, cached_tokens=272_000), 5_000 + 272_000 * 500 + 10 * 22_500),
        (Usage(10, 0, cache_write_tokens=10, cache_write_1h_tokens=4), 6 * 3_000 + 4 * 9_000),
        (Usage(10, 0, cached_tokens=6, audio_input_tokens=5, cached_audio_tokens=5), 4 * 2_500 + 250 + 5 * 100),
        (Usage(10, 0, image_input_tokens=10), 10 * 2_500),  # no price of its own: as its whole
        (Usage(0, 0, cache_write_1h_tokens=4), 4 * 9_000),  # a faulty server: the part is larger than its whole
        (Usage(0, 0, web_search_requests=3), 3 * 10_000_000),
    ],
)
def test_charges_by_hand(usage: Usage, nanos: int) -> None:
    usd = 10**9
    long = Rates(5 * usd, 22_500_000_000, cache_read=usd // 2)
    rates = Rates(
        2_500_000_000,
        15 * usd,
        cache_read=usd // 4,
        cache_write=3 * usd,
        cache_write_1h=9 * usd,
        cache_read_audio=usd // 10,
        web_search=10_000 * usd,
        sizes=(Size(272_000, long),),
    )
    assert charge_nanos(usage, rates) == nanos


def test_an_hours_write_without_a_price_costs_what_other_writes_cost() -> None:
    usage = Usage(10, 0, cache_write_tokens=10, cache_write_1h_tokens=10)
    assert charge_nanos(usage, Rates(1_000_000, 0, cache_write=3_000_000)) == 30


def test_fees_are_held_beside_the_tokens() -> None:
    rates = Rates(0, 0, request=5_000_000, web_search=7_000_000, file_search=11_000_000)
    for asked, nanos in (({}, 5), ({"web_searches": 2}, 5 + 14), ({"file_searches": 3}, 5 + 33)):
        assert bound(Asked("m", False, 1, **asked), {"default": rates}).amount_nanos(1) == nanos


def test_a_fee_without_a_price_is_named() -> None:
    rates = Rates(1, 1, web_search=5)
    assert unpriced(Usage(1, 1, web_search_requests=1, file_search_requests=2), rates) == ("file searches",)
    assert unpriced(Usage(1, 1), Rates(1, 1)) == ()
    for asked in ({"web_searches": 1}, {"file_searches": 1}):
        request = Asked(model="m", stream=False, text_tokens=1, **asked)
        found = estimate(request, ModelLimits(10), Tariff({"default": Rates(1, 1)}), 10_000, money=True, metered=True)
        assert isinstance(found, Refusal)
        assert found.code == "price_unknown"


def test_only_the_tiers_that_a_request_can_get_count() -> None:
    rates = {"default": Rates(10, 20), "fast": Rates(60, 120), "us": Rates(11, 22)}
    assert bound(Asked("m", False, 1), rates).output_rate == 120
    assert bound(Asked("m", False, 1, possible_tiers=frozenset({"default", "us", "priority"})), rates).output_rate == 22
    assert bound(Asked("m", False, 1, service_tier="us", possible_tiers=frozenset({"us"})), rates).output_rate == 22
    assert bound(Asked("m", False, 1, possible_tiers=frozenset({"unheard"})), rates).output_rate == 120
    assert bound(Asked("m", False, 1, service_tier="standard"), rates).output_rate == 20
    assert [tier_name(word) for word in ("standard", "standard_only", "default", "flex")] == ["default"] * 3 + ["flex"]


@given(TIERS, st.integers(10_000, 30_000), st.integers(0, 10**12))
def test_the_affordable_limit_counts_fees_and_sizes(rates: dict[str, Rates], factor: int, remaining: int) -> None:
    found = bound(everything(web_searches=2), rates, factor)
    fits = found.affordable_by_money(remaining)
    if fits >= 0:
        assert found.amount_nanos(fits) <= remaining
    if found.output_rate:
        assert found.amount_nanos(max(0, fits + 1)) > remaining
