"""What policies decide, and that whatever cannot be decided is a no."""

from typing import Any

import msgspec
import pytest

from comptroller.core.policy.cedar import SCHEMA_TEXT, UNFILLED
from comptroller.core.policy.load import DEFAULT_PERMIT, built_in
from comptroller.core.policy.request import (
    LARGEST_LONG,
    LONGS,
    OF_MODELS,
    OF_TOOLS,
    STEADY,
    Context,
    Principal,
    Resource,
    cedar_request,
    long,
)
from tests.policy.samples import policies, request, tool_request

PERMIT = '@id("all") permit (principal, action, resource);\n'
SET = """
@id("search-may-call") permit (principal in Team::"search", action == Action::"model.call", resource);
@id("humans-may-call") permit (principal, action, resource) when { principal.kind == "human" };
@id("dear") @remedy("approval:finops") @reason("over a dollar")
forbid (principal, action, resource in ModelClass::"frontier") when { context.estimate_nanos > 1000000000 };
@id("private") forbid (principal, action == Action::"model.call", resource) when {
  context.data_classes.contains("pii") && context.provider != "own"
};
@id("tests-stay-small") @remedy("route:small")
forbid (principal, action, resource) unless { context.environment == "production" || resource in ModelClass::"small" };
@id("ci") forbid (principal, action, resource) when { principal.name like "agent/ci-*" };
@id("scout-not-mid")
forbid (principal == Identity::"agent/scout", action, resource) when { resource.name like "mid-*" };
"""

TABLE: list[tuple[dict[str, Any], bool, tuple[str, ...]]] = [
    ({}, True, ("search-may-call",)),
    ({"kind": "human"}, True, ("search-may-call", "humans-may-call")),
    ({"team": "support"}, False, ()),
    ({"team": "support", "kind": "human"}, True, ("humans-may-call",)),
    ({"estimate_nanos": 1_000_000_000}, True, ("search-may-call",)),
    ({"estimate_nanos": 1_000_000_001}, False, ("dear",)),
    ({"estimate_nanos": 1_000_000_001, "model_class": "small"}, True, ("search-may-call",)),
    ({"estimate_nanos": LARGEST_LONG}, False, ("dear",)),
    ({"data_classes": ("pii", "other")}, False, ("private",)),
    ({"data_classes": ("other",)}, True, ("search-may-call",)),
    ({"data_classes": ("pii",), "provider": "own"}, True, ("search-may-call",)),
    ({"environment": "testing"}, False, ("tests-stay-small",)),
    ({"environment": "testing", "model": "small-1", "model_class": "small"}, True, ("search-may-call",)),
    ({"environment": "testing", "estimate_nanos": 2 * 10**9}, False, ("dear", "tests-stay-small")),
    ({"identity": "agent/ci-7"}, False, ("ci",)),
    ({"model": "mid-7", "model_class": "standard"}, False, ("scout-not-mid",)),
    ({"model": "mid-7", "model_class": "standard", "identity": "agent/other"}, True, ("search-may-call",)),
    ({"model_class": ""}, True, ("search-may-call",)),
]


@pytest.mark.parametrize(("changes", "allowed", "by"), TABLE)
def test_a_table_of_decisions(changes: dict[str, Any], allowed: bool, by: tuple[str, ...]) -> None:
    verdict = policies(SET).decide(request(**changes))
    assert (verdict.allowed, verdict.ids, verdict.errors) == (allowed, by, ())
    assert verdict.default_deny == (not allowed and not by)


EVER = """
@id("team") permit (principal in Team::"search", action == Action::"model.call", resource)
when { context.input_tokens < 10 };
@id("own") permit (principal == Identity::"agent/poet", action, resource == Model::"small-1");
@id("never") forbid (principal, action, resource == Model::"big");
@id("small") @remedy("route:small") forbid (principal, action, resource in ModelClass::"mid");
@id("asks") @remedy("approval:finops") forbid (principal, action, resource == Model::"small-2");
@id("nights") forbid (principal, action, resource == Model::"free") when { context.session_age_s > 3600 };
@id("people") permit (principal in Team::"support", action, resource == Model::"mid-1")
when { principal.kind == "human" };
"""


