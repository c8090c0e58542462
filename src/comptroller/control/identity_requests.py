"""Requests for an identity: asking for one, and deciding.

An approval installs the identity and the one rule by which it is whoever asked, as a version of the registry. The file
does not have them: the lines for it are part of the answer, and a plan says so as long as they are missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from comptroller.control.interfaces import RegistryState
from comptroller.control.office import Office
from comptroller.control.principal import who_asks
from comptroller.control.problem import ControlProblem, conflict, invalid, ledger_unavailable, not_found
from comptroller.control.proof import Proof
from comptroller.control.reason import LONGEST_REASON, read_reason
from comptroller.control.registry import install_plan
from comptroller.control.sessions import end_session
from comptroller.core.identity.admin import Actor
from comptroller.core.identity.identity import Environment, IdentityKind
from comptroller.core.identity.request import IdentityRequest, Principal, RequestState
from comptroller.core.ids import is_identity_id
from comptroller.core.instant import format_instant
from comptroller.core.problem import did_you_mean
from comptroller.core.registry.approval import lines_of, read_request
from comptroller.core.registry.plan import Plan
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change

REQUESTS_SHOWN = 200
MOST_OPEN = 1_000  # of all issuers
MOST_ASKED = 10  # of one principal, ever
LONGEST_PURPOSE = 500
_SAID = ("owner", "purpose", "environment", "kind", "name", "identity", "team")


class RequestRow(msgspec.Struct, frozen=True):
    id: str
    state: RequestState
    issuer: str
    subject: str
    owner: str
    purpose: str
    environment: Environment
    kind: IdentityKind
    name: str | None  # that is wished for
    asked_at: str
    decided_at: str | None
    decided_by: str | None
    decided_reason: str | None
    identity: str | None  # that it was approved as


class IdentityApproval(msgspec.Struct, frozen=True):
    """What was approved, and what the file has to say so that it stays."""

    request: RequestRow
    version: int  # of the registry
    lines: str  # of registry.toml
    warnings: Sequence[str]


class Wanted(msgspec.Struct, frozen=True):
    """What is asked for."""

    owner: str
    purpose: str
    environment: Environment
    kind: IdentityKind
    name: str | None


async def ask(office: Office, proof: Proof, wanted: Wanted) -> tuple[RequestRow, bool]:
    """Ask for an identity, and whether that is a new request: the same one twice is one."""
    async with office.deciding:
        who = who_asks(office, proof).principal
        _check_wanted(office, wanted)
        name, before = who.name, await office.ledger.requests_of(who)
        clock = office.gate.clock
        at_ns = clock.now_ns()
        request = IdentityRequest(
            id=clock.new_id("req"),
            issuer=who.issuer,
            subject=who.subject,
            owner=wanted.owner,
            purpose=wanted.purpose.strip(),
            environment=wanted.environment,
            kind=wanted.kind,
            name=wanted.name,
            asked_at_ns=at_ns,
        )
        if before and before[0].state == "open":
            if before[0].asks_the_same(request):
                return row_of(before[0]), False
            hint = "Wait until it is decided, or ask an approver to deny it: `comptroller identities request --status`."
            raise conflict(f"Your request {before[0].id} is open, and asks for something else.", hint)
        if len(before) >= MOST_ASKED:
            hint = "Ask an operator to write the identity into the registry."
            raise ControlProblem(429, "requests_full", f"{name} has asked {len(before)} times.", hint)
        if await office.ledger.open_requests() >= MOST_OPEN:
            hint = "Ask an approver to decide some: `comptroller requests`."
            raise ControlProblem(429, "requests_full", f"{MOST_OPEN} requests are open, and no more are taken.", hint)
        await _write(office, request, Change(at_ns, name, "ask", "identity_request", request.id, after=_facts(request)))
    office.gate.warn("identity_requested", {"message": f"{name} asks for an identity: {request.id}."})
    return row_of(request), True


async def newest_of(office: Office, who: Principal) -> RequestRow:
    """What became of the last request."""
    found = await office.ledger.requests_of(who)
    if not found:
        raise not_found(f"{who.name} has asked for no identity.", "`comptroller identities request --help`")
    return row_of(found[0])


async def list_requests(office: Office, *, every: bool = False, limit: int = REQUESTS_SHOWN) -> Sequence[RequestRow]:
    """Open ones, the oldest first; with `every`, decided ones too, the newest first."""
    return [row_of(each) for each in await office.ledger.requests(limit, every=every)]


async def approve(
    office: Office, request_id: str, name: str | None, team: str | None, reason: str, actor: Actor
) -> IdentityApproval:
    """Install the identity: from now on, whoever asked is it. `team`: left out, that of the owner."""
    words = read_reason(reason, "Say why, for whoever asks later.")
    async with office.deciding, office.changing:
        asked = await _open(office, request_id)
        _check_second(office, asked, actor)
        state = await office.ledger.registry()
        at_ns = office.gate.clock.now_ns()
        request = msgspec.structs.replace(
            asked,
            identity=_free_name(state, name or asked.name),
            team=team or _team(office, asked.owner),
            decided_at_ns=at_ns,
            decided_by=actor.name,
            decided_reason=words,
        )
        kind = _kind_of_issuer(state, request)
        agreed = await asyncio.to_thread(_agreed, state, request)
        lines = lines_of(request, kind)
        change = Change(at_ns, actor.name, "approve", "identity_request", request.id, words, after=_facts(request))
        done = await install_plan(office, lines, actor.name, state, agreed, (request, change))
    warnings = [" ".join(filter(None, (each.sentence, each.hint))) for each in done.warnings]
    return IdentityApproval(row_of(request), done.version, lines, warnings)


async def deny(office: Office, request_id: str, reason: str, actor: Actor) -> RequestRow:
    """Say no. Sessions of the sandbox that whoever asked has open end at once, and it gets no more of them."""
    words = read_reason(reason, "Say why: whoever asked is told.")
    async with office.deciding:
        asked, at_ns = await _open(office, request_id), office.gate.clock.now_ns()
        request = msgspec.structs.replace(asked, decided_at_ns=at_ns, decided_by=actor.name, decided_reason=words)
        name = asked.principal.name
        own = [s.id for s in office.going_on().values() if s.parent is None and s.minted_by == s.subject == name]
        said = f"{request.id} was denied: {words}"[:LONGEST_REASON]
        # They end first: whoever dies in between is asked again, and leaves no session of somebody who was told no.
        await asyncio.gather(*(end_session(office, each, said, actor.name) for each in own))
        change = Change(at_ns, actor.name, "deny", "identity_request", request.id, words, after=_facts(request))
        await _write(office, request, change)
    return row_of(request)


def _check_wanted(office: Office, wanted: Wanted) -> None:
    """Raise ControlProblem for what nobody could approve. Names that there are are not told."""
    registry = office.gate.registry
    owner = registry.owners.get(wanted.owner)
    if owner is None or owner.disabled:
        hint = "Give an owner as the registry has it; whoever runs the gateway knows."
        raise invalid(f"There is no owner {wanted.owner!r} in the registry.", hint)
    purpose = wanted.purpose.strip()
    if not 0 < len(purpose) <= LONGEST_PURPOSE or not purpose.isprintable():
        raise invalid(f"A purpose is one line of at most {LONGEST_PURPOSE} printable characters.")
    if wanted.name is not None:
        if not is_identity_id(wanted.name) or "/~" in wanted.name:
            raise invalid(f"{wanted.name!r} is not an identity id.", "Write it as kind/name, such as 'agent/scout'.")
        if wanted.name in registry.identities:
            raise conflict(f"{wanted.name} is taken.", "Wish for another name, or for none.")


async def _open(office: Office, request_id: str) -> IdentityRequest:
    found = await office.ledger.request(request_id)
    if found is None:
        raise not_found(f"There is no request {request_id!r}.", "`comptroller requests` lists them.")
    if found.state != "open":
        sentence = f"{found.id} was {found.state} by {found.decided_by}: {(found.decided_reason or '').rstrip('.')}."
        raise conflict(sentence, "A request is decided once; whoever asked can ask again.")
    return found


def _check_second(office: Office, request: IdentityRequest, actor: Actor) -> None:
    """Two people: whoever asks does not approve, and neither does who is to answer for what is spent."""
    admin, now_ns = office.admins.get(actor.name), office.gate.clock.expiry_ns()
    hint = "Ask another admin who may approve: `comptroller admins list`."
    if admin is not None and (admin.issuer, admin.subject) == request.principal:
        raise ControlProblem(403, "second_admin_needed", f"{actor.name} has asked for this.", hint)
    if actor.named and (admin is None or admin.standing(now_ns) != "active"):  # since they have asked
        raise ControlProblem(403, "second_admin_needed", f"{actor.name} may not act any more.", hint)
    if actor.name.casefold() == request.owner.casefold():
        sentence = f"{actor.name} is the owner, who is to answer for it."
        raise ControlProblem(403, "second_admin_needed", sentence, hint)


def _free_name(state: RegistryState, name: str | None) -> str:
    if name is None:
        raise invalid("Nobody has said what it is to be called.", "Name it: --name agent/scout.")
    stored = state.entries.get(("identity", name))
    if stored is not None:
        more = ", disabled: the file can put it back" if stored.disabled else ""
        raise conflict(f"There is an identity {name} in the registry{more}.", "Give another name: --name ....")
    return name


def _team(office: Office, owner: str) -> str:
    found = office.gate.registry.owners.get(owner)
    if found is None or found.disabled:
        known = [name for name, each in office.gate.registry.owners.items() if not each.disabled]
        near = did_you_mean(owner, known)
        raise conflict(f"There is no owner {owner!r} in the registry any more.", near or "Deny it, and say so.")
    return found.team


def _kind_of_issuer(state: RegistryState, request: IdentityRequest) -> str:
    issuer = state.entries.get(("issuer", request.issuer))
    if issuer is None or issuer.disabled:
        raise conflict(f"The registry trusts no issuer {request.issuer!r} any more.", "Deny it, and say so.")
    return str(issuer.value["kind"])


def _agreed(state: RegistryState, request: IdentityRequest) -> Plan:
    found = read_request(request, {key: each.value for key, each in state.entries.items() if not each.disabled})
    if isinstance(found, Plan):
        return found
    message = "The registry does not take it; nothing was changed."
    raise ControlProblem(422, "registry_invalid", message, "Deny it, and say why.", [each.line for each in found])


async def _write(office: Office, request: IdentityRequest, change: Change) -> None:
    """On disk first: what a restart would forget was never said."""
    try:
        await office.ledger.write_request(request, [change])
    except LedgerUnavailableError as error:
        raise ledger_unavailable(f"{request.id} could not be written: {error}.") from error


def _facts(request: IdentityRequest) -> str:
    """What an event says of a request."""
    said = {name: getattr(request, name) for name in _SAID}
    facts = {"principal": request.principal.name} | {name: word for name, word in said.items() if word is not None}
    return msgspec.json.encode(facts).decode()


def row_of(request: IdentityRequest) -> RequestRow:
    """What may be seen of a request, by whoever made it, too."""
    return RequestRow(
        id=request.id,
        state=request.state,
        issuer=request.issuer,
        subject=request.subject,
        owner=request.owner,
        purpose=request.purpose,
        environment=request.environment,
        kind=request.kind,
        name=request.name,
        asked_at=format_instant(request.asked_at_ns),
        decided_at=None if request.decided_at_ns is None else format_instant(request.decided_at_ns),
        decided_by=request.decided_by,
        decided_reason=request.decided_reason,
        identity=request.identity,
    )
