"""[tools."SERVER/TOOL"] and [[arguments]]: reading them, and building what calls meet."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import cast, get_args

import msgspec

from comptroller.core.budget.scope import ATTRIBUTES, NODE_ATTRIBUTES, Scope
from comptroller.core.problem import Fault, Problem, did_you_mean, join
from comptroller.core.registry import fields
from comptroller.core.registry.entries import Entries, Entry, Value, scope_of, string, strings
from comptroller.core.registry.fields import Field
from comptroller.core.tool.arguments import ArgumentRule, ArgumentRules
from comptroller.core.tool.entry import ASSUMED, RESULT_BYTES, RISKS, OnLarge, Pins, ToolEntry
from comptroller.core.tool.schema import read_schema
from comptroller.core.work.tool_use import ResultUnit

_PATTERN = re.compile(r"[A-Za-z0-9*?][A-Za-z0-9._@*?-]{0,127}/[A-Za-z0-9._/@*?-]{1,200}", re.ASCII)
_LEAST_RESULT_BYTES = 1_000  # a result that is cut says so, in JSON that is still valid
_MOST_RESULT_BYTES = 1_000_000_000


def tool_pattern(raw: object) -> Value:
    """SERVER/TOOL, or a pattern with * and ?."""
    word = fields.text(raw)
    if _PATTERN.fullmatch(word) is None:
        hint = "Write it as SERVER/TOOL, such as 'files/read_text_file' or 'files/*'."
        raise Fault(f"{word!r} is not a tool.", hint)
    return word


def _risks(raw: object) -> Value:
    said = fields.names(fields.choice(*RISKS))(raw)
    return [risk for risk in RISKS if isinstance(said, list) and risk in said]


TOOL = (
    Field("risk", _risks, list(ASSUMED)),
    Field("result_bytes", fields.count(_LEAST_RESULT_BYTES, _MOST_RESULT_BYTES), RESULT_BYTES),
    Field("on_large", fields.choice(*get_args(OnLarge)), "truncate"),
    Field("pins", fields.choice(*get_args(Pins)), "first"),
    Field("unit", fields.choice(*get_args(ResultUnit)), "kib"),
)


def _not_of_a_tool(raw: object) -> Value:
    raise Fault("Arguments are those of tools, by their full names.", "Use `tool`, such as 'files/*'.")


ARGUMENTS = (
    Field("name", fields.name, mandatory=True),
    Field(
        "scope",
        (
            Field("tool", fields.names(tool_pattern, ordered=False), mandatory=True),
            *(Field(each, fields.names(fields.text, ordered=False)) for each in NODE_ATTRIBUTES),
            *(Field(each, _not_of_a_tool) for each in ATTRIBUTES if each not in {*NODE_ATTRIBUTES, "tool"}),
        ),
        mandatory=True,
    ),
    Field("schema", read_schema, mandatory=True),
)


def check_rule(entry: Entry, place: str, tools: Collection[str]) -> Iterator[Problem]:
    """Tools in the scope of a rule that no entry is for. `tools`: the patterns of the entries."""
    for wanted in scope_of(entry).get("tool", ()):
        if not any(fnmatchcase(wanted, each) or fnmatchcase(each, wanted) for each in tools):
            sentence = f"There is no tool {wanted!r} in the registry."
            yield Problem(join(place, "scope.tool"), sentence, did_you_mean(wanted, tools))


def rule_warnings(entries: Entries) -> Iterator[Problem]:
    """Arguments that a call may leave out, and then nothing is asked of them."""
    for (kind, name), entry in entries.items():
        if kind != "argument":
            continue
        schema = msgspec.json.decode(string(entry, "schema"), type=_Schema)
        free = sorted(set(schema.properties) - set(schema.required))
        if free:
            sentence = f"A call may leave out {', '.join(free)}: then the tool chooses, and the rule asks nothing."
            yield Problem(join("arguments", name), sentence, "Name what must be there in `required`.")


class _Schema(msgspec.Struct, frozen=True):
    properties: dict[str, msgspec.Raw] = {}
    required: list[str] = []


def build_rules(stored: Sequence[tuple[str, Entry]]) -> ArgumentRules:
    """The rules of a registry. Raises Fault for a schema that was not read from a file."""
    return ArgumentRules([_rule(key, entry) for key, entry in stored])


def _rule(key: str, entry: Entry) -> ArgumentRule:
    scope = {name: tuple(values) for name, values in scope_of_caller(entry).items()}
    tools = tuple(scope_of(entry).get("tool", ()))
    return ArgumentRule(key, cast("Scope", scope), tools, string(entry, "schema"))


def scope_of_caller(entry: Mapping[str, Value]) -> dict[str, list[str]]:
    """The scope of a rule without its tools, which are patterns."""
    return {name: values for name, values in scope_of(entry).items() if name != "tool"}


def build_tool(key: str, entry: Entry, *, disabled: bool) -> ToolEntry:
    """The entry of a tool, or of those that its pattern matches."""
    said = {name: value for name, value in entry.items() if name != "risk"}
    return msgspec.convert({**said, "pattern": key, "risks": strings(entry, "risk"), "disabled": disabled}, ToolEntry)
