"""Registries to test with: the one of the design, and any number of others that are right."""

import tomllib
from datetime import date
from typing import Any

from hypothesis import strategies as st

from comptroller.core.budget.scope import ATTRIBUTES
from comptroller.core.registry.document import read_document
from comptroller.core.registry.entries import Document

EXAMPLE = """
[organization]
name = "acme"
trust_domain = "acme.example"

[teams.search]
cost_center = "CC-100"

[owners."search-lead@acme.example"]
team = "search"

[identities."agent/scout"]
kind = "agent"
team = "search"
owner = "search-lead@acme.example"
purpose = "answers product questions"
environment = "production"
risk_tier = "low"
expires = 2027-06-30

[models."sandbox-*"]
providers = ["sandbox"]
class = "frontier"

[[prices]]
model = "sandbox-large"
from = 2026-01-01
input = "3.00"
output = "15.00"
cache_read = "0.30"

[[budgets]]
name = "search-month"
scope = { team = "search" }
limit = "200.00 USD"
window = "month"
time_zone = "Europe/Berlin"
per = "identity"
mode = "hard"
"""


def example() -> dict[str, Any]:
    return tomllib.loads(EXAMPLE)


def read(raw: dict[str, Any]) -> Document:
    """Of a file that must be right."""
    found = read_document(raw)
    assert isinstance(found, Document), "\n".join(problem.line for problem in found)
    return found


NAMES = ("a", "b", "ops.eu", "x@y.example")
IDENTITIES = ("agent/a", "service/b", "tool/deep/c")
MODELS = ("gpt-*", "gpt-large", "local/tiny:1b", "*")
CLASSES = ("frontier", "small")
AMOUNTS = st.sampled_from(("0", "0.0375", "3.00", "15", "0.000000001"))


BOUNDS = st.fixed_dictionaries(
    {},
    optional={
        "usd": AMOUNTS | st.just("unbounded"),
        "model_calls": st.integers(0, 1_000) | st.just("unbounded"),
        "wall_clock_s": st.integers(0, 86_400),
        "depth": st.integers(0, 5),
    },
)
APPROVAL = st.fixed_dictionaries(
    {}, optional={"approvers": st.just(["ann"]), "max_uses": st.integers(1, 9), "four_eyes_above_usd": AMOUNTS}
)


def some(values: st.SearchStrategy[Any] | tuple[str, ...], *, most: int = 3) -> st.SearchStrategy[list[Any]]:
    each = st.sampled_from(values) if isinstance(values, tuple) else values
    return st.lists(each, min_size=1, max_size=most, unique=True)


