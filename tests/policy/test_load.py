"""Every fault of a policy file is found when it is loaded, all at once, each with its line."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest

from comptroller.core.policy import load, remedy, targets
from comptroller.core.policy.load import load_policies, warnings
from comptroller.core.policy.policies import Policies
from comptroller.core.policy.text import statements, version_of
from comptroller.settings import SettingsError, read_policies
from tests.architecture.house import calls, parse
from tests.policy.samples import TARGETS, faults, policies

PERMIT = "permit (principal, action, resource);"
FORBID = "forbid (principal, action, resource);"

FAULTY = [
    # what is written, what is said
    (f'@id("a") {PERMIT[:-1]}', "test.cedar:1: This is no policy of Cedar: unexpected end of input."),
    (
        '@id("a") permit (principal, action, resource) when { 1 < };',
        "no policy of Cedar: unexpected token `}`.",
    ),
    (f'@id("a") @id("b") {PERMIT}', "duplicate annotation"),
    ('@id("a") permit (principal == ?principal, action, resource);', "This is a template"),
    (PERMIT, 'This policy has no @id("...").'),
    (f"@id {PERMIT}", 'This policy has no @id("...").'),
    (f'@id("a b") {PERMIT}', "'a b' is not an id."),
    (f'@id("a") {PERMIT}\n\n@id("a") {FORBID}', "test.cedar:3: The id 'a' stands at test.cedar:1 already."),
    (f'@id("a") @reasn("x") {PERMIT}', "There is no annotation @reasn. Did you mean 'reason'?"),
    (f'@id("a") @reason("x\\ny") {PERMIT}', "@reason must be one line"),
    (f'@id("a") @reason("{"x" * 501}") {PERMIT}', "@reason must be one line"),
    (f'@id("{"a" * 101}") {PERMIT}', "is not an id."),
    (f'@id("-a") {PERMIT}', "'-a' is not an id."),
    (f'@id("a") @remedy("route:small") {PERMIT}', "A remedy stands on a permit."),
    (f'@id("a") @remedy("small") {FORBID}', "'small' is not a remedy."),
    (f'@id("a") @remedy("rout:small") {FORBID}', "There is no remedy 'rout'. Did you mean 'route'?"),
    (f'@id("a") @remedy("cap_input:0") {FORBID}', "'0' is not a number of tokens."),
    (f'@id("a") @remedy("cap_input:8k") {FORBID}', "'8k' is not a number of tokens."),
    (f'@id("a") @remedy("cap_input:-1") {FORBID}', "'-1' is not a number of tokens."),
    (f'@id("a") @remedy("approval:") {FORBID}', "'approval:' is not a remedy."),
    (f'@id("a") @remedy("approval:fin ops") {FORBID}', "is not a remedy"),
    (f'@id("a") @remedy("route:mid-*") {FORBID}', "'mid-*' is not the name of a model or of a class."),
    (
        f'@id("a") @remedy("route:smal") {FORBID}',
        "no class 'smal' to route to. Did you mean 'small'?",
    ),
    (f'@id("a") @remedy("route:standard") {FORBID}', "The class 'standard' has only patterns of models"),
    ('@id("a") permit (principal in Team::"serch", action, resource);', "There is no team 'serch' in the registry."),
    ('@id("a") permit (principal in Owner::"bob", action, resource);', "There is no owner 'bob'"),
    ('@id("a") permit (principal in Organization::"acne", action, resource);', "Did you mean 'acme'?"),
    ('@id("a") permit (principal == Identity::"agent/scot", action, resource);', "Did you mean 'agent/scout'?"),
    ('@id("a") permit (principal, action, resource in ModelClass::"frontir");', "There is no model class 'frontir'"),
    ('@id("a") permit (principal, action, resource == Model::"large");', "There is no model 'large'"),
    ('@id("a") permit (principal, action, resource) when { principal in [Team::"x"] };', "There is no team 'x'"),
    (
        '@id("a") permit (principal, action == Action::"file.call", resource);',
        "unrecognized action",
    ),
    ('@id("a") permit (principal, action, resource == Tool::"mail/send");', "There is no tool 'mail/send'"),
    ('@id("a") permit (principal, action, resource in Server::"file");', "There is no server 'file' in the registry"),
    ('@id("a") permit (principal, action, resource in RiskClass::"wirte");', "There is no risk class 'wirte'"),
    (
        '@id("a") forbid (principal, action, resource) when { context.input_tokens > 5 };',
        'If it is not about those calls, write `action == Action::"model.call"`.',
    ),
    ('@id("a") permit (principal in Group::"x", action, resource);', "unrecognized entity type `Group`"),
    ('@id("a") permit (principal == Team::"search", action, resource);', "The schema does not allow this"),
    (f'@id("a") {PERMIT[:-1]} when {{ context.estimate > 1 }};', "attribute `estimate` in context"),
    (f'@id("a") {PERMIT[:-1]} when {{ context.environment > 1 }};', "unexpected type: expected Long but saw String"),
    (f'@id("a") {PERMIT[:-1]} when {{ principal.team == "x" }};', "attribute `team`"),
    (f'@id("a") {PERMIT[:-1]} when {{ context.estimate_nanos }};', "The schema does not allow this"),
    (
        f'@id("a") {PERMIT[:-1]} when {{ context.spend_velocity_nanos > 100 }};',
        "`context.spend_velocity_nanos` is not filled yet",
    ),
    (
        f'@id("a") {PERMIT[:-1]} unless {{ context["spend_velocity_nanos"] == 0 }};',
        "`context.spend_velocity_nanos` is not filled yet",
    ),
    (
        f'@id("a") {PERMIT[:-1]} when {{ context has spend_velocity_nanos }};',
        "`context.spend_velocity_nanos` is not filled yet",
    ),
    ("// nothing\n", "test.cedar: There is no policy in this file."),
    ("", "test.cedar: There is no policy in this file."),
    (f'@id("a") {PERMIT[:-1]} when {{ {"(" * 120}context.estimate_nanos{" + 1)" * 120} > 0 }};', "nesting"),
]


@pytest.mark.parametrize(("text", "said"), FAULTY)
def test_every_fault_is_found(text: str, said: str) -> None:
    assert said in "\n".join(faults(text))


def test_every_check_was_tried() -> None:
    """Each place where a fault of a policy is made is one that the texts here come to."""
    places = {
        (module.__file__, call.lineno)
        for module in (load, remedy, targets)
        for name, call in calls(parse(Path(module.__file__)))
        if name in {"Problem", "Fault"}
    }
    assert len(places) > 15, "this test has gone blind"
    seen: set[tuple[str, int]] = set()

    def look(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        seen.add((frame.f_code.co_filename, frame.f_lineno))
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        for text, _ in FAULTY:
            faults(text)
        test_faults_of_every_file_are_said()
        test_a_route_to_a_name_that_is_a_model_and_a_class_is_refused()
        test_a_set_that_permits_nothing_is_warned_about()
        for text, said in ABOUT_TOOLS:
            test_whether_tools_are_thought_of_is_looked_at(text, said)
    finally:
        sys.settrace(before)
    assert not places - seen


def test_a_folder_of_policies_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    assert read_policies(tmp_path / "nowhere") == {}
    for name, content in (("b.cedar", FORBID), ("a.cedar", PERMIT), (".hidden.cedar", "x"), ("notes.txt", "x")):
        (tmp_path / name).write_text(content)
    assert read_policies(tmp_path) == {"a.cedar": PERMIT, "b.cedar": FORBID}
    (tmp_path / "latin.cedar").write_bytes(b"// \xfc\n")
    (tmp_path / "folder.cedar").mkdir()
    with pytest.raises(SettingsError) as raised:
        read_policies(tmp_path)
    assert [problem.line for problem in raised.value.problems] == [
        "folder.cedar: It cannot be read: Is a directory.",
        "latin.cedar: It is not UTF-8.",
    ]
    with pytest.raises(SettingsError, match="not a folder"):
        read_policies(tmp_path / "a.cedar")


def test_all_faults_are_said_at_once_each_with_its_line() -> None:
    text = f'// ; here\n{PERMIT}\n\n@id("x;\\"y")\n{FORBID}\n@id("z") {PERMIT} @id("v") permit;\n@id("w") {PERMIT[:-1]}'
    assert [line.partition(": ")[0] for line in faults(text)] == [f"test.cedar:{n}" for n in (2, 4, 6, 7)]


def test_faults_of_every_file_are_said() -> None:
    found = load_policies({"b.cedar": PERMIT, "a.cedar": FORBID, "c.txt": f'@id("c") {PERMIT}'}, TARGETS)
    assert isinstance(found, list)
    assert [problem.where for problem in found] == ["a.cedar:1", "b.cedar:1", "c.txt"]


def test_an_id_is_unique_over_all_files() -> None:
    found = load_policies({"b.cedar": f'@id("a") {PERMIT}', "a.cedar": f'@id("a") {FORBID}'}, TARGETS)
    assert isinstance(found, list)
    assert [problem.line.partition(". ")[0] for problem in found] == [
        "b.cedar:1: The id 'a' stands at a.cedar:1 already"
    ]


def test_a_route_to_a_name_that_is_a_model_and_a_class_is_refused() -> None:
    targets = type(TARGETS)("acme", TARGETS.teams, TARGETS.owners, TARGETS.identities, {"small": "x", "y": "small"})
    assert "is the name of a model and of a class" in faults(f'@id("a") @remedy("route:small") {FORBID}', targets)[0]


@pytest.mark.parametrize(
    "text",
    [
        f'@id("a") @remedy("route:small") {FORBID}',
        f'@id("a") @remedy("route:small-2") @reason("ü") {FORBID}',
        f'@id("a") @remedy("route:mid-7") {FORBID}',
        f'@id("a") @remedy("cap_input:8000") {FORBID}',
        f'@id("a") @remedy("approval:finops") {FORBID}',
        '@id("a") permit (principal, action, resource == Model::"mid-anything");',
        '@id("a") permit (principal is Identity in Team::"search", action in [Action::"model.call"], resource);',
        f'@id("a") {PERMIT[:-1]} when {{ context.environment like "pro*" && ["low"].contains(context.risk_tier) }};',
        f'\n\n// a comment with ; and "\n@id("a") @reason("with ; and // in it") {FORBID} // the end',
    ],
)
def test_what_is_right_is_taken(text: str) -> None:
    assert len(policies(text).policies) == 1


def test_names_are_not_checked_without_a_registry() -> None:
    text = f'@id("a") @remedy("route:nowhere") {FORBID} @id("b") permit (principal in Team::"x", action, resource);'
    assert len(policies(text, None).policies) == 2
    assert len(faults(text)) == 2


def test_a_file_is_taken_apart_where_cedar_would() -> None:
    text = 'a "x;y" ; // c ; d\n"\\";" b\n;;  // rest\n'
    assert [(each.line, each.text) for each in statements("f", text)] == [
        (1, 'a "x;y" ;'),
        (2, '"\\";" b\n;'),
        (3, ";"),
    ]
    assert [each.text for each in statements("f", 'a; "open ; b')] == ["a;", '"open ; b']


def test_the_version_is_that_of_the_texts() -> None:
    one = {"a.cedar": f'@id("a") {PERMIT}\n@id("b") {FORBID}', "b.cedar": f'@id("c") {FORBID}'}
    assert version_of(one) == version_of({"b.cedar": f'@id("c") {FORBID}\r\n', "a.cedar": one["a.cedar"] + "\n\n"})
    changed = [
        {**one, "b.cedar": f'@id("d") {FORBID}'},
        {"a.cedar": one["a.cedar"]},
        {"a.cedar": one["a.cedar"], "c.cedar": one["b.cedar"]},
        {"a.cedar": one["a.cedar"] + one["b.cedar"]},
    ]
    assert len({version_of(each) for each in (one, *changed)}) == 5


def test_a_set_that_permits_nothing_is_warned_about() -> None:
    assert "No policy permits anything" in next(warnings(policies(f'@id("a") {FORBID}'))).sentence
    assert not list(warnings(policies(f'@id("a") {PERMIT}')))
    empty = load_policies({}, TARGETS)
    assert isinstance(empty, Policies)
    assert "default-permit" in next(warnings(empty)).sentence


ABOUT_TOOLS: list[tuple[str, list[str]]] = [
    ('@id("a") permit (principal, action == Action::"tool.call", resource);', []),
    ('@id("a") permit (principal, action in [Action::"model.call", Action::"tool.call"], resource);', []),
    (
        '@id("a") permit (principal, action, resource);',
        ["test.cedar:1: a names no action, so it permits tools, too."],
    ),
    (
        '@id("a") permit (principal, action == Action::"model.call", resource);'
        '@id("b") forbid (principal, action == Action::"tool.call", resource);',
        ["policies: Tools are listed, and no policy permits a call of one: all will be refused (`no_permit`)."],
    ),
]


@pytest.mark.parametrize(("text", "said"), ABOUT_TOOLS)
def test_whether_tools_are_thought_of_is_looked_at(text: str, said: list[str]) -> None:
    found = policies(text)
    assert [problem.line.partition(" Write")[0] for problem in warnings(found, TARGETS)] == said
    without = msgspec.structs.replace(TARGETS, tools=frozenset())
    assert list(warnings(found, without)) == []
