"""The shipped book says what genai-prices' own engine says, exactly, and never over the network."""

import re
import subprocess
import sys
import tomllib
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from genai_prices.data import providers
from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, PriceVariant, Provider, TimeOfDateConstraint
from genai_prices.types import Usage as TheirUsage

from comptroller.core.pricing.book import ALWAYS, Price, PriceBook
from comptroller.core.pricing.charge import charge_nanos
from comptroller.core.pricing.rates import Rates
from comptroller.core.pricing.usage import Usage
from comptroller.core.registry.build import build
from comptroller.core.registry.document import read_document
from comptroller.core.registry.entries import Document, StoredEntry
from comptroller.settings import load_settings
from comptroller.settings.schema import ProviderSettings
from comptroller.settings.values import read_base_url
from comptroller.shipped import ShippedBook
from comptroller.shipped.lines import Unusable, price_lines
from tests.pricing.second import DAY, nanos

CONTEXTS: dict[str, dict[str, str]] = {
    "default": {"service_tier": "default"},
    "priority": {"service_tier": "priority"},
    "flex": {"service_tier": "flex"},
    "batch": {"processing": "batch"},
}
TABLES = {provider.id: provider for provider in providers}


def changes_by_the_hour(model: ModelInfo) -> bool:
    prices = model.prices if isinstance(model.prices, list) else []
    return any(isinstance(each.constraint, TimeOfDateConstraint) for each in prices)


def priced(table: Provider) -> list[tuple[ModelInfo, dict[str, Rates]]]:
    """Every model that the book can price, by a name that leads to it."""
    book = PriceBook((), "v", ShippedBook({"ours": table.id}))
    found = [(model, dict(book.rates("ours", model.id, DAY))) for model in table.models]
    return [(m, rates) for m, rates in found if rates and table.find_model(m.id) is m and not changes_by_the_hour(m)]


def theirs(model: ModelInfo, table: Provider, tier: str, usage: Usage) -> Fraction:
    """What the package's own arithmetic makes of the same usage."""
    others = ("input_audio", "output_audio", "input_image", "output_image", "input_video")
    used: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "output_reasoning_tokens": usage.reasoning_tokens,
        "web_searches": usage.web_search_requests,
        **{f"{other}_tokens": 0 for other in others},
    }
    context = CONTEXTS.get(tier, {"service_tier": tier, "speed": tier})
    price = model.get_prices(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC), context)
    if price.web_searches_kcount is None:
        used["web_searches"] = 0
    total = model.calc_price(
        TheirUsage(**used),
        table,
        genai_request_timestamp=datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC),
        price_context=context,
    ).total_price
    return Fraction(total)


@pytest.mark.parametrize("table", [t.id for t in providers if t.models])
def test_every_price_of_a_table_is_what_its_own_engine_computes(table: str) -> None:
    for model, rates in priced(TABLES[table]):
        for tier, tariff in rates.items():
            if tier == "us" or tier.endswith("-us"):
                continue  # ours alone: test_second_table.py
            sizes = [1_000, *(size.over_input_tokens + extra for size in tariff.sizes for extra in (0, 1))]
            for prompt in sizes:
                usage = Usage(
                    prompt,
                    321,
                    cached_tokens=prompt // 3,
                    cache_write_tokens=prompt // 5,
                    reasoning_tokens=50,
                    cache_write_1h_tokens=prompt // 7 if "claude" in model.id and tariff.cache_write_1h else 0,
                    web_search_requests=2 if tariff.web_search is not None else 0,
                )
                assert charge_nanos(usage, tariff) == nanos(theirs(model, TABLES[table], tier, usage)), (model.id, tier)


def test_most_models_of_the_table_have_a_price() -> None:
    counted = sum(len(priced(table)) for table in providers)
    assert counted > 1_900


def shipped(**tables: str) -> ShippedBook:
    return ShippedBook(tables)


def test_a_provider_is_found_by_its_host_or_named() -> None:
    book = shipped(
        a="https://api.anthropic.com", g="https://generativelanguage.googleapis.com", o="openai", x="https://x.example"
    )
    assert [bool(book.prices("a", "claude-opus-5")), book.knows("g"), book.knows("o")] == [True] * 3
    assert not book.knows("x")
    assert not book.knows("nobody")
    assert book.check() == ()
    (problem,) = shipped(o="opnai", p="openai").check()
    assert problem.line.startswith("providers.o.price_provider: ")
    assert "'openai'" in problem.hint


