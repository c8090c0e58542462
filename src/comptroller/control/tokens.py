"""Tokens: minting a session credential for an identity."""

from __future__ import annotations

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import conflict, invalid, ledger_unavailable, not_found, refused
from comptroller.core.identity.credential import DEFAULT_LIFETIME_S, LONGEST_LIFETIME_S, Claims
from comptroller.core.identity.identity import Identity, expiry_ends_ns, may_act, owner_ends_ns
from comptroller.core.instant import NANOS_PER_SECOND, format_instant
from comptroller.core.problem import did_you_mean
from comptroller.core.work.bounds import LONGEST_SESSION_S, UNBOUNDED, Bounds, narrowed, widened
from comptroller.core.work.session import Session
from comptroller.core.work.stop import Acting, refusal_of, stop_keys
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


class OpenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is opened for. `bounds` only narrow those of the identity's profile and kind."""

    identity: str
    lifetime_s: int | None = None  # of the credential; None: DEFAULT_LIFETIME_S, or as long as the session if shorter
    profile: str | None = None  # None: the identity's own
    subject: str | None = None
    tenant: str | None = None
    task_type: str | None = None
    task: str | None = None
    workflow: str | None = None
    bounds: Bounds = UNBOUNDED
    models: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None


async def mint(office: Office, identity_id: str, lifetime_s: int | None, actor: str) -> Minted:
    """Open a session that lasts as long as the one credential that is signed for it."""
    wall_clock_s = DEFAULT_LIFETIME_S if lifetime_s is None else lifetime_s
    request = OpenRequest(identity=identity_id, lifetime_s=lifetime_s)
    return await _open(office, request, actor, most_s=wall_clock_s)


async def open_session(office: Office, request: OpenRequest, actor: str) -> Minted:
    """Open a session for an identity and sign a credential for it. Every session comes to be here."""
    return await _open(office, request, actor, most_s=LONGEST_SESSION_S)


async def _open(office: Office, request: OpenRequest, actor: str, *, most_s: int) -> Minted:
    """The session is on disk before anybody can use it: a credential that works was always written down."""
    gate = office.gate
    if gate.draining:
        raise conflict("The gateway is shutting down and mints nothing.", "Try again when it is back.")
    identity = acting_identity(office, request.identity)
    issued_ns = gate.clock.expiry_ns()
    lifetime_s = _lifetime_s(request.lifetime_s)
    bounds = _bounds(office, identity, request)
    runs_s = min(most_s, LONGEST_SESSION_S if bounds.wall_clock_s is None else bounds.wall_clock_s)
    session = Session(
        id=gate.clock.new_id("ses"),
        identity=identity.id,
        credential=gate.clock.new_id("crd"),
        opened_at_ns=gate.clock.now_ns(),
        expires_at_ns=_last_ns(office, identity, issued_ns + runs_s * NANOS_PER_SECOND),
        minted_by=actor,
        profile=request.profile or identity.profile,
        bounds=bounds,
    )
    expires_ns = min(session.expires_at_ns, issued_ns + lifetime_s * NANOS_PER_SECOND)
    credential = _sign(office, session, issued_ns, expires_ns)
    try:
        await office.ledger.open_session(session, _event(session))
    except LedgerUnavailableError as error:
        raise ledger_unavailable(f"No credential was minted: {error}.") from error
    gate.open_session(session)
    return Minted(
        credential=credential,
        session=session.id,
        identity=identity.id,
        expires_at=format_instant(expires_ns),
        lifetime_s=(expires_ns - issued_ns) // NANOS_PER_SECOND,
        minted_by=actor,
    )


def _bounds(office: Office, identity: Identity, request: OpenRequest) -> Bounds:
    """What is asked for, inside what its profile and kind allow."""
    registry = office.gate.registry
    if request.profile is not None and request.profile not in registry.profiles:
        hint = did_you_mean(request.profile, registry.profiles) or "Add it under [profiles] in registry.toml."
        raise not_found(f"There is no profile {request.profile!r} in the registry.", hint)
    ceiling = registry.ceiling(identity, request.profile or identity.profile)
    beyond = widened(ceiling, request.bounds)
    if beyond:
        raise invalid(
            f"A session of {identity.id} may not have so much of {', '.join(beyond)}.",
            f"Ask for less, or change [bounds.{identity.kind}] or its profile in registry.toml.",
        )
    return narrowed(ceiling, request.bounds)


def acting_identity(office: Office, identity_id: str) -> Identity:
    """The identity, if it is registered and may act now."""
    registry = office.gate.registry
    identity = registry.identities.get(identity_id)
    if identity is None:
        hint = did_you_mean(identity_id, registry.identities) or "`comptroller identities` lists them."
        raise not_found(f"There is no identity {identity_id!r} in the registry.", hint)
    stop = office.gate.stops.applies(stop_keys([Acting(None, identity.id, identity.owner, identity.team)]))
    if stop is not None:
        raise refused(refusal_of(stop))
    no = may_act(identity, registry.answerable_until(identity), office.gate.clock.expiry_ns())
    if no is not None:
        raise refused(no)
    return identity


def _lifetime_s(lifetime_s: int | None) -> int:
    """How long the credential lives, if its session does."""
    wanted_s = DEFAULT_LIFETIME_S if lifetime_s is None else lifetime_s
    if not SHORTEST_LIFETIME_S <= wanted_s <= LONGEST_LIFETIME_S:
        raise invalid(
            f"A credential cannot live for {wanted_s} s.",
            f"Ask for at most {LONGEST_LIFETIME_S} s ({LONGEST_LIFETIME_S // 3600} hours), and mint a new one in time.",
        )
    return wanted_s


def _last_ns(office: Office, identity: Identity, expires_ns: int) -> int:
    """When the session ends: never after its identity does."""
    ends = (expiry_ends_ns(identity), owner_ends_ns(identity, office.gate.registry.answerable_until(identity)))
    return min([expires_ns, *(each for each in ends if each is not None)])


def _sign(office: Office, session: Session, issued_ns: int, expires_ns: int) -> str:
    claims = Claims(
        credential_id=session.credential,
        identity=session.identity,
        session=session.id,
        issued_at_ns=issued_ns,
        expires_at_ns=expires_ns,
        minted_by=session.minted_by,
    )
    try:
        return office.issuer.issue(claims)
    except ValueError as error:  # the identity ends within the second
        raise conflict(f"No credential was minted: {error}.") from error


def _event(session: Session) -> Change:
    after = {"identity": session.identity, "expires_at": format_instant(session.expires_at_ns)}
    return Change(
        at_ns=session.opened_at_ns,
        actor=session.minted_by,
        verb="mint",
        noun="session",
        key=session.id,
        after=msgspec.json.encode(after).decode(),
    )
