"""[[loops]]: what an entry says, which one is for a caller, and what is refused in a file."""

from typing import Any

import pytest

from comptroller.core.budget.scope import ATTRIBUTES, Facts
from comptroller.core.detection.loop_rule import SCOPED_BY, UNSAID, LoopRule, rule_for
from comptroller.core.registry.build import build
from comptroller.core.registry.document import read_document
from tests.registry.documents import example, read
from tests.registry.test_plan import installed, sentences

AGENTS: dict[str, Any] = {"name": "agents", "scope": {"kind": "agent"}}
SCOUT = Facts(({"identity": "agent/scout", "kind": "agent", "team": "search", "organization": "acme"},), {})


def with_loops(*loops: dict[str, Any]) -> dict[str, Any]:
    return example() | {"loops": list(loops)}


def rules(*loops: dict[str, Any]) -> tuple[LoopRule, ...]:
    return build(installed(with_loops(*loops)), version=1).loops


def faults(**given: Any) -> list[str]:
    found = read_document(with_loops(AGENTS | given))
    assert isinstance(found, list), "it was taken"
    return [problem.line for problem in found]


def test_what_is_left_out_has_its_default() -> None:
    assert rules(AGENTS) == (LoopRule("agents", {"kind": ("agent",)}),)


def test_what_is_said_is_what_holds() -> None:
    said: dict[str, Any] = {"mode": "shadow", "same_step": 9, "same_error": "off", "slow_ms": 50, "warn_only": []}
    (rule,) = rules(AGENTS | said)
    assert (rule.mode, rule.same_step, rule.same_error, rule.slow_ms, rule.warn_only) == ("shadow", 9, None, 50, ())


def test_an_entry_that_is_off_stays_off() -> None:
    (rule,) = rules(AGENTS | {"mode": "off", "quarantine_after": "off"})
    assert (rule.mode, rule.quarantine_after) == ("off", None)


def test_who_is_named_most_narrowly_has_that_rule() -> None:
    everybody = LoopRule("everybody", {"organization": ("acme",)})
    agents = LoopRule("agents", {"kind": ("agent",)})
    searching = LoopRule("searching", {"kind": ("agent",), "team": ("search",)})
    scout = LoopRule("a-scout", {"identity": ("agent/scout",)}, "off")
    others = LoopRule("others", {"identity": ("agent/other",)})
    known = [others, everybody, agents, searching, scout]
    order = [scout, searching, agents, everybody, UNSAID]
    for narrower, rule in enumerate(order):
        left = [each for each in known if each not in order[:narrower]]
        assert rule_for(left, SCOUT) == rule_for(reversed(left), SCOUT) == rule


def test_a_profile_is_narrower_than_a_team_and_wider_than_an_identity() -> None:
    team, profile = LoopRule("team", {"team": ("search",)}), LoopRule("profile", {"profile": ("research",)})
    scout = LoopRule("scout", {"identity": ("agent/scout",)})
    in_it = Facts(({**SCOUT.chain[0], "profile": "research"},), {})
    assert rule_for([team, profile], in_it) == profile
    assert rule_for([team, profile, scout], in_it) == scout
    assert rule_for([team, profile], SCOUT) == team


def test_a_plan_says_what_changes() -> None:
    assert sentences(example(), with_loops(AGENTS)) == ["add loop agents: scope kind agent, mode hard"]
    assert sentences(with_loops(AGENTS), with_loops(AGENTS | {"same_step": "off"})) == [
        "change loop agents: same_step nothing -> off"
    ]
    assert sentences(with_loops(AGENTS), example()) == ["disable loop agents: the file does not name it any more"]


@pytest.mark.parametrize("attribute", [each for each in ATTRIBUTES if each not in SCOPED_BY])
def test_a_scope_is_about_whoever_acts(attribute: str) -> None:
    (fault,) = faults(scope={"kind": "agent", attribute: "x"})
    assert "A loop is about whoever acts" in fault


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("same_step", 1, "1 is not between 2 and 16"),
        ("same_step", "never", "whole number or 'off'"),
        ("rising_cost", 21, "21 is not between 3 and 20"),
        ("slow_ms", 60_000, "not between 1 and 30_000"),
        ("warn_only", ["same_steps"], "is not one of same_step"),
        ("mode", "on", "is not one of hard, shadow, off"),
        ("scope", {"identity": "agent/nobody"}, "There is no identity 'agent/nobody'"),
        ("scope", {}, "A scope with nothing in it is not clear"),
        ("threshold", 3, "Nothing here has this name"),
    ],
)
def test_what_is_wrong_is_said(field: str, value: object, said: str) -> None:
    (fault,) = faults(**{field: value})
    assert said in fault


def test_a_rule_for_nobody_is_warned_about() -> None:
    (warning,) = read(with_loops({"name": "people", "scope": {"kind": "human"}})).warnings
    assert warning.line == "loops.people: No identity is in the scope of this loop yet."
