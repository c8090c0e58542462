"""From the texts of policy files to policies that decide, with every fault in them at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from cedarpy import PolicySet, pst

from comptroller.core.policy.cedar import UNFILLED, faults_of
from comptroller.core.policy.policies import Policies
from comptroller.core.policy.relevance import mentioned
from comptroller.core.policy.remedy import Remedy, parse_remedy
from comptroller.core.policy.targets import Targets, unknown_names, unreachable_route
from comptroller.core.policy.text import Statement, statements, version_of
from comptroller.core.policy.verdict import Policy
from comptroller.core.problem import Fault, Problem, did_you_mean

ANNOTATIONS = ("id", "reason", "remedy")
DEFAULT_PERMIT = "default-permit"

_BUILT_IN = {
    "(built in)": f"""@id("{DEFAULT_PERMIT}")
@reason("no policy is installed, so budgets alone decide")
permit (principal is Identity, action == Action::"model.call", resource);
"""  # of tools it says nothing: what no policy permits is refused
}
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.cedar", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_LACKING = re.compile(r'in context for Action::"(model\.call|tool\.call)" not found')
_TOOL_CALL = "tool.call"
_OTHER = {"model.call": "tool.call", "tool.call": "model.call"}
_OF_POLICY = re.compile(r"^for policy `policy0`,? ")
_REASON_LENGTH = 300


def load_policies(files: Mapping[str, str], targets: Targets | None) -> Policies | list[Problem]:
    """The policies of these files (name -> text), or everything that is wrong with them.

    Without a file the built-in set is in force: every registered identity may call every model, as far as budgets go,
    and no tool. `targets`: what the policies may name. None: these were installed, so neither names nor the schema is
    looked at again: where a newer schema has no such value any more, the call that asks for it is denied.
    """
    if not files:
        return built_in()
    found, problems = _read(files, targets)
    problems.extend(_wrong_files(files))
    return problems or Policies(found, version_of(files))


def built_in() -> Policies:
    """The set that is in force while no policy is installed."""
    found, _ = _read(_BUILT_IN, None)
    return Policies(found, version_of(_BUILT_IN), built_in=True)


def policy_texts(text: str) -> Mapping[str, str]:
    """The policies of a file by id, without comments between them; one without an id, or that is none, by its place."""
    found: dict[str, str] = {}
    for number, statement in enumerate(statements("", text), 1):
        try:
            (policy,) = PolicySet.from_str(statement.text).to_pst().static_policies.values()
        except ValueError:
            found[f"number {number}"] = statement.text
        else:
            found[policy.annotations.get("id", f"number {number}")] = statement.text
    return found


def warnings(policies: Policies, targets: Targets | None = None) -> Iterator[Problem]:
    """What is right, and probably not what was meant."""
    permits = [policy for policy in policies.policies if policy.effect == "permit"]
    if policies.built_in:
        sentence = f"No policy is installed: the built-in `{DEFAULT_PERMIT}` lets every identity call every model."
        yield Problem("policies", sentence, "Budgets still hold. No tool may be called.")
    elif not permits:
        yield Problem("policies", "No policy permits anything: every call will be refused (`no_permit`).")
    elif targets is not None and targets.tools:
        yield from _about_tools(permits)


def _about_tools(permits: Sequence[Policy]) -> Iterator[Problem]:
    named = [(policy, _actions(policy)) for policy in permits]
    for policy, actions in named:
        if actions is None:
            hint = 'Write `action == Action::"model.call"`, or leave it if that is meant.'
            yield Problem(policy.where, f"{policy.id} names no action, so it permits tools, too.", hint)
    if not any(actions is None or _TOOL_CALL in actions for _, actions in named):
        sentence = "Tools are listed, and no policy permits a call of one: all will be refused (`no_permit`)."
        yield Problem("policies", sentence, f'Write a permit with `action == Action::"{_TOOL_CALL}"`.')


def _actions(policy: Policy) -> frozenset[str] | None:
    """The actions that a policy is about; None: whatever is done."""
    (written,) = PolicySet.from_str(policy.text).to_pst().static_policies.values()
    match written.action:
        case pst.ActionEq(entity=one):
            return frozenset({one.id})
        case pst.ActionIn(entities=several):
            return frozenset(each.id for each in several)
        case _:
            return None


def _read(files: Mapping[str, str], targets: Targets | None) -> tuple[list[Policy], list[Problem]]:
    found: list[Policy] = []
    problems: list[Problem] = []
    places: dict[str, str] = {}
    for name in sorted(files):
        for statement in statements(name, files[name]):
            policy = _policy(statement, targets, problems)
            if policy is None:
                continue
            if policy.id in places:
                problems.append(_twice(policy, places[policy.id]))
            places.setdefault(policy.id, policy.where)
            found.append(policy)
    return found, problems


def _policy(statement: Statement, targets: Targets | None, problems: list[Problem]) -> Policy | None:
    """One policy; what is wrong with it goes to `problems`."""
    where = statement.where
    try:
        written = PolicySet.from_str(statement.text).to_pst()
    except ValueError as error:
        problems.append(Problem(where, f"This is no policy of Cedar: {error}."))
        return None
    if written.templates:
        hint = "Name whom it is about, or write one policy for each."
        problems.append(Problem(where, "This is a template (`?principal`, `?resource`): it decides nothing.", hint))
        return None
    (policy,) = written.static_policies.values()
    if targets is not None:
        problems.extend(_invalid(statement, policy))
        problems.extend(unknown_names(where, policy, targets))
    return _annotated(statement, policy, targets, problems)


def _annotated(
    statement: Statement, policy: pst.Template, targets: Targets | None, problems: list[Problem]
) -> Policy | None:
    where, annotations = statement.where, policy.annotations
    unknown = sorted(annotations.keys() - set(ANNOTATIONS))
    problems.extend(
        Problem(where, f"There is no annotation @{name}.", did_you_mean(name, ANNOTATIONS)) for name in unknown
    )
    reason = annotations.get("reason", "")
    if len(reason) > _REASON_LENGTH or not reason.isprintable():
        problems.append(Problem(where, f"@reason must be one line of at most {_REASON_LENGTH} printable characters."))
    remedy = _remedy(where, policy, targets, problems)
    name = annotations.get("id", "")
    if not name:
        problems.append(Problem(where, 'This policy has no @id("...").', "Records and refusals name policies by it."))
        return None
    if _ID.fullmatch(name) is None:
        hint = "Use letters, digits and . _ -, at most 100, no sign first."
        problems.append(Problem(where, f"{name!r} is not an id.", hint))
    return Policy(name, policy.effect, reason, remedy, where, statement.text)


def _remedy(where: str, policy: pst.Template, targets: Targets | None, problems: list[Problem]) -> Remedy | None:
    text = policy.annotations.get("remedy")
    if text is None:
        return None
    if policy.effect == "permit":
        problems.append(Problem(where, "A remedy stands on a permit.", "It lifts a forbid: write it there."))
        return None
    try:
        remedy = parse_remedy(text)
    except Fault as fault:
        problems.append(fault.at(where))
        return None
    if targets is not None and remedy.kind == "route":
        problems.extend(unreachable_route(where, remedy, targets))
    return remedy


def _invalid(statement: Statement, policy: pst.Template) -> Iterator[Problem]:
    """What the schema does not allow, and values that nothing fills yet."""
    for fault in faults_of(statement.text):
        lacking = _LACKING.search(fault)
        hint = f'If it is not about those calls, write `action == Action::"{_OTHER[lacking[1]]}"`.' if lacking else ""
        yield Problem(statement.where, f"The schema does not allow this: {_OF_POLICY.sub('', fault)}.", hint)
    for name in sorted(mentioned(policy) & UNFILLED):
        sentence = f"`context.{name}` is not filled yet: this policy would never bind as it is meant."
        yield Problem(statement.where, sentence, "Leave it out for now.")


def _wrong_files(files: Mapping[str, str]) -> Iterator[Problem]:
    for name, text in sorted(files.items()):
        if _FILE.fullmatch(name) is None:
            hint = "Use letters, digits and . _ -, and end it with .cedar."
            yield Problem(name, f"{name!r} is not the name of a policy file.", hint)
        elif next(statements(name, text), None) is None:
            yield Problem(name, "There is no policy in this file.", "Write one, or remove the file.")


def _twice(policy: Policy, first: str) -> Problem:
    return Problem(policy.where, f"The id {policy.id!r} stands at {first} already.", "Each policy needs its own.")
