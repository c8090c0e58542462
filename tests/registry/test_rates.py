"""[[rates]] of registry.toml: what is right becomes a rate, what is wrong is said with its place."""

import tomllib
from typing import Any

import pytest

from comptroller.core.problem import Problem
from comptroller.core.rate.rate import Pace
from comptroller.core.registry.build import build
from comptroller.core.registry.document import read_document
from comptroller.core.registry.plan import install, plan
from tests.registry.documents import EXAMPLE, read

RATE = """
[[rates]]
name = "burst"
scope = { identity = "agent/scout" }
limit = "60 calls/minute"
"""


def rates(text: str = RATE) -> dict[str, Any]:
    return tomllib.loads(EXAMPLE + text)


def with_field(**fields: object) -> dict[str, Any]:
    raw = rates()
    raw["rates"][0] |= fields
    return raw


def test_a_rate_has_the_defaults_that_are_documented() -> None:
    (rate,) = build(install({}, plan({}, read(rates()).entries)), 1).rates
    assert (rate.name, rate.pace, rate.burst, rate.wait_ms) == ("burst", Pace(60, "calls", 60), 1, 0)
    assert (rate.per, rate.mode, rate.visible) == (None, "hard", "caller")


@pytest.mark.parametrize(
    ("written", "stored", "burst"),
    [
        ("10 calls/second", "10 calls/second", 10),
        ("1 calls/hour", "1 call/hour", 1),
        ("1 call at once", "1 call at once", 1),
        ("600 calls/minute", "600 calls/minute", 10),
        ("100000 tokens/minute", "100_000 tokens/minute", 100_000),
        ("8 calls at once", "8 calls at once", 8),
    ],
)
def test_a_limit_is_kept_in_one_spelling(written: str, stored: str, burst: int) -> None:
    entries = read(with_field(limit=written)).entries
    assert entries["rate", "burst"]["limit"] == stored
    (rate,) = build(install({}, plan({}, entries)), 1).rates
    assert rate.burst == burst


@pytest.mark.parametrize(
    ("fields", "where", "words"),
    [
        ({"limit": "60 calls"}, "limit", "'60 calls/minute'"),
        ({"limit": "60/minute"}, "limit", "is not a rate"),
        ({"limit": 60}, "limit", "is not a rate"),
        ({"limit": "60 calls/minut"}, "limit", "Did you mean 'minute'?"),
        ({"limit": "60 calls/day"}, "limit", "is not a period"),
        ({"limit": "0 calls/minute"}, "limit", "a policy that forbids it"),
        ({"limit": "9" * 30 + " calls/minute"}, "limit", "is not between 1"),
        ({"limit": "8 tokens at once"}, "limit", "Only calls"),
        ({"burst": 0}, "burst", "is not between 1"),
        ({"burst": "10"}, "burst", "whole number"),
        ({"limit": "8 calls at once", "burst": 9}, "burst", "no burst"),
        ({"wait_ms": 60_001}, "wait_ms", "is not between 0"),
        ({"wait": 5}, "wait", "Did you mean 'wait_ms'?"),
        ({"scope": {}}, "scope", "is not clear"),
        ({"scope": {"team": "serach"}}, "scope.team", "Did you mean 'search'?"),
        ({"per": "colour"}, "per", "nothing that a limit can be for"),
        ({"mode": "soft"}, "mode", "is not one of"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(fields: dict[str, object], where: str, words: str) -> None:
    problems = read_document(with_field(**fields))
    assert isinstance(problems, list)
    (problem,) = problems
    assert problem.where == f"rates.burst.{where}"
    assert words in f"{problem.sentence} {problem.hint}"


def test_a_name_stands_once() -> None:
    problems = read_document(rates(RATE + RATE))
    assert isinstance(problems, list)
    assert any("twice" in each.sentence for each in problems)


def test_a_rate_that_nothing_is_in_yet_is_a_warning() -> None:
    warnings = read(with_field(scope={"identity": "agent/scout", "team": "search", "kind": "human"})).warnings
    assert Problem("rates.burst", "No identity is in the scope of this rate yet.") in warnings


def test_a_plan_says_what_becomes_of_a_rate() -> None:
    before = install({}, plan({}, read(rates()).entries))
    changed = plan(before, read(with_field(limit="120 calls/minute", wait_ms=500)).entries)
    assert [each.sentence for each in changed.changes] == [
        "change rate burst: limit 60 calls/minute -> 120 calls/minute; wait_ms nothing -> 500"
    ]
    gone = plan(before, read(tomllib.loads(EXAMPLE)).entries)
    assert [each.sentence for each in gone.changes] == ["disable rate burst: the file does not name it any more"]
    assert "rate burst" in [each.where for each in gone.warnings]
    assert build(install(before, gone), 2).rates == ()


def test_what_is_counted_changes_with_scope_and_unit_and_not_with_the_limit() -> None:
    def key(**fields: object) -> str:
        (rate,) = build(install({}, plan({}, read(with_field(**fields)).entries)), 1).rates
        return rate.key

    assert key() == key(limit="1 calls/hour", burst=3, mode="shadow", wait_ms=9, visible="operator")
    assert len({key(), key(per="session"), key(limit="60 tokens/minute"), key(scope={"team": "search"})}) == 4