@pytest.mark.parametrize(
    ("base_url", "known", "table"),
    [
        ("https://api.openai.com/v1", {}, "https://api.openai.com"),
        ("https://api.openai.com:8443", {}, "https://api.openai.com"),
        ("https://router.huggingface.co/groq/v1", {}, "https://router.huggingface.co/groq"),
        ("https://api.openai.com", {"price_provider": "azure"}, "azure"),
        ("https://api.openai.com", {"price_provider": "none"}, None),
        ("http://127.0.0.1:8788", {}, None),
        ("http://127.0.0.1:8788", {"price_provider": "openai"}, "openai"),
        ("https://api.openai.com", {"private_network": True}, None),
    ],
)
def test_which_table_a_provider_has(base_url: str, known: dict[str, Any], table: str | None) -> None:
    url = read_base_url(base_url, None)  # type: ignore[arg-type]
    assert ProviderSettings(dialects=("openai",), base_url=url, **known).price_table == table


def test_a_reseller_has_the_default_price_alone() -> None:
    book = PriceBook((), "v", shipped(azure="azure", openai="openai"))
    assert set(book.rates("openai", "gpt-5", DAY)) == {"default", "priority", "fast", "flex", "batch"}
    assert set(book.rates("azure", "gpt-5", DAY)) == {"default"}


def test_a_model_has_the_price_of_the_name_that_its_provider_has_for_it() -> None:
    names = {("reseller", "house-model"): "openai/gpt-4o", ("openai", "gpt-4o"): "deployment-7"}
    book = PriceBook((), "v", shipped(reseller="openrouter", openai="openai"), names)
    assert book.rates("reseller", "house-model", DAY) == book.rates("reseller", "openai/gpt-4o", DAY) != {}
    assert not book.rates("openai", "house-model", DAY), "another provider has no such name for it"
    assert book.rates("openai", "gpt-4o", DAY)["default"].input == 2_500 * 10**6, "our name is the better known"


def test_another_name_is_another_book() -> None:
    raw = {
        "organization": {"name": "acme", "trust_domain": "acme.example"},
        "models": {"house-model": {"providers": ["reseller"]}},
    }
    versions: list[str] = []
    for names in ({}, {"upstream_model": {"reseller": "openai/gpt-4o"}}):
        raw["models"]["house-model"] |= names
        found = read_document(raw)
        assert isinstance(found, Document)
        installed = {key: StoredEntry(entry) for key, entry in found.entries.items()}
        versions.append(build(installed, 1, shipped(reseller="openrouter")).prices.version)
    assert versions[0] != versions[1]


def test_history_is_dated() -> None:
    book = PriceBook((), "v", shipped(openai="openai"))
    assert book.rates("openai", "o3", date(2025, 6, 9))["default"].input == 10 * 10**9
    assert book.rates("openai", "o3", date(2025, 6, 10))["default"].input == 2 * 10**9
    assert "flex" not in book.rates("openai", "o3", date(2026, 10, 11))
    assert "flex" in book.rates("openai", "o3", date(2026, 10, 12))


# --- what cannot be priced ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model", "why"),
    [
        ("openai", "gpt-99", "does not know the model"),
        ("openai", "moderation", "no price for input tokens"),
        ("openrouter", "google/gemini-2.5-flash", "cache_write_mtok = 0.0833333333333333 is not a whole number"),
        ("google", "gemini-omni-1.1-flash", "output_video_mtok"),
        ("openai", "gpt-4o-mini-search-preview", "searches unasked"),
        ("openrouter", "perplexity/sonar", "searches unasked"),
        ("openrouter", "openai/o3-deep-research", "searches unasked"),
        ("perplexity", "perplexity/sonar", "search_type"),
        ("nobody", "gpt-5", "nobody has no table"),
    ],
)
def test_what_cannot_be_priced_exactly_has_no_price_and_a_reason(provider: str, model: str, why: str) -> None:
    book = shipped(openai="openai", openrouter="openrouter", google="google", perplexity="perplexity")
    assert book.prices(provider, model) == ()
    assert why in book.why_not(provider, model)


def made(prices: Any, variants: list[PriceVariant] | None = None) -> ModelInfo:
    match = TABLES["openai"].models[0].match
    return ModelInfo(id="m", match=match, prices=prices, price_variants=variants)


def test_where_the_price_changes_by_the_hour_the_dearest_holds_all_day() -> None:
    hours = TimeOfDateConstraint(time(1), time(4))
    cheap, dear = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(9)), ModelPrice(input_mtok=Decimal(2))
    model = made([ConditionalPrice(prices=cheap), ConditionalPrice(hours, prices=dear)])
    (line,) = price_lines(model, "m", "here", own=True)
    assert (line.rates.input, line.rates.output) == (2 * 10**9, 9 * 10**9)
    assert line.first_day == ALWAYS


