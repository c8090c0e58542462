"""What is billed beside tokens: images, characters, seconds; and what is refused where its price is missing."""

from typing import Any

import pytest

from comptroller.core.pricing.charge import charge_lines, charge_nanos, unpriced
from comptroller.core.pricing.estimate import Asked, Estimate, ModelLimits, estimate
from comptroller.core.pricing.rates import Rates, hourly, per_hour
from comptroller.core.pricing.tariff import Tariff
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.shipped import ShippedBook

MILLION = 1_000_000
BY_IMAGE = Rates(input=0, output=0, image=40_000_000 * MILLION)
BY_TOKEN = Rates(input=5 * 10**9, output=40 * 10**9)
BY_CHARACTER = Rates(input=0, output=0, character=15 * 10**9)
BY_HOUR = Rates(input=0, output=0, audio_hour=per_hour(360_000_000))
LIMITS = ModelLimits(max_output_tokens=1_000, context_window=16_000, max_image_tokens=800)

PICTURE = Asked("m", False, 10, output_fixed=True, pictures=2, choices=2)
SPEECH = Asked("m", False, 10, output_fixed=True, characters=100)
SOUND = Asked("m", False, 10, output_fixed=True, sound=True, audio_ms=60_000)


def bound(asked: Asked, rates: Rates, limits: ModelLimits = LIMITS) -> Estimate | Refusal:
    return estimate(asked, limits, Tariff({"default": rates}), 10_000, money=True, metered=True)


@pytest.mark.parametrize(
    ("asked", "rates", "nanos"),
    [
        (PICTURE, BY_IMAGE, 80_000_000),
        (PICTURE, BY_TOKEN, 10 * 5_000 + 2_000 * 40_000),
        (SPEECH, BY_CHARACTER, 1_500_000),
        (SPEECH, BY_TOKEN, 10 * 5_000 + 1_000 * 40_000),
        (SOUND, BY_HOUR, 6_000_000),
        (SOUND, BY_TOKEN, 16_000 * 5_000 + 1_000 * 40_000),
    ],
)
def test_each_is_held_by_the_meter_that_has_a_price(asked: Asked, rates: Rates, nanos: int) -> None:
    found = bound(asked, rates)
    assert isinstance(found, Estimate)
    assert found.amount_nanos(found.wanted_output_tokens) == nanos
    assert found.least_output_tokens == found.wanted_output_tokens, "it cannot be cut down"


@pytest.mark.parametrize(
    ("asked", "rates", "code", "words"),
    [
        (PICTURE, BY_CHARACTER, "price_unknown", "`image`"),
        (SPEECH, BY_IMAGE, "price_unknown", "`character`"),
        (SOUND, BY_IMAGE, "price_unknown", "`audio_hour`"),
        (Asked("m", False, 1, output_fixed=True, sound=True), BY_HOUR, "estimate_unbounded", "WAV"),
    ],
)
def test_what_has_no_price_or_no_bound_is_refused(asked: Asked, rates: Rates, code: str, words: str) -> None:
    refusal = bound(asked, rates)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    assert words in refusal.message


def test_sound_that_is_billed_by_tokens_needs_a_context_window() -> None:
    refusal = bound(SOUND, BY_TOKEN, ModelLimits(max_output_tokens=1_000))
    assert isinstance(refusal, Refusal)
    assert (refusal.code, "context_window" in refusal.hint) == ("estimate_unbounded", True)
    assert isinstance(bound(SOUND, BY_HOUR, ModelLimits(max_output_tokens=1_000)), Estimate)


@pytest.mark.parametrize(
    ("usage", "rates", "lines", "nanos"),
    [
        (Usage(0, 0, images=3), BY_IMAGE, [("image", 3)], 120_000_000),
        (
            Usage(10, 100, image_output_tokens=100, images=3),
            BY_TOKEN,
            [("image_output", 100), ("input", 10)],
            4_050_000,
        ),
        (Usage(0, 0, characters=7), BY_CHARACTER, [("character", 7)], 105_000),
        (Usage(0, 0, audio_ms=1_500), BY_HOUR, [("audio_hour", 1_500)], 150_000),
    ],
)
def test_each_is_charged_once(usage: Usage, rates: Rates, lines: Any, nanos: int) -> None:
    assert [(line.meter, line.units) for line in charge_lines(usage, rates)] == lines
    assert charge_nanos(usage, rates) == nanos
    assert unpriced(usage, rates) == ()


@pytest.mark.parametrize(
    ("usage", "rates", "given", "words"),
    [
        (Usage(0, 0, images=1), BY_TOKEN, {}, "images"),
        (Usage(0, 0, characters=1), BY_TOKEN, {}, "characters"),
        (Usage(0, 0, audio_ms=1), BY_TOKEN, {}, "audio by its length"),
        (Usage(9, 1), BY_HOUR, {"sound": True}, "audio whose length it does not say"),
    ],
)
def test_what_was_used_and_cannot_be_priced_is_never_free(usage: Usage, rates: Rates, given: Any, words: str) -> None:
    assert unpriced(usage, rates, **given) == (words,)


def test_a_price_depends_on_the_variant_where_the_book_has_it() -> None:
    tariff = Tariff({"default": BY_IMAGE, "hd-1024x1792": Rates(0, 0, image=120_000_000 * MILLION)})
    for variant, nanos in (("hd-1024x1792", 240_000_000), ("standard-1024x1024", 80_000_000)):
        asked = Asked("m", False, 1, output_fixed=True, pictures=2, choices=2, variant=variant)
        found = estimate(asked, LIMITS, tariff, 10_000, money=True, metered=True)
        assert isinstance(found, Estimate)
        assert found.amount_nanos(0) == nanos


@pytest.mark.parametrize("usd_nanos", [360_000_000, 270_000_000, 111_000_000, 40_000_000, 1_020_000_000])
def test_the_price_of_an_hour_is_kept_as_precisely_as_price_lists_say_it(usd_nanos: int) -> None:
    rate = per_hour(usd_nanos)
    assert hourly(rate) == usd_nanos
    assert 0 <= rate * 36 - usd_nanos * 10 < 36, "rounded up, by less than one nano-USD for a million milliseconds"


@pytest.mark.parametrize(
    ("table", "model", "meter", "rate"),
    [
        ("openai", "tts-1", "character", 15 * 10**9),
        ("openai", "tts-1-hd", "character", 30 * 10**9),
        ("openai", "whisper-1", "audio_hour", 10**8),
        ("groq", "whisper-large-v3", "audio_hour", 30_833_334),
        ("openai", "gpt-image-1", "output", 40 * 10**9),
        ("openai", "gpt-4o-transcribe", "audio_input", 6 * 10**9),
        ("openai", "text-embedding-3-small", "input", 2 * 10**7),
    ],
)
def test_the_shipped_prices_of_images_and_sound(table: str, model: str, meter: str, rate: int) -> None:
    (line, *_) = [each for each in ShippedBook({"p": table}).prices("p", model) if each.service_tier == "default"]
    assert getattr(line.rates, meter) == rate


@pytest.mark.parametrize("model", ["dall-e-3", "omni-moderation-latest"])
def test_what_the_shipped_book_does_not_know_it_does_not_price(model: str) -> None:
    assert ShippedBook({"p": "openai"}).prices("p", model) == ()
