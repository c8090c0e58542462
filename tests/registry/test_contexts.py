"""[[contexts]] of registry.toml: what is right becomes a cap, what is wrong is said with its place."""

import tomllib
from typing import Any

import pytest

from comptroller.core.problem import Problem
from comptroller.core.registry.build import build
from comptroller.core.registry.document import read_document
from comptroller.core.registry.plan import install, plan
from comptroller.core.work.context import Limits
from tests.registry.documents import EXAMPLE, read

CAP = """
[profiles.support]
tokens = 100_000

[[contexts]]
name = "long"
scope = { profile = "support" }
input_tokens = 50_000
"""


def with_field(**fields: object) -> dict[str, Any]:
    raw = tomllib.loads(EXAMPLE + CAP)
    raw["contexts"][0] |= fields
    return raw


def test_a_cap_has_the_defaults_that_are_documented() -> None:
    registry = build(install({}, plan({}, read(with_field()).entries)), 1)
    (cap,) = registry.contexts
    assert (cap.name, cap.scope, cap.limits) == ("long", {"profile": ("support",)}, Limits(input_tokens=50_000))
    assert (cap.action, cap.mode, cap.keep_first) == ("refuse", "hard", 1)
    assert not registry.outlines, "nobody reads a whole request for a number that is known"
    more = build(install({}, plan({}, read(with_field(tools=3)).entries)), 1)
    assert more.outlines


@pytest.mark.parametrize(
    ("fields", "where", "words"),
    [
        ({"input_tokens": -1}, ".input_tokens", "is not between 0"),
        ({"tool_result_bytes": 999}, ".tool_result_bytes", "is not between 1"),
        ({"keep_first": "1"}, ".keep_first", "whole number"),
        ({"action": "cut"}, ".action", "is not one of"),
        ({"mode": "soft"}, ".mode", "is not one of"),
        ({"token": 5}, ".token", "Nothing here has this name"),
        ({"per": "identity"}, ".per", "Nothing here has this name"),
        ({"scope": {}}, ".scope", "is not clear"),
        ({"scope": {"profile": "suport"}}, ".scope.profile", "Did you mean 'support'?"),
        ({"scope": {"provider": "sandbox"}}, ".scope.provider", "before it is known which provider"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(fields: dict[str, object], where: str, words: str) -> None:
    problems = read_document(with_field(**fields))
    assert isinstance(problems, list)
    problem = problems[0]
    assert problem.where == f"contexts.long{where}"
    assert words in f"{problem.sentence} {problem.hint}"


def test_a_cap_limits_something_and_trimming_can_mend_it() -> None:
    raw = with_field()
    del raw["contexts"][0]["input_tokens"]
    (problem,) = as_problems(raw)
    assert problem.sentence == "This cap limits nothing."
    raw["contexts"][0] |= {"tools": 5, "action": "trim"}
    (problem,) = as_problems(raw)
    assert (problem.where, problem.sentence) == ("contexts.long.action", "No trimming can mend what this cap limits.")


def as_problems(raw: dict[str, Any]) -> list[Problem]:
    found = read_document(raw)
    assert isinstance(found, list)
    return found


def test_a_cap_that_nothing_is_in_yet_is_a_warning() -> None:
    warnings = read(with_field(scope={"identity": "agent/scout", "kind": "human"})).warnings
    assert Problem("contexts.long", "No identity is in the scope of this context cap yet.") in warnings


def test_a_plan_says_what_becomes_of_a_cap() -> None:
    before = install({}, plan({}, read(with_field()).entries))
    changed = plan(before, read(with_field(input_tokens=60_000, action="trim")).entries)
    assert [each.sentence for each in changed.changes] == [
        "change context long: action refuse -> trim; input_tokens 50000 -> 60000"
    ]
    raw = with_field()
    del raw["contexts"]
    gone = plan(before, read(raw).entries)
    assert "context long" in [each.where for each in gone.warnings]
    assert build(install(before, gone), 2).contexts == ()
