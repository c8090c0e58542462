"""The registry: what a document would change, and installing it as one version."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from comptroller.control import opening
from comptroller.control.inputs import count_inputs_if_readable
from comptroller.control.interfaces import Installation, RegistryState
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, conflict, ledger_unavailable
from comptroller.core.budget.budget import label, say_amount
from comptroller.core.identity.identity import Identity, may_act
from comptroller.core.identity.request import IdentityRequest
from comptroller.core.pricing.book import Shipped
from comptroller.core.problem import Problem, join
from comptroller.core.refusal import Refusal
from comptroller.core.registry.approval import lines_of
from comptroller.core.registry.build import build
from comptroller.core.registry.document import read_document
from comptroller.core.registry.entries import NOTHING, Document, EntryKey, Installed, string
from comptroller.core.registry.plan import EntryChange, Plan, install, plan
from comptroller.core.registry.policy_files import installed_files, with_policies
from comptroller.core.registry.references import unknown_providers
from comptroller.core.registry.registry import Registry
from comptroller.flow.chain import known_identity
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change


class PlannedChange(msgspec.Struct, frozen=True):
    verb: str  # add, change, disable, enable
    kind: str
    key: str
    sentence: str


class PlanWarning(msgspec.Struct, frozen=True):
    where: str
    sentence: str
    hint: str


class PlanRow(msgspec.Struct, frozen=True):
    """What would change, or has changed. `version` is the one that is installed after the answer."""

    version: int
    applied: bool
    changes: Sequence[PlannedChange]
    warnings: Sequence[PlanWarning]
    opened: Sequence[str] = ()  # new budgets that begin with what was already spent
    missing: str = ""  # lines of registry.toml that would keep what an approver installed


async def show_plan(office: Office, text: str, policies: Mapping[str, str] | None = None) -> PlanRow:
    """What `apply` would do with this document and these policy files; None: those that are installed."""
    state = await office.ledger.registry()
    agreed = await _agreed(office, state, text, policies)
    return await asyncio.to_thread(_row, state.version, agreed, applied=False)


async def apply(
    office: Office,
    text: str,
    actor: str,
    expected_version: int | None = None,
    policies: Mapping[str, str] | None = None,
) -> PlanRow:
    """Install a document and policy files as the next version: on disk first, then in force in one step."""
    async with office.changing:
        state = await office.ledger.registry()
        if expected_version is not None and expected_version != state.version:
            raise conflict(
                f"The registry is at version {state.version} now; the plan was made for version {expected_version}.",
                "Look at `comptroller plan` again.",
            )
        agreed = await _agreed(office, state, text, policies)
        if agreed.empty:
            return _row(state.version, agreed, applied=False)
        return await install_plan(office, text, actor, state, agreed)


async def _agreed(office: Office, state: RegistryState, text: str, policies: Mapping[str, str] | None) -> Plan:
    """What a document would change. On a thread: calls go on while a hundred thousand identities are read."""
    gate, shipped = office.gate, _shipped(office)
    providers, in_force, now_ns = gate.model_providers, gate.registry.budgets, gate.clock.now_ns()

    def compare() -> Plan:
        found = plan_document(state, read(text, providers, _in_force(state, policies), state.entries, shipped))
        if found.empty or state.gap is None:
            return found
        wanted = build(install(state.entries, found), state.version + 1, shipped).budgets
        more = opening.warn_of_gap(in_force, wanted, state.gap, now_ns)
        return msgspec.structs.replace(found, warnings=(*found.warnings, *more))

    return await _warn_of_approved(office, state, await asyncio.to_thread(compare))


async def _warn_of_approved(office: Office, state: RegistryState, found: Plan) -> Plan:
    """The same plan; it says so where an identity would go that an approver installed and the file does not have."""
    gone: set[str] = set()
    for change in found.changes:
        if change.verb == "disable" and change.kind in {"identity", "federation"}:
            gone.add(change.key if change.kind == "identity" else string(change.before or {}, "identity"))
    approved = await office.ledger.approved(gone) if gone else ()
    return msgspec.structs.replace(
        found,
        warnings=(*found.warnings, *(_say_missing(each) for each in approved)),
        missing=tuple(lines_of(each, _kind(state, each.issuer)) for each in approved),
    )


def _say_missing(request: IdentityRequest) -> Problem:
    sentence = (
        f"{request.decided_by} approved it at run time ({request.id}), and the file does not have it as it was "
        f"approved: with this file, {request.principal.name} would not be {request.identity} any more."
    )
    return Problem(join("identities", request.identity or ""), sentence, "To keep it, add its lines to the file.")


def _kind(state: RegistryState, issuer: str) -> str:
    stored = state.entries.get(("issuer", issuer))
    return "" if stored is None else string(stored.value, "kind")


def read(
    text: str,
    providers: Collection[str],
    policies: Mapping[str, str] | None = None,
    installed: Installed = NOTHING,
    shipped: Shipped | None = None,
) -> Document:
    """The document behind the text of a registry.toml, with its policy files (name -> text).

    Raises ControlProblem that names every fault.
    """
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _faulty(f"The registry file is not TOML: {error}.", []) from error
    found = read_document(raw, installed, shipped)
    if not isinstance(found, Document):
        raise _faulty("The registry file has faults; nothing was changed.", found)
    unknown = unknown_providers(found.entries, providers)
    if unknown:
        sentence = "The registry file names providers that the gateway does not have; nothing was changed."
        raise _faulty(f"{sentence} New ones of comptroller.toml are known after a restart.", unknown)
    whole = with_policies(found, policies or {})
    if not isinstance(whole, Document):
        raise _faulty("The policy files have faults; nothing was changed.", whole, "policy_invalid")
    return whole


def _shipped(office: Office) -> Shipped | None:
    return office.gate.registry.prices.shipped


def _in_force(state: RegistryState, policies: Mapping[str, str] | None) -> Mapping[str, str]:
    return installed_files(state.entries) if policies is None else policies


def plan_document(state: RegistryState, document: Document) -> Plan:
    """The difference to what is installed."""
    return plan(state.entries, document.entries, document.warnings)


def installation(
    state: RegistryState,
    agreed: Plan,
    text: str,
    actor: str,
    at_ns: int,
    approved: tuple[IdentityRequest, Change] | None = None,
) -> Installation:
    """The next version as the store wants it, without opening balances: with those of an empty store."""
    version = state.version + 1
    after = install(state.entries, agreed)
    changed: list[EntryKey] = [(change.kind, change.key) for change in agreed.changes]
    return Installation(
        version=version,
        at_ns=at_ns,
        actor=actor,
        document=_encode({**tomllib.loads(text), "policies": installed_files(after)}),
        entries={key: msgspec.structs.replace(after[key], since_ns=at_ns) for key in changed},
        changes=[
            *(_event(change, actor, at_ns, version) for change in agreed.changes),
            *(() if approved is None else (approved[1],)),
        ],
        opening={},
        decided=None if approved is None else approved[0],
    )


async def install_plan(
    office: Office,
    text: str,
    actor: str,
    state: RegistryState,
    agreed: Plan,
    approved: tuple[IdentityRequest, Change] | None = None,
) -> PlanRow:
    """Carry a plan out, as one version: on disk first. For whoever holds `office.changing`.

    `text` is what it was made from, as TOML. `approved`: a request that is decided by it, and the event of that.
    """
    gate = office.gate
    at_ns, shipped = gate.clock.now_ns(), _shipped(office)

    def prepare() -> tuple[Installation, Registry]:
        prepared = installation(state, agreed, text, actor, at_ns, approved)
        return prepared, build({**state.entries, **prepared.entries}, prepared.version, shipped)

    prepared, wanted = await asyncio.to_thread(prepare)
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
    before, gate.registry = gate.registry, wanted
    gate.pace.replace(wanted.rates)
    office.issuer.trust_domain = wanted.organization.trust_domain
    _stop_identities(office, wanted)
    # Up to here nobody has waited: all of it is in force at once, whatever can be read now.
    if wanted.contexts and not before.contexts:
        await count_inputs_if_readable(gate, office.ledger)
    return await asyncio.to_thread(_row, prepared.version, agreed, applied=True, opened=_say_opened(opened))


def _stop_identities(office: Office, registry: Registry) -> None:
    """Calls in flight of identities that may not act any more, or stand below one, end now."""
    now_ns = office.gate.clock.expiry_ns()

    def no_of(identity: Identity) -> Refusal | None:
        return may_act(identity, registry.answerable_until(identity), now_ns)

    for call in office.gate.live.holding:
        whose = dict.fromkeys(node["identity"] for node in call.facts.chain if "identity" in node)
        noes = (no_of(known_identity(registry, each)) for each in whose)
        no = next((each for each in noes if each is not None), None)
        if no is not None:
            said = f"This call was stopped in flight. {no.sentence}"
            call.stop(Refusal(no.code, said, f"What it cost until then is charged. {no.hint}"))


def _faulty(message: str, problems: Sequence[Problem], code: str = "registry_invalid") -> ControlProblem:
    hint = "Mend the file and try again." if problems else "Mend the line that it names."
    return ControlProblem(422, code, message, hint, [problem.line for problem in problems])


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
        changes=[PlannedChange(c.verb, c.kind, c.key, c.sentence) for c in agreed.changes],
        warnings=[PlanWarning(p.where, p.sentence, p.hint) for p in agreed.warnings],
        opened=opened,
        missing="\n".join(agreed.missing),
    )
