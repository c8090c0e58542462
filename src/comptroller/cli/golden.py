"""Golden requests: a file of calls and of what the policies must say of them."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from comptroller.cli.failure import CommandError
from comptroller.cli.policy_files import Found
from comptroller.core.policy.policies import Policies
from comptroller.core.policy.request import Context, PolicyRequest, Principal, Resource
from comptroller.core.policy.verdict import next_step
from comptroller.core.problem import did_you_mean
from comptroller.core.registry.build import build
from comptroller.core.registry.entries import StoredEntry
from comptroller.core.registry.registry import Registry
from comptroller.core.tool.arguments import alone, broken_rule
from comptroller.core.tool.classes import classes_of


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One call, and what is expected of it. What stands in `context` replaces what the registry says."""

    identity: str
    expect: Literal["allow", "deny"]
    model: str = ""
    tool: str = ""  # SERVER/TOOL, where no model is called
    arguments: dict[str, object] | None = None  # of a tool
    name: str = ""
    policies: tuple[str, ...] | None = None  # the determining ones, in any order; left out: any
    remedy: str | None = None  # what would be tried next; "" for none
    rule: str | None = None  # of [[arguments]], that does not allow these; "" for none; left out: any
    context: dict[str, object] = {}

    @property
    def asked(self) -> str:
        return self.tool or self.model


class GoldenFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    request: tuple[Golden, ...] = ()


class Result(msgspec.Struct, frozen=True):
    """What came of one request."""

    name: str
    expected: str
    came: str
    policies: Sequence[str]
    remedy: str | None
    passed: bool
    detail: str
    rule: str = ""  # of [[arguments]], that refuses it


def _why(error: OSError | UnicodeDecodeError) -> str:
    """Without the path, which stands beside it."""
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)


def read_golden(path: Path) -> Sequence[Golden]:
    """The requests of a file."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), GoldenFile).request
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {_why(error)}.", "Name a file that is there.") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise CommandError(f"{path} is no file of requests: {error}.", "The format: docs/policies.md.") from error


def decide_all(policies: Policies, files: Found, requests: Sequence[Golden]) -> list[Result]:
    """Every request, decided."""
    if files.document is None:
        raise CommandError(
            "Requests name identities and models, and no registry file is there.", "Say --registry FILE."
        )
    registry = build({key: StoredEntry(entry) for key, entry in files.document.entries.items()}, 0)
    return [_decide(policies, registry, golden, number) for number, golden in enumerate(requests, 1)]


def _decide(policies: Policies, registry: Registry, golden: Golden, number: int) -> Result:
    name = golden.name or f"{number}: {golden.identity} {golden.asked}"
    request = _request(registry, golden, name)
    verdict = policies.evaluate(request)
    step = next_step(verdict, ())
    remedy = str(step.remedy) if step is not None else None
    arguments = None if golden.arguments is None else msgspec.json.encode(golden.arguments)
    broken = broken_rule(registry.arguments, alone(request), golden.tool, arguments) if arguments is not None else None
    rule = "" if broken is None else broken[0].name
    came = "allow" if verdict.allowed and broken is None else "deny"
    faults: list[str] = list(verdict.errors)
    if came != golden.expect:
        faults.append(f"{golden.expect} was expected")
    if golden.policies is not None and set(golden.policies) != set(verdict.ids):
        faults.append(f"by {', '.join(golden.policies) or 'no policy'} was expected")
    if golden.remedy is not None and golden.remedy != (remedy or ""):
        faults.append(f"the remedy {golden.remedy or 'none'} was expected, not {remedy or 'none'}")
    if golden.rule is not None and golden.rule != rule:
        faults.append(f"the rule {golden.rule or 'none'} was expected to refuse the arguments, not {rule or 'none'}")
    return Result(
        name=name,
        expected=golden.expect,
        came=came,
        policies=verdict.ids,
        remedy=remedy,
        passed=len(faults) == len(verdict.errors),
        detail="; ".join(faults),
        rule=rule,
    )


def _request(registry: Registry, golden: Golden, name: str) -> PolicyRequest:
    identity = registry.identities.get(golden.identity)
    if identity is None:
        hint = did_you_mean(golden.identity, registry.identities)
        raise CommandError(f"{name}: there is no identity {golden.identity!r} in the registry.", hint)
    if (golden.tool == "") == (golden.model == ""):
        raise CommandError(f"{name}: name a `model` or a `tool`, and not both.", "The format: docs/policies.md.")
    principal = Principal(identity.id, identity.kind, identity.team, identity.owner, registry.organization.name)
    known: dict[str, object] = {
        "environment": identity.environment,
        "risk_tier": identity.risk_tier,
        "data_classes": identity.data_classes,
    }
    if golden.tool:
        context, resource = _about_tool(registry, golden, name, known)
        return PolicyRequest(principal, resource, context, "tool.call")
    model = registry.model(golden.model)
    if model is None:
        hint = did_you_mean(golden.model, registry.models)
        raise CommandError(f"{name}: no entry of the registry serves the model {golden.model!r}.", hint)
    known |= {"model_class": model.model_class or "", "provider": model.providers[0]}
    context = _context(golden, name, known)
    return PolicyRequest(principal, Resource(golden.model, context.model_class), context)


def _about_tool(registry: Registry, golden: Golden, name: str, known: dict[str, object]) -> tuple[Context, Resource]:
    tool = registry.tool(golden.tool)
    if tool is None:
        hint = did_you_mean(golden.tool, registry.tools)
        raise CommandError(f"{name}: no entry of the registry is for the tool {golden.tool!r}.", hint)
    server = golden.tool.partition("/")[0]
    found = classes_of(msgspec.json.encode(golden.arguments)) if golden.arguments is not None else ()
    context = _context(golden, name, known | {"server": server, "risks": tool.risks, "arguments": found})
    return context, Resource(golden.tool, server=server, risks=context.risks)


def _context(golden: Golden, name: str, known: dict[str, object]) -> Context:
    unknown = golden.context.keys() - {field.name for field in msgspec.structs.fields(Context)}
    if unknown:
        hint = did_you_mean(min(unknown), Context.__struct_fields__)
        raise CommandError(f"{name}: there is no `context.{min(unknown)}`.", hint)
    try:
        return msgspec.convert({**known, **golden.context}, Context)
    except msgspec.ValidationError as error:
        raise CommandError(f"{name}: {error}.") from error