def table(known: dict[str, Any], may: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(known, optional=may)


@st.composite
def registries(draw: st.DrawFn) -> dict[str, Any]:
    """A parsed file in which every name names something."""
    teams, owners, models = draw(some(NAMES)), draw(some(NAMES)), draw(some(MODELS))
    one_team, one_owner = st.sampled_from(teams), st.sampled_from(owners)
    identity = table(
        {
            "kind": st.sampled_from(("agent", "service", "human", "tool")),
            "team": one_team,
            "owner": one_owner,
            "purpose": st.sampled_from(("answers questions", "bills")),
            "environment": st.sampled_from(("production", "testing", "experimentation")),
        },
        {
            "deputy": one_owner,
            "risk_tier": st.sampled_from(("low", "critical")),
            "data_classes": some(("pii", "public")),
            "expires": st.dates(date(2026, 1, 1), date(2030, 1, 1)),
        },
    )
    model = table(
        {"providers": some(("p1", "p2"))},
        {
            "class": st.sampled_from(CLASSES),
            "max_output_tokens": st.integers(1_024, 100_000),
            "context_window": st.integers(1, 1_000_000),
            "min_output_tokens": st.integers(0, 1_024),
            "visible_output": st.booleans(),
            "output_limit_field": st.sampled_from(("max_tokens", "max_completion_tokens")),
        },
    )
    identities = draw(some(IDENTITIES))
    raw: dict[str, Any] = {
        "organization": {
            "name": draw(st.sampled_from(NAMES)),
            "trust_domain": draw(st.sampled_from(("a.example", "b"))),
        },
        "teams": {name: draw(table({}, {"cost_center": st.sampled_from(("CC 1", "CC 2"))})) for name in teams},
        "owners": {name: {"team": draw(one_team)} for name in owners},
        "issuers": {"main": {"kind": "oidc", "url": "https://a.example", "audience": draw(st.sampled_from(NAMES))}},
        "identities": {name: draw(identity) | draw(_federated(name)) for name in identities},
        "models": {name: draw(model) for name in models},
        "bounds": draw(st.dictionaries(st.sampled_from(("agent", "human")), BOUNDS, max_size=2)),
        "profiles": draw(st.dictionaries(st.sampled_from(("coding", "support")), BOUNDS, max_size=2)),
        "approvals": draw(st.dictionaries(st.sampled_from(("finops", "cfo")), APPROVAL, max_size=2)),
    }
    raw["prices"] = draw(st.lists(_price(models), max_size=4, unique_by=_price_key))
    raw["budgets"] = draw(st.lists(_budget(raw), max_size=4, unique_by=lambda budget: budget["name"]))
    raw["loops"] = draw(st.lists(_loop(raw), max_size=3, unique_by=lambda loop: loop["name"]))
    raw["rates"] = draw(st.lists(_rate(raw), max_size=3, unique_by=lambda rate: rate["name"]))
    raw["contexts"] = draw(st.lists(_context(raw), max_size=2, unique_by=lambda cap: cap["name"]))
    raw["retries"] = draw(st.lists(_retry(raw), max_size=2, unique_by=lambda rule: rule["name"]))
    return raw


def _loop(raw: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    known = {"identity": tuple(raw["identities"]), "team": tuple(raw["teams"]), "kind": ("agent", "service")}
    scope = st.fixed_dictionaries({}, optional={key: some(values) for key, values in known.items()}).filter(bool)
    return table(
        {"name": st.sampled_from(("agents", "bots", "all")), "scope": scope},
        {
            "mode": st.sampled_from(("hard", "shadow", "off")),
            "same_step": st.integers(2, 16) | st.just("off"),
            "quarantine_after": st.integers(1, 9) | st.just("off"),
            "warn_only": st.lists(st.sampled_from(("same_step", "ping_pong")), unique=True),
        },
    )


def _retry(raw: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return table(
        {"name": st.sampled_from(("day", "all")), "scope": st.just({"team": sorted(raw["teams"])})},
        {
            "share": st.sampled_from(("0%", "2.50%", "100%")),
            "per_minute": st.integers(0, 100),
            "per": st.sampled_from(ATTRIBUTES),
            "mode": st.sampled_from(("hard", "shadow")),
        },
    )


def _federated(name: str) -> st.SearchStrategy[dict[str, Any]]:
    rule = table({"issuer": st.just("main"), "subject": st.just(name)}, {"role": st.sampled_from(("x", "y"))})
    return table({}, {"federated": st.lists(rule, max_size=1)})


def _price(models: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    rates = ("cache_read", "cache_write", "cache_write_1h", "audio_input", "reasoning", "audio_output", "web_search")
    return table(
        {
            "model": st.sampled_from(models),
            "from": st.dates(date(2025, 1, 1), date(2026, 1, 1)),
            "input": AMOUNTS,
            "output": AMOUNTS,
        },
        {"provider": st.sampled_from(("p1", "p2")), "service_tier": st.sampled_from(("default", "priority"))}
        | dict.fromkeys(rates, AMOUNTS),
    )


def _price_key(price: dict[str, Any]) -> tuple[Any, ...]:
    return (price["model"], price.get("provider"), price.get("service_tier", "default"), price["from"])


def _rate(raw: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return table(
        {
            "name": st.sampled_from(("day", "month-1", "all")),
            "scope": _scope(raw),
            "limit": st.sampled_from(("60 calls/minute", "1 call/second", "100_000 tokens/hour", "8 calls at once")),
        },
        {
            "wait_ms": st.integers(0, 60_000),
            "per": st.sampled_from(ATTRIBUTES),
            "mode": st.sampled_from(("hard", "shadow")),
            "visible": st.sampled_from(("caller", "operator")),
        },
    )


def _context(raw: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    scope = _scope(raw).map(lambda found: {key: value for key, value in found.items() if key != "provider"})
    return table(
        {
            "name": st.sampled_from(("long", "wide")),
            "scope": scope.filter(bool),
            "bytes": st.integers(0, 10**6),
        },
        {
            "action": st.sampled_from(("refuse", "trim")),
            "keep_first": st.integers(0, 3),
            "input_tokens": st.integers(0, 10**6),
            "tools": st.integers(0, 100),
            "session_tokens": st.integers(0, 10**9),
            "mode": st.sampled_from(("hard", "shadow")),
        },
    )


def _scope(raw: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    providers = sorted({name for model in raw["models"].values() for name in model["providers"]})
    classes = sorted({model["class"] for model in raw["models"].values() if "class" in model})
    known = {
        "organization": (raw["organization"]["name"],),
        "team": tuple(raw["teams"]),
        "owner": tuple(raw["owners"]),
        "identity": tuple(raw["identities"]),
        "environment": ("production", "testing"),
        "kind": ("agent", "tool"),
        "provider": tuple(providers),
        "session": ("ses_1",),
        "model": tuple(name for name in raw["models"] if "*" not in name),
        "model_class": tuple(classes),
    }
    choices = {key: some(values) | st.sampled_from(values) for key, values in known.items() if values}
    return st.fixed_dictionaries({}, optional=choices).filter(bool)


def _budget(raw: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return table(
        {
            "name": st.sampled_from(("day", "month-1", "all")),
            "scope": _scope(raw),
            "limit": st.sampled_from(("200.00 USD", "0 USD", "1_000.5 USD", "2_000_000 tokens", "500 calls")),
            "window": st.sampled_from(("hour", "day", "week", "month", "lifetime")),
        },
        {
            "time_zone": st.sampled_from(("UTC", "Europe/Berlin")),
            "per": st.sampled_from([each for each in ATTRIBUTES if each not in {"server", "tool"}]),
            "mode": st.sampled_from(("hard", "shadow")),
            "visible": st.sampled_from(("caller", "operator")),
            "soft": st.lists(
                st.sampled_from(("80% notify", "12.5% approval:ops", "99% approval:fin@eu")), unique=True, max_size=3
            ),
        },
    )