@pytest.mark.parametrize(
    ("changes", "ever"),
    [
        ({"model": "small-1", "model_class": "small"}, True),  # sometimes: a condition may hold
        ({"model": "big"}, False),  # forbidden, whatever is asked
        ({"model": "mid-1", "model_class": "mid"}, True),  # answered, though by another model
        ({"model": "small-2", "model_class": "small"}, True),  # once somebody approves
        ({"model": "free", "model_class": ""}, True),  # not at all times
        ({"model": "small-1", "model_class": "small", "team": "support"}, False),  # nothing permits
        ({"model": "small-1", "model_class": "small", "team": "support", "identity": "agent/poet"}, True),
        ({"model": "mid-1", "model_class": "standard", "team": "support"}, True),  # a condition, whatever it is about
        ({"model": "small-2", "model_class": "small", "team": "support", "identity": "agent/poet"}, False),
    ],
)
def test_what_can_ever_be_permitted(changes: dict[str, Any], ever: bool) -> None:
    asked = request(**changes)
    found = policies(EVER, None)
    assert found.may_ever(asked.principal, asked.resource) is ever
    assert not (found.decide(asked).allowed and not ever)


TOOLS = """
@id("readers") permit (principal in Team::"search", action == Action::"tool.call", resource in RiskClass::"read");
@id("nightly-writes") permit (principal, action == Action::"tool.call", resource in Server::"files")
when { context.profile == "nightly" };
@id("no-secrets-outside") forbid (principal, action == Action::"tool.call", resource in RiskClass::"open_world")
when { context.arguments.contains("secret") };
@id("never") forbid (principal, action == Action::"tool.call", resource == Tool::"files/format_disk");
@id("models") permit (principal, action == Action::"model.call", resource);
"""


@pytest.mark.parametrize(
    ("changes", "by"),
    [
        ({"tool": "files/read_file", "risks": ("read",)}, ("readers",)),
        ({"tool": "files/write_file"}, ()),
        ({"tool": "files/write_file", "profile": "nightly"}, ("nightly-writes",)),
        ({"tool": "files/format_disk", "profile": "nightly"}, ("never",)),
        ({"tool": "search/web", "risks": ("read", "open_world")}, ("readers",)),
        ({"tool": "search/web", "risks": ("read", "open_world"), "arguments": ("secret",)}, ("no-secrets-outside",)),
        ({"tool": "files/read_file", "risks": ("read",), "team": "support"}, ()),
    ],
)
def test_a_table_of_decisions_about_tools(changes: dict[str, Any], by: tuple[str, ...]) -> None:
    verdict = policies(TOOLS).decide(tool_request(**changes))
    assert verdict.ids == by
    assert verdict.allowed == (verdict.determining != () and verdict.determining[0].effect == "permit")


def test_the_built_in_set_permits_no_tool() -> None:
    assert built_in().decide(tool_request(risks=("read",))).default_deny


def test_a_set_for_another_schema_denies_what_it_cannot_evaluate_and_nothing_else() -> None:
    """It was installed when tools were unknown: the gateway starts, and models are called as before."""
    text = PERMIT + '@id("long") forbid (principal, action, resource) when { context.input_tokens > 10 };'
    found = policies(text, None)
    assert found.decide(request()).allowed
    assert not found.decide(request(input_tokens=11)).allowed
    verdict = found.decide(tool_request())
    assert (verdict.allowed, "input_tokens" in verdict.errors[0]) == (False, True)


def test_a_list_of_tools_knows_what_stays_through_a_session() -> None:
    found = policies(TOOLS)

    def ever(changes: dict[str, Any]) -> tuple[bool, bool]:
        asked = tool_request(**changes)
        return (
            found.may_ever(asked.principal, asked.resource),
            found.may_ever(asked.principal, asked.resource, asked.context),
        )

    assert ever({"tool": "files/write_file"}) == (True, False)  # in no call of this session, which has no such profile
    assert ever({"tool": "files/write_file", "profile": "nightly"}) == (True, True)
    assert ever({"tool": "files/format_disk", "profile": "nightly"}) == (False, False)
    assert ever({"tool": "search/web", "risks": ("read", "open_world"), "arguments": ("secret",)}) == (True, True)
    assert ever({"tool": "search/web", "risks": ("open_world",)}) == (False, False)


def test_what_a_forbid_says_comes_along() -> None:
    (policy,) = policies(SET).decide(request(estimate_nanos=2 * 10**9)).determining
    assert (policy.effect, policy.reason, str(policy.remedy)) == ("forbid", "over a dollar", "approval:finops")
    assert policy.where == "test.cedar:4"


