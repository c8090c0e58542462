"""From entries to the registry that calls meet."""

from datetime import date
from typing import Any

from hypothesis import given, settings

from comptroller.core.budget.budget import Budget
from comptroller.core.identity.identity import FOREVER_NS, Identity, Organization, Owner, Team
from comptroller.core.money import parse_usd
from comptroller.core.pricing.book import Rates
from comptroller.core.pricing.estimate import ModelLimits
from comptroller.core.registry.build import build
from comptroller.core.registry.registry import Model, Registry
from comptroller.shipped import ShippedBook
from tests.registry.documents import MODELS, example, read, registries
from tests.registry.test_plan import installed

DAY = date(2026, 11, 1)


def built(*files: dict[str, Any]) -> Registry:
    return build(installed(*files), version=len(files))


def test_the_example_becomes_what_it_says() -> None:
    registry = built(example())
    assert registry.version == 1
    assert registry.organization == Organization("acme", "acme.example")
    assert registry.teams == {"search": Team("search", "CC-100")}
    assert registry.owners == {"search-lead@acme.example": Owner("search-lead@acme.example", "search")}
    assert registry.identities == {
        "agent/scout": Identity(
            id="agent/scout",
            kind="agent",
            team="search",
            owner="search-lead@acme.example",
            purpose="answers product questions",
            environment="production",
            expires=date(2027, 6, 30),
        )
    }
    assert registry.answerable_until(registry.identities["agent/scout"]) == FOREVER_NS
    assert registry.model("sandbox-large") == Model(
        pattern="sandbox-*",
        providers=("sandbox",),
        limits=ModelLimits(max_output_tokens=16_384, overhead_tokens=256),
        model_class="frontier",
    )
    assert registry.prices.rates("sandbox", "sandbox-large", DAY) == {
        "default": Rates(input=3 * 10**9, output=15 * 10**9, cache_read=3 * 10**8)
    }
    assert registry.budgets == (
        Budget(
            name="search-month",
            scope={"team": ("search",)},
            unit="usd",
            limit=200 * 10**9,
            window="month",
            time_zone="Europe/Berlin",
            per="identity",
            mode="hard",
            visible="caller",
        ),
    )


def test_every_limit_of_a_model_is_taken_over() -> None:
    raw = example()
    raw["models"]["m"] = {
        "providers": ["b", "a"],
        "max_output_tokens": 5,
        "context_window": 6,
        "max_image_tokens": 7,
        "overhead_tokens": 8,
        "min_output_tokens": 4,
        "output_limit_field": "max_tokens",
        "visible_output": True,
        "upstream_model": {"b": "org/m"},
    }
    assert built(raw).model("m") == Model(
        pattern="m",
        providers=("b", "a"),
        limits=ModelLimits(5, 6, 7, 8, 4),
        output_limit_field="max_tokens",
        visible_output=True,
        upstream_model={"b": "org/m"},
    )


def test_what_is_left_out_of_the_file_is_out_of_force() -> None:
    less = example()
    less["identities"]["agent/other"] = {**less["identities"].pop("agent/scout"), "owner": "new", "team": "new"}
    less["teams"] = {"new": {}}
    less["owners"] = {"new": {"team": "new"}}
    less["models"] = {"other": {"providers": ["sandbox"]}}
    del less["prices"], less["budgets"]
    registry = built(example(), less)
    assert registry.budgets == ()
    assert registry.prices.rates("sandbox", "sandbox-large", DAY) == {}
    assert registry.model("sandbox-large") is None
    gone = registry.identities["agent/scout"]
    assert gone.disabled, "still known, and refused by name"
    assert registry.answerable_until(gone) == 0, "when its owner left was not recorded here"
    assert registry.teams.keys() == {"new"}
    assert registry.answerable_until(registry.identities["agent/other"]) == FOREVER_NS
    assert not registry.identities["agent/other"].disabled


def test_a_disabled_model_hides_no_pattern() -> None:
    first, second = example(), example()
    first["models"]["sandbox-large"] = {"providers": ["other"]}
    found = built(first, second).model("sandbox-large")
    assert found is not None
    assert found.pattern == "sandbox-*"


