"""[tools]: what an entry says, which one is for a tool, and what is refused in a file."""

from typing import Any

import pytest

from comptroller.core.registry.build import build
from comptroller.core.registry.document import read_document
from comptroller.core.registry.plan import install, plan
from comptroller.core.registry.registry import Registry
from comptroller.core.tool.arguments import ArgumentRule
from comptroller.core.tool.entry import RESULT_BYTES, ToolEntry
from tests.registry.documents import example, read
from tests.registry.test_plan import installed


def with_tools(tools: dict[str, Any]) -> dict[str, Any]:
    return example() | {"tools": tools}


def registry(tools: dict[str, Any]) -> Registry:
    return build(installed(with_tools(tools)), version=1)


def faults(tools: dict[str, Any]) -> list[str]:
    found = read_document(with_tools(tools))
    assert isinstance(found, list), "it was taken"
    return [problem.line for problem in found]


def test_what_is_left_out_has_its_default() -> None:
    """Whoever says nothing of a tool has one that can do harm."""
    assert registry({"files/*": {}}).tools == {
        "files/*": ToolEntry(
            "files/*", ("write", "destructive", "spends_money", "open_world"), RESULT_BYTES, "truncate", "first"
        )
    }


def test_what_is_said_is_what_holds() -> None:
    said = {"risk": ["open_world", "read"], "result_bytes": 9_000, "on_large": "refuse", "pins": "approved"}
    assert registry({"search/web": said}).tool("search/web") == ToolEntry(
        "search/web", ("read", "open_world"), 9_000, "refuse", "approved"
    )


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("files/write_file", "files/write_file"),
        ("files/write_files", "files/write*"),
        ("files/read_text_file", "files/*"),
        ("files/@resources/read", "files/*"),
        ("mail/send", "*/send"),
        ("mail/read", None),
        ("files", None),
    ],
)
def test_an_exact_name_wins_and_then_the_longest_pattern(name: str, pattern: str | None) -> None:
    found = registry({"files/*": {}, "files/write*": {}, "files/write_file": {}, "*/send": {}}).tool(name)
    assert (found and found.pattern) == pattern


def test_an_entry_that_left_the_file_is_for_nothing() -> None:
    before = installed(with_tools({"files/*": {"risk": "read"}, "files/write_file": {}}))
    after = install(before, plan(before, read(with_tools({"files/*": {"risk": "read"}})).entries))
    found = build(after, version=2)
    assert found.tools["files/write_file"].disabled
    assert found.tool("files/write_file") == found.tools["files/*"]


def test_a_change_is_said() -> None:
    before = installed(with_tools({"files/*": {}}))
    changes = plan(before, read(with_tools({"files/*": {"risk": ["read", "write"]}})).entries).changes
    assert [each.sentence for each in changes] == [
        "change tool files/*: risk write or destructive or spends_money or open_world -> read or write"
    ]


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ({"write_file": {}}, "'write_file' is not a tool. Write it as SERVER/TOOL"),
        ({"files/a b": {}}, "'files/a b' is not a tool."),
        ({"files/*": {"risk": []}}, "risk: This list is empty."),
        ({"files/*": {"risk": ["wirte"]}}, "'wirte' is not one of read, write,"),
        ({"files/*": {"result_bytes": 10}}, "10 is not between 1000 and"),
        ({"files/*": {"on_large": "cut"}}, "'cut' is not one of truncate, refuse."),
        ({"files/*": {"pins": "never"}}, "'never' is not one of first, approved."),
        ({"files/*": {"class": "x"}}, "Nothing here has this name."),
    ],
)
def test_what_is_wrong_is_said(tools: dict[str, Any], said: str) -> None:
    assert said in "\n".join(faults(tools))


DOCS: dict[str, Any] = {
    "name": "scout-reads-docs",
    "scope": {"identity": "agent/scout", "tool": "files/read_text_file"},
    "schema": {"properties": {"path": {"under": ["/srv/docs"]}}, "required": ["path"]},
}


def with_rules(*rules: dict[str, Any]) -> dict[str, Any]:
    return with_tools({"files/*": {"risk": "read"}}) | {"arguments": list(rules)}


def test_a_rule_about_arguments_is_kept_as_it_was_written() -> None:
    (rule,) = build(installed(with_rules(DOCS)), version=1).arguments.rules
    assert rule == ArgumentRule(
        "scout-reads-docs",
        {"identity": ("agent/scout",)},
        ("files/read_text_file",),
        '{"properties":{"path":{"under":["/srv/docs"]}},"required":["path"]}',
    )


def test_a_rule_that_leaves_the_file_leaves_force_and_that_is_warned_about() -> None:
    before = installed(with_rules(DOCS))
    change = plan(before, read(with_rules()).entries)
    assert not build(install(before, change), version=2).arguments
    assert [each.line for each in change.warnings] == [
        "argument scout-reads-docs: It leaves force: it limits nothing any more."
    ]


def test_an_argument_that_may_be_left_out_is_warned_about() -> None:
    found = read(with_rules(DOCS | {"schema": {"properties": {"path": {"under": ["/srv"]}, "mode": {}}}}))
    assert [each.line for each in found.warnings if "arguments" in each.where] == [
        "arguments.scout-reads-docs: A call may leave out mode, path: then the tool chooses, and the rule asks "
        "nothing. Name what must be there in `required`."
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": "x"}, "arguments.scout-reads-docs.schema: This must be a table that is a JSON Schema"),
        ({"schema": {"propertees": {}}}, "there is no keyword `propertees` here."),
        ({"scope": {"identity": "agent/scout"}}, "`tool` is missing, and it is mandatory."),
        ({"scope": {"tool": "file/read"}}, "There is no tool 'file/read' in the registry."),
        ({"scope": {"tool": "files/read", "identity": "agent/scuot"}}, "There is no identity 'agent/scuot'"),
        ({"scope": {"tool": "files/read", "model": "gpt-4o"}}, "Arguments are those of tools"),
        ({"scope": {"tool": "read"}}, "'read' is not a tool."),
    ],
)
def test_what_is_wrong_in_a_rule_is_said(changes: dict[str, Any], said: str) -> None:
    found = read_document(with_rules(DOCS | changes))
    assert isinstance(found, list), "it was taken"
    assert said in "\n".join(problem.line for problem in found)