@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_a_policy_that_cannot_be_evaluated_denies(effect: str) -> None:
    """Cedar skips it, so that a forbid would be lost."""
    broken = f'@id("sum") {effect} (principal, action, resource) when {{ context.estimate_nanos + 1 > 0 }};'
    found = policies(PERMIT + broken)
    assert found.decide(request(estimate_nanos=1)).allowed == (effect == "permit")
    verdict = found.decide(request(estimate_nanos=LARGEST_LONG))
    assert not verdict.allowed
    assert not verdict.default_deny
    assert "`sum`" in verdict.errors[0]
    assert "overflow" in verdict.errors[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"estimate_nanos": "5"},
        {"estimate_nanos": 1.5},
        {"estimate_nanos": True},
        {"estimate_nanos": LARGEST_LONG + 1},
        {"estimate_nanos": None},
        {"environment": 1},
        {"environment": None},
        {"data_classes": "pii"},
        {"data_classes": (1,)},
        {"provider": b"\xff"},
        {"depth": object()},
        {"task_type": {"__entity": {"type": "Team", "id": "search"}}},
    ],
)
def test_a_value_of_a_wrong_type_denies(wrong: dict[str, Any]) -> None:
    """Before and after a right one is remembered."""
    found = policies(PERMIT)
    for _ in range(2):
        verdict = found.decide(request(**wrong))
        assert not verdict.allowed
        assert verdict.errors
        assert found.decide(request()).allowed


def test_names_are_never_read_as_syntax() -> None:
    found = policies('@id("one") permit (principal == Identity::"agent/scout", action, resource);')
    for strange in (
        'agent/scout" }',
        "agent\nscout",
        'x") permit (principal, action, resource); //',
        "agent/scout\x00",
        "",
    ):
        assert found.decide(request(identity=strange, model=strange, model_class=strange)).default_deny


def test_a_forbid_is_lifted_by_its_id_and_a_permit_never_is() -> None:
    found = policies(SET)
    both = request(environment="testing", estimate_nanos=2 * 10**9)
    assert found.decide(both, {"dear"}).ids == ("tests-stay-small",)
    assert found.decide(both, {"dear", "tests-stay-small"}).allowed
    assert found.decide(both).ids == ("dear", "tests-stay-small"), "what was lifted once is lifted once"
    assert found.decide(request(), {"search-may-call", "nothing"}).ids == ("search-may-call",)
    assert found.asking("finops") == {"dear"}
    assert found.asking("ceo") == frozenset()


def test_without_a_file_the_built_in_set_permits() -> None:
    found = built_in()
    assert found.built_in
    assert found.decide(request(team="anything")).ids == (DEFAULT_PERMIT,)


def test_the_context_is_what_the_schema_says() -> None:
    """Field by field, with its type, in its order."""
    types = {str: "String", int: "Long", tuple[str, ...]: "Set<String>"}
    fields = {field.name: types[field.type] for field in msgspec.structs.fields(Context)}
    model, tool = type_of("Call"), type_of("ToolCall")
    assert model == {name: kind for name, kind in fields.items() if name not in OF_TOOLS}
    assert tool == {name: kind for name, kind in fields.items() if name not in OF_MODELS}
    assert {name for name, kind in fields.items() if kind == "Long"} == LONGS
    assert model.keys() & tool.keys() >= UNFILLED
    assert fields.keys() >= STEADY


def type_of(name: str) -> dict[str, str]:
    body = SCHEMA_TEXT.partition(f"type {name} = {{")[2].partition("};")[0]
    written = [line.split("//")[0].strip().rstrip(",") for line in body.splitlines()]
    return dict(line.split(": ") for line in written if line)


def test_the_request_has_every_field() -> None:
    sent = cedar_request(request(estimate_nanos=7, data_classes=("pii",)))
    context = msgspec.json.decode(str(sent["context"]))
    assert context.keys() == set(Context.__struct_fields__) - OF_TOOLS
    assert (context["estimate_nanos"], context["data_classes"]) == (7, ["pii"])
    assert sent["principal"] == {"type": "Identity", "id": "agent/scout"}
    sent = cedar_request(tool_request(arguments=("secret",)))
    context = msgspec.json.decode(str(sent["context"]))
    assert context.keys() == set(Context.__struct_fields__) - OF_MODELS
    assert (context["server"], context["risks"], context["arguments"]) == ("files", ["write"], ["secret"])
    assert sent["resource"] == {"type": "Tool", "id": "files/write_file"}


def test_a_number_that_cedar_cannot_hold_is_the_nearest_that_it_can() -> None:
    assert (long(2**80), long(-(2**80)), long(5)) == (LARGEST_LONG, -LARGEST_LONG, 5)


def test_an_unregistered_team_or_class_is_no_fault() -> None:
    found = policies(SET)
    who = Principal("agent/x", "agent", "no-such-team", "nobody", "acme")
    assert found.decide(msgspec.structs.replace(request(), principal=who, resource=Resource("x", "y"))).default_deny