def test_the_version_of_the_price_book_names_its_prices() -> None:
    one, two, three = example(), example(), example()
    two["prices"][0]["input"] = "3"
    three["prices"][0]["input"] = "3.01"
    one["budgets"][0]["limit"] = "1 USD"
    versions = [built(raw).prices.version for raw in (one, two, three)]
    assert versions[0] == versions[1] != versions[2]
    assert len(versions[0]) == 12
    assert built(three, one).prices.version == versions[0], "what is out of force does not count"


def test_fees_sizes_and_tiers_are_taken_over_in_nano_usd_per_million() -> None:
    raw = example()
    base = raw["prices"][0]
    raw["prices"] = [
        base | {"web_search": "10.00", "request": "0.005", "cache_write_1h": "6.00", "service_tier": "standard"},
        base | {"over_input_tokens": 200_000, "input": "6.00"},
    ]
    rates = built(raw).prices.rates("sandbox", "sandbox-large", DAY)["default"]
    assert (rates.web_search, rates.request, rates.cache_write_1h) == (10**13, 5 * 10**9, 6 * 10**9)
    assert [(size.over_input_tokens, size.rates.input) for size in rates.sizes] == [(200_000, 6 * 10**9)]
    assert rates.at(200_001).web_search is None, "a line says all that is in it, and no more"


def test_the_version_of_the_price_book_names_what_is_shipped() -> None:
    entries = installed(example())
    versions = {
        build(entries, 1, shipped).prices.version
        for shipped in (
            None,
            ShippedBook({}),
            ShippedBook({"a": "openai"}),
            ShippedBook({"a": "https://api.openai.com"}),
        )
    }
    assert len(versions) == 4
    assert build(entries, 1, ShippedBook({})).prices.version == build(entries, 2, ShippedBook({})).prices.version


@settings(max_examples=40)
@given(registries(), registries())
def test_the_way_to_a_file_leaves_no_trace_in_what_calls_meet(one: dict[str, Any], two: dict[str, Any]) -> None:
    direct, detour = built(two), built(one, two)
    assert detour.organization == direct.organization
    assert detour.budgets == direct.budgets
    assert detour.prices.version == direct.prices.version
    for model in ("gpt-large", "gpt-x", "local/tiny:1b", "else"):
        assert detour.model(model) == direct.model(model)
        for provider in ("p1", "p2"):
            assert detour.prices.rates(provider, model, DAY) == direct.prices.rates(provider, model, DAY)
    assert detour.teams == direct.teams
    for mine, theirs in (
        (detour.identities, direct.identities),
        (detour.owners, direct.owners),
    ):
        assert {key: value for key, value in mine.items() if not value.disabled} == theirs


@given(registries())
def test_what_the_file_says_is_what_is_built(raw: dict[str, Any]) -> None:
    registry = built(raw)
    for name, written in raw["identities"].items():
        identity = registry.identities[name]
        plain = {field: value for field, value in written.items() if field != "federated"}
        assert all(getattr(identity, field) == _as_built(value) for field, value in plain.items())
        for rule in written.get("federated", ()):
            claims = {"sub": rule["subject"], "role": rule.get("role", "any")}
            assert registry.federation.identity_of(registry.federation.issuers["main"], claims) == name
    for pattern, written in raw["models"].items():
        model = registry.models[pattern]
        assert model.providers == tuple(written["providers"])
        assert model.limits.context_window == written.get("context_window")
        assert model.model_class == written.get("class")
    assert {budget.name for budget in registry.budgets} == {written["name"] for written in raw["budgets"]}
    assert {rule.name: f"{rule.share_bp / 100:g}%" for rule in registry.retries} == {
        written["name"]: written.get("share", "10%").replace(".50", ".5") for written in raw["retries"]
    }
    for written in raw["budgets"]:
        (budget,) = (one for one in registry.budgets if one.name == written["name"])
        digits, _ = written["limit"].replace("_", "").split(" ")
        assert budget.limit == (parse_usd(digits) if budget.unit == "usd" else int(digits))
        assert {key: set(values) for key, values in budget.scope.items()} == {
            key: {value} if isinstance(value, str) else set(value) for key, value in written["scope"].items()
        }
    assert set(registry.models) <= set(MODELS)
    assert read(raw).entries


def _as_built(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