@pytest.mark.parametrize(
    "prices",
    [
        ModelPrice(input_mtok=Decimal("0.0000000001")),
        ModelPrice(input_mtok=Decimal(-1)),
        ModelPrice(output_mtok=Decimal(1)),
        ModelPrice(input_mtok=Decimal(1), input_mchars=Decimal(1)),
        ModelPrice(),
    ],
)
def test_a_price_is_exact_or_there_is_none(prices: ModelPrice) -> None:
    with pytest.raises(Unusable):
        price_lines(made(prices), "m", "here", own=True)


def test_a_price_that_depends_on_what_no_answer_says_is_not_used() -> None:
    variant = PriceVariant({"moon": "full"}, ModelPrice(input_mtok=Decimal(5)))
    with pytest.raises(Unusable, match="moon"):
        price_lines(made(ModelPrice(input_mtok=Decimal(1)), [variant]), "m", "here", own=True)
    assert price_lines(made(ModelPrice(input_mtok=Decimal(1)), [variant]), "m", "here", own=False)


# --- the registry above it ----------------------------------------------------------------------


def line(tier: str = "default", model: str = "gpt-5.4", over: int = 0, day: date = DAY, rate: int = 7) -> Price:
    return Price(model, day, Rates(rate, rate), service_tier=tier, over_input_tokens=over)


@pytest.mark.parametrize("model", ["gpt-5.4", "gpt-*", "*"])
def test_a_line_of_the_registry_is_the_whole_price_of_its_tier_and_of_no_other(model: str) -> None:
    book = PriceBook([line(model=model)], "v", shipped(openai="openai"))
    rates = book.rates("openai", "gpt-5.4", DAY)
    assert rates["default"] == Rates(7, 7), "no shipped size, no shipped cache price"
    assert rates["flex"].sizes, "the other tiers stay as they are shipped"
    before = book.rates("openai", "gpt-5.4", DAY - timedelta(days=1))
    assert before["default"].input == 2_500_000_000, "a line that is not in force yet hides nothing"


def test_sizes_of_the_registry_belong_to_their_day() -> None:
    later = DAY + timedelta(days=1)
    book = PriceBook([line(), line(over=1_000, rate=9), line(day=later)], "v", shipped(openai="openai"))
    assert [size.over_input_tokens for size in book.rates("openai", "gpt-5.4", DAY)["default"].sizes] == [1_000]
    assert book.rates("openai", "gpt-5.4", DAY)["default"].at(1_001).input == 9
    assert book.rates("openai", "gpt-5.4", later)["default"].sizes == (), "a later line replaces all of them"


def test_the_real_models_of_the_sample_and_the_readme_have_shipped_prices() -> None:
    sample = Path(str(files("comptroller") / "sample"))
    providers = load_settings(sample / "comptroller.toml").providers
    tables = {name: each.price_table for name, each in providers.items()}
    book = ShippedBook({name: table for name, table in tables.items() if table is not None})
    found = read_document(tomllib.loads((sample / "registry.toml").read_text(encoding="utf-8")), shipped=book)
    assert isinstance(found, Document)
    assert [each for each in found.warnings if "price" in each.sentence] == []
    built = build({key: StoredEntry(entry) for key, entry in found.entries.items()}, 1, book)
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:gpt|claude)-[a-z0-9.-]+)`", readme))
    assert len(named) >= 4
    for name in named:
        model = built.model(name)
        assert model is not None, f"the sample does not serve {name}"
        for provider in model.providers:
            default = built.prices.rates(provider, name, DAY)["default"]
            assert min(default.input, default.output, default.cache_read or 0) > 0, name


# --- loading ------------------------------------------------------------------------------------

_QUIET = """
import socket, sys, threading
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.bind", "urllib.Request"):
        raise SystemExit(f"{event} {arguments}")
sys.addaudithook(refuse)
from comptroller import app
from comptroller.shipped import ShippedBook
book = ShippedBook({"openai": "https://api.openai.com"})
assert book.version.startswith("genai-prices "), book.version
assert "genai_prices" not in sys.modules, "loaded before it was asked"
assert "pydantic" not in sys.modules
assert book.prices("openai", "gpt-5")
assert threading.active_count() == 1, threading.enumerate()
"""


def test_it_loads_when_it_is_asked_and_opens_no_connection() -> None:
    done = subprocess.run([sys.executable, "-c", _QUIET], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
