"""What the arguments of tools may be: rules for a scope, each a JSON Schema. All that are for a call must be met."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from comptroller.core.budget.scope import Attribute, Facts, Scope, nodes_in_scope
from comptroller.core.policy.request import PolicyRequest
from comptroller.core.refusal import Refusal
from comptroller.core.tool.schema import ArgumentSchema

_TOOLS_KEPT = 10_000
_HINT = "Change the arguments. The rule stands under [[arguments]] in the registry."


class ArgumentRule(msgspec.Struct, frozen=True):
    """One [[arguments]] entry."""

    name: str
    scope: Scope  # who calls: attributes of a node
    tools: tuple[str, ...]  # patterns of SERVER/TOOL
    schema: str  # JSON


class ArgumentRules:
    """The rules of a registry. False where there are none."""

    def __init__(self, rules: Sequence[ArgumentRule] = ()) -> None:
        """Raises Fault for a schema that is not valid."""
        self.rules = tuple(rules)
        self._schemas = {rule.name: ArgumentSchema(rule.schema) for rule in rules}
        self._of_tool: dict[str, tuple[ArgumentRule, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self.rules)

    def of_tool(self, tool: str) -> Sequence[ArgumentRule]:
        """Those for a tool, whoever calls it."""
        found = self._of_tool.get(tool)
        if found is None:
            if len(self._of_tool) >= _TOOLS_KEPT:  # names come from callers
                self._of_tool.clear()
            found = tuple(rule for rule in self.rules if any(fnmatchcase(tool, each) for each in rule.tools))
            self._of_tool[tool] = found
        return found

    def fault(self, rule: ArgumentRule, arguments: object) -> str | None:
        return self._schemas[rule.name].fault(arguments)


def alone(request: PolicyRequest) -> Facts:
    """What scopes see of a call that the policies are asked about, where nobody stands above its caller."""
    who, context = request.principal, request.context
    node: dict[Attribute, str] = {
        "organization": who.organization,
        "team": who.team,
        "owner": who.owner,
        "kind": who.kind,
        "identity": who.name,
        "environment": context.environment,
        "task_type": context.task_type,
        "profile": context.profile,
    }
    return Facts(({name: value for name, value in node.items() if value},), {})


def check_arguments(rules: ArgumentRules, facts: Facts, tool: str, arguments: bytes) -> Refusal | None:
    """None if the arguments are what every rule in whose scope the call is allows.

    `facts`: of the caller; a rule for somebody binds those who act for them, too. `arguments`: JSON. What the refusal
    says repeats names and values of the rule, and nothing of the arguments.
    """
    broken = broken_rule(rules, facts, tool, arguments)
    return None if broken is None else _refused(*broken, tool)


def broken_rule(rules: ArgumentRules, facts: Facts, tool: str, arguments: bytes) -> tuple[ArgumentRule, str] | None:
    """The first rule in whose scope the call is that does not allow its arguments, and what is wrong with them."""
    bound = [rule for rule in rules.of_tool(tool) if nodes_in_scope(rule.scope, facts)]
    if not bound:
        return None
    try:
        read: object = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return bound[0], "they are no JSON that can be read"
    for rule in bound:
        fault = rules.fault(rule, read)
        if fault is not None:
            return rule, fault
    return None


def _refused(rule: ArgumentRule, fault: str, tool: str) -> Refusal:
    return Refusal(
        code="arguments_forbidden",
        sentence=f"The rule {rule.name!r} does not allow these arguments of {tool[:200]}: {fault}.",
        hint=_HINT,
        param="arguments",
    )
