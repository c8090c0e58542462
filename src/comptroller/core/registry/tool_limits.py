"""Limits and prices of tools: what their scopes may name, and what could never bind."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import cast

from comptroller.core.budget.budget import MODEL_UNITS, TOOL_UNITS, Unit
from comptroller.core.problem import Problem, did_you_mean, join
from comptroller.core.registry.entries import Entries, Entry, scope_of, string
from comptroller.core.registry.fields import parse_limit

_WILD = frozenset("*?[")


def check_unit(entry: Entry, place: str) -> Iterator[Problem]:
    """A budget in a unit that nothing in its scope is counted in would never bind."""
    if "limit" not in entry:
        return
    unit = cast("Unit", parse_limit(entry["limit"])[1])
    scope = scope_of(entry)
    if unit not in TOOL_UNITS and ("tool" in scope or "server" in scope or entry.get("per") in {"tool", "server"}):
        hint = "Limit `tool_calls`, `result_bytes` or USD."
        yield Problem(join(place, "limit"), f"Calls to tools are not counted in {unit}.", hint)
    if unit not in MODEL_UNITS and ("model" in scope or "model_class" in scope or entry.get("per") in _OF_MODELS):
        hint = "Limit `calls`, `tokens` or USD."
        yield Problem(join(place, "limit"), f"Calls to models are not counted in {unit}.", hint)


_OF_MODELS = frozenset({"model", "model_class"})


def is_for_tools(kind: str, entry: Entry) -> bool:
    """Whether a limit is for calls to tools alone."""
    scope = scope_of(entry)
    if "tool" in scope or "server" in scope:
        return True
    return kind == "budget" and "limit" in entry and parse_limit(entry["limit"])[1] not in MODEL_UNITS


def tool_patterns(entries: Entries) -> Sequence[str]:
    """Every tool that an entry lists, by its full name or a pattern."""
    return [key for kind, key in entries if kind == "tool"]


def check_scope_tools(
    where: str, attribute: str, values: Sequence[str], patterns: Collection[str]
) -> Iterator[Problem]:
    """Names in a scope that name no tool, or no server."""
    for value in values:
        if not _WILD.isdisjoint(value):
            hint = "Name the tools one by one, or use `server` for all of one server."
            yield Problem(where, f"{value!r} is a pattern, and a scope names tools.", hint)
        elif not any(matches_tool({attribute: [value]}, pattern) for pattern in patterns):
            known = patterns if attribute == "tool" else {pattern.partition("/")[0] for pattern in patterns}
            yield Problem(where, f"There is no {attribute} {value!r}.", did_you_mean(value, known))


def matches_tool(scope: Mapping[str, Sequence[str]], pattern: str) -> bool:
    """Whether some call of a tool that an entry lists can be in the scope."""
    tools, servers = scope.get("tool"), scope.get("server")
    return (
        "model" not in scope
        and "model_class" not in scope
        and (tools is None or any(fnmatchcase(tool, pattern) for tool in tools))
        and (servers is None or any(fnmatchcase(server, pattern.partition("/")[0]) for server in servers))
    )


def unused_prices(entries: Entries) -> Iterator[Problem]:
    """Prices of tools that no entry lists."""
    patterns = tool_patterns(entries)
    for (kind, _), price in entries.items():
        tool = string(price, "tool") if kind == "price" else ""
        if tool and not any(fnmatchcase(each, tool) or fnmatchcase(tool, each) for each in patterns):
            yield Problem(f"prices of {tool}", "No tool that is listed has this price.")
