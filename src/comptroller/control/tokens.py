"""Tokens: opening a session for an identity, and signing credentials for it."""

from __future__ import annotations

import msgspec

from comptroller.control.delegate import OpenRequest, acting_identity, below, bounds_of, checked, last_ns, set_aside
from comptroller.control.office import Office
from comptroller.control.problem import conflict, invalid, ledger_unavailable, over, refused
from comptroller.control.stops import stop_of
from comptroller.core.identity.credential import DEFAULT_LIFETIME_S, ID_PREFIX, LONGEST_LIFETIME_S, Claims
from comptroller.core.instant import NANOS_PER_SECOND, format_duration, format_instant
from comptroller.core.money import format_usd
from comptroller.core.work.bounds import LONGEST_SESSION_S
from comptroller.core.work.delegation import actors, may_open_another
from comptroller.core.work.session import Session
from comptroller.core.work.stop import refusal_of
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change

SHORTEST_LIFETIME_S = 1


class Minted(msgspec.Struct, frozen=True):
    """A fresh credential. It is shown this once and kept nowhere."""

    credential: str
    session: str
    identity: str
    expires_at: str
    lifetime_s: int
    minted_by: str


async def mint(office: Office, identity_id: str, lifetime_s: int | None, actor: str) -> Minted:
    """Open a session that lasts as long as the one credential that is signed for it."""
    wall_clock_s = DEFAULT_LIFETIME_S if lifetime_s is None else lifetime_s
    return await _open(office, OpenRequest(identity=identity_id, lifetime_s=lifetime_s), actor, most_s=wall_clock_s)


async def open_session(office: Office, request: OpenRequest, actor: str) -> Minted:
    """Open a session for an identity, or below another session, and sign a credential for it."""
    return await _open(office, request, actor, most_s=LONGEST_SESSION_S)


async def fresh_credential(
    office: Office, session_id: str, lifetime_s: int | None, actor: str, *, asked_with: str | None = None
) -> Minted:
    """Another credential for a session that goes on: it shares everything with the first.

    `asked_with`: the id of the credential that it is asked for with, for the record.
    """
    gate = office.gate
    session, issued_ns = gate.sessions.get(session_id), gate.clock.expiry_ns()
    if session is None or not session.goes_on(issued_ns):
        raise over(session_id)
    stop = stop_of(gate, session)
    if stop is not None:
        raise refused(refusal_of(stop))
    credential_id = gate.clock.new_id(ID_PREFIX)
    minted = _signed(office, session, credential_id, issued_ns, _lifetime_s(lifetime_s), actor)
    try:
        await office.ledger.record(_another(minted, credential_id, asked_with, gate.clock.now_ns()))
    except LedgerUnavailableError as error:
        raise ledger_unavailable(f"No credential was minted: {error}.") from error
    return minted


async def _open(office: Office, request: OpenRequest, actor: str, *, most_s: int) -> Minted:
    """It counts from the step in which it was checked, and is on disk before anybody can use it."""
    gate = office.gate
    if gate.draining:
        raise conflict("The gateway is shutting down and mints nothing.", "Try again when it is back.")
    issued_ns, lifetime_s = gate.clock.expiry_ns(), _lifetime_s(request.lifetime_s)
    request = checked(office, request)
    session = _at_the_top(office, request, actor, most_s) if request.parent is None else below(office, request, actor)
    minted = _signed(office, session, session.credential, issued_ns, lifetime_s, actor)
    gate.open_session(session)
    try:
        session = set_aside(office, session) if request.reserve else session
        await office.ledger.open_session(session, _event(session))
    except BaseException as error:
        gate.forget_session(session)
        if isinstance(error, LedgerUnavailableError):
            raise ledger_unavailable(f"No credential was minted: {error}.") from error
        raise
    return minted


def would_open(office: Office, identity: str, task_type: str | None = None) -> Session:
    """The session that an identity would have if it opened one now. It is not open. Raises ControlProblem."""
    request = checked(office, OpenRequest(identity=identity, task_type=task_type))
    return _at_the_top(office, request, "simulate", LONGEST_SESSION_S)


