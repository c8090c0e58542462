"""The registry: what a document would change, and installing it as one version."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from comptroller.control import opening
from comptroller.control.interfaces import Installation, RegistryState
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, conflict, ledger_unavailable
from comptroller.core.budget.budget import label, say_amount
from comptroller.core.identity.identity import Identity
from comptroller.core.pricing.book import Shipped
from comptroller.core.registry.build import build
from comptroller.core.registry.document import read_document
from comptroller.core.registry.entries import Document, strings
from comptroller.core.registry.plan import EntryChange, Plan, install, plan
from comptroller.core.registry.problem import Problem, did_you_mean, join
from comptroller.core.registry.registry import Registry
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change


class ChangeRow(msgspec.Struct, frozen=True):
    verb: str  # add, change, disable, enable
    kind: str
    key: str
    sentence: str


class WarningRow(msgspec.Struct, frozen=True):
    where: str
    sentence: str
    hint: str


class PlanRow(msgspec.Struct, frozen=True):
    """What would change, or has changed. `version` is the one that is installed after the answer."""

    version: int
    applied: bool
    changes: Sequence[ChangeRow]
    warnings: Sequence[WarningRow]
    opened: Sequence[str] = ()  # new budgets that begin with what was already spent


async def show_plan(office: Office, text: str) -> PlanRow:
    """What `apply` would do with this document."""
    state = await office.ledger.registry()
    agreed = plan_document(state, read(text, office.gate.providers, office.gate.registry.prices.shipped))
    return _row(state.version, agreed, applied=False)


async def apply(office: Office, text: str, actor: str, expected_version: int | None = None) -> PlanRow:
    """Install a document as the next version: on disk first, then in force in one step."""
    document = read(text, office.gate.providers, office.gate.registry.prices.shipped)
    async with office.changing:
        state = await office.ledger.registry()
        if expected_version is not None and expected_version != state.version:
            raise conflict(
                f"The registry is at version {state.version} now; the plan was made for version {expected_version}.",
                "Look at `comptroller plan` again.",
            )
        agreed = plan_document(state, document)
        if agreed.empty:
            return _row(state.version, agreed, applied=False)
        return await _install(office, text, actor, state, agreed)


def read(text: str, providers: Collection[str], shipped: Shipped | None = None) -> Document:
    """The document behind the text of a registry.toml. Raises ControlProblem that names every fault."""
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _faulty(f"The registry file is not TOML: {error}.", []) from error
    found = read_document(raw, shipped)
    if not isinstance(found, Document):
        raise _faulty("The registry file has faults; nothing was changed.", found)
    unknown = _unknown_providers(found, providers)
    if unknown:
        raise _faulty("The registry file names providers that the gateway does not have; nothing was changed.", unknown)
    return found


def plan_document(state: RegistryState, document: Document) -> Plan:
    """The difference to what is installed."""
    return plan(state.entries, document.entries, document.warnings)


def installation(state: RegistryState, agreed: Plan, text: str, actor: str, at_ns: int) -> Installation:
    """The next version as the store wants it, without opening balances: with those of an empty store."""
    version = state.version + 1
    after = install(state.entries, agreed)
    return Installation(
        version=version,
        at_ns=at_ns,
        actor=actor,
        document=_encode(tomllib.loads(text)),
        entries={(change.kind, change.key): after[change.kind, change.key] for change in agreed.changes},
        changes=[_event(change, actor, at_ns, version) for change in agreed.changes],
        opening={},
    )


async def _install(office: Office, text: str, actor: str, state: RegistryState, agreed: Plan) -> PlanRow:
    gate = office.gate
    prepared = installation(state, agreed, text, actor, gate.clock.now_ns())
    wanted = build({**state.entries, **prepared.entries}, prepared.version, gate.registry.prices.shipped)
    try:
        opened = await opening.begin(office, wanted)
        await office.ledger.install(msgspec.structs.replace(prepared, opening=opened.rows))
    except LedgerUnavailableError as error:
        opening.abandon(office)
        raise ledger_unavailable(f"The registry stays at version {state.version}: {error}.") from error
    except Exception:
        opening.abandon(office)
        raise
    opening.complete(office, wanted, opened)
    gate.registry = wanted
    office.issuer.trust_domain = wanted.organization.trust_domain
    _stop_identities(office, wanted)
    return _row(prepared.version, agreed, applied=True, opened=_say_opened(opened))


def _stop_identities(office: Office, registry: Registry) -> None:
    """Calls in flight of identities that may not act any more end now, not when the provider is done."""

    def stopped(identity: Identity | None) -> bool:
        return identity is None or identity.disabled or not registry.answerable(identity)

    office.gate.live.cut(lambda call: stopped(registry.identities.get(call.identity)), "stopped")


def _unknown_providers(document: Document, providers: Collection[str]) -> list[Problem]:
    return [
        Problem(
            join(join("models", key), "providers"),
            f"There is no provider {name!r} in comptroller.toml.",
            did_you_mean(name, providers),
        )
        for (kind, key), entry in document.entries.items()
        if kind == "model"
        for name in strings(entry, "providers")
        if name not in providers
    ]


def _faulty(message: str, problems: Sequence[Problem]) -> ControlProblem:
    hint = "Mend the file and try again." if problems else "Mend the line that it names."
    return ControlProblem(422, "registry_invalid", message, hint, [problem.line for problem in problems])


def _event(change: EntryChange, actor: str, at_ns: int, version: int) -> Change:
    return Change(
        at_ns=at_ns,
        actor=actor,
        verb=change.verb,
        noun=change.kind,
        key=change.key,
        before=_encode(change.before) if change.before is not None else "",
        after=_encode(change.after) if change.after is not None else "",
        version=version,
    )


def _encode(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _say_opened(opened: opening.Opening) -> list[str]:
    budgets = {budget.key: budget for budget in opened.budgets}
    lines: list[str] = []
    for key, amount in opened.credits.items():
        budget = budgets[key.budget]
        spent = amount + opened.known.get(key, 0)
        lines.append(f"{label(budget.name, key.instance)} begins with {say_amount(spent, budget.unit)} already spent")
    return sorted(lines)


def _row(version: int, agreed: Plan, *, applied: bool, opened: Sequence[str] = ()) -> PlanRow:
    return PlanRow(
        version=version,
        applied=applied,
        changes=[ChangeRow(c.verb, c.kind, c.key, c.sentence) for c in agreed.changes],
        warnings=[WarningRow(p.where, p.sentence, p.hint) for p in agreed.warnings],
        opened=opened,
    )