def _at_the_top(office: Office, request: OpenRequest, actor: str, most_s: int) -> Session:
    gate = office.gate
    identity = acting_identity(office, request.identity or "", tenant=request.tenant, subject=request.subject)
    most = gate.registry.most_sessions(identity)
    if most is not None:
        # A sandbox is of many: nobody's sessions keep the others out.
        own = request.subject if identity.id in gate.registry.federation.sandboxes else None
        open_now = gate.runs.open_tops(identity.id, most, gate.clock.expiry_ns(), own)
        no = may_open_another(identity.id, identity.kind, open_now, most, own)
        if no is not None:
            raise refused(no)
    bounds = bounds_of(office, identity, request)
    runs_s = min(most_s, LONGEST_SESSION_S if bounds.wall_clock_s is None else bounds.wall_clock_s)
    return Session(
        id=gate.clock.new_id("ses"),
        identity=identity.id,
        credential=gate.clock.new_id(ID_PREFIX),
        opened_at_ns=gate.clock.now_ns(),
        expires_at_ns=last_ns(office, identity, gate.clock.expiry_ns() + runs_s * NANOS_PER_SECOND),
        minted_by=actor,
        subject=request.subject,
        tenant=request.tenant,
        task_type=request.task_type,
        task=request.task,
        workflow=request.workflow,
        profile=request.profile or identity.profile,
        bounds=bounds,
        models=request.models,
        tools=request.tools,
    )


def _lifetime_s(lifetime_s: int | None) -> int:
    """How long the credential lives, if its session does."""
    wanted_s = DEFAULT_LIFETIME_S if lifetime_s is None else lifetime_s
    if not SHORTEST_LIFETIME_S <= wanted_s <= LONGEST_LIFETIME_S:
        raise invalid(
            f"A credential cannot live for {format_duration(wanted_s)}.",
            f"Ask for at most {LONGEST_LIFETIME_S} s ({LONGEST_LIFETIME_S // 3600} hours), and mint a new one in time.",
        )
    return wanted_s


def _signed(
    office: Office, session: Session, credential_id: str, issued_ns: int, lifetime_s: int, actor: str
) -> Minted:
    """A credential that does not outlive its session."""
    claims = Claims(
        credential_id=credential_id,
        identity=session.identity,
        session=session.id,
        issued_at_ns=issued_ns,
        expires_at_ns=min(session.expires_at_ns, issued_ns + lifetime_s * NANOS_PER_SECOND),
        minted_by=actor,
    )
    try:
        credential = office.issuer.issue(claims, actors(office.gate.runs.lineage(session)))
    except ValueError as error:  # the identity ends within the second
        raise conflict(f"No credential was minted: {error}.") from error
    return Minted(
        credential=credential,
        session=session.id,
        identity=session.name,
        expires_at=format_instant(claims.expires_at_ns),
        lifetime_s=(claims.expires_at_ns - issued_ns) // NANOS_PER_SECOND,
        minted_by=actor,
    )


def _event(session: Session) -> Change:
    said = {name: getattr(session, name) for name in ("parent", "subject", "tenant", "task_type", "task", "workflow")}
    after = {
        "identity": session.name,
        "credential": session.credential,
        "expires_at": format_instant(session.expires_at_ns),
    }
    if session.reserved is not None:
        after["reserved_usd"] = format_usd(session.reserved.usd_nanos)
    return Change(
        at_ns=session.opened_at_ns,
        actor=session.minted_by,
        verb="mint",
        noun="session",
        key=session.id,
        after=msgspec.json.encode(after | {name: value for name, value in said.items() if value is not None}).decode(),
    )


def _another(minted: Minted, credential_id: str, asked_with: str | None, at_ns: int) -> Change:
    after = {"credential": credential_id, "expires_at": minted.expires_at}
    if asked_with is not None:
        after["asked_with"] = asked_with
    return Change(
        at_ns=at_ns,
        actor=minted.minted_by,
        verb="mint",
        noun="credential",
        key=minted.session,
        after=msgspec.json.encode(after).decode(),
    )
