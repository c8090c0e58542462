"""Tokens: minting a session credential for an identity."""

from __future__ import annotations

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import conflict, invalid, ledger_unavailable, not_found, refused
from comptroller.core.identity.credential import DEFAULT_LIFETIME_S, LONGEST_LIFETIME_S, Claims
from comptroller.core.identity.identity import Identity, expiry_ends_ns, may_act, owner_ends_ns
from comptroller.core.instant import NANOS_PER_SECOND, format_instant
from comptroller.core.problem import did_you_mean
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


async def mint(office: Office, identity_id: str, lifetime_s: int | None, actor: str) -> Minted:
    """Open a session for an identity and sign a credential for it.

    The session is on disk before anybody can use it: a credential that works was always written down.
    """
    gate = office.gate
    if gate.draining:
        raise conflict("The gateway is shutting down and mints nothing.", "Try again when it is back.")
    identity = acting_identity(office, identity_id)
    issued_ns = gate.clock.expiry_ns()
    session = Session(
        id=gate.clock.new_id("ses"),
        identity=identity.id,
        credential=gate.clock.new_id("crd"),
        opened_at_ns=gate.clock.now_ns(),
        expires_at_ns=_expiry_ns(office, identity, issued_ns, lifetime_s),
        minted_by=actor,
    )
    credential = _sign(office, session, issued_ns)
    try:
        await office.ledger.open_session(session, _event(session))
    except LedgerUnavailableError as error:
        raise ledger_unavailable(f"No credential was minted: {error}.") from error
    gate.sessions[session.id] = session
    return Minted(
        credential=credential,
        session=session.id,
        identity=identity.id,
        expires_at=format_instant(session.expires_at_ns),
        lifetime_s=(session.expires_at_ns - issued_ns) // NANOS_PER_SECOND,
        minted_by=actor,
    )


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


def _expiry_ns(office: Office, identity: Identity, now_ns: int, lifetime_s: int | None) -> int:
    """When the credential ends: never after its identity does."""
    wanted_s = DEFAULT_LIFETIME_S if lifetime_s is None else lifetime_s
    if not SHORTEST_LIFETIME_S <= wanted_s <= LONGEST_LIFETIME_S:
        raise invalid(
            f"A credential cannot live for {wanted_s} s.",
            f"Ask for at most {LONGEST_LIFETIME_S} s ({LONGEST_LIFETIME_S // 3600} hours), and mint a new one in time.",
        )
    expires_ns = now_ns + wanted_s * NANOS_PER_SECOND
    ends = (expiry_ends_ns(identity), owner_ends_ns(identity, office.gate.registry.answerable_until(identity)))
    return min([expires_ns, *(each for each in ends if each is not None)])


def _sign(office: Office, session: Session, issued_ns: int) -> str:
    claims = Claims(
        credential_id=session.credential,
        identity=session.identity,
        session=session.id,
        issued_at_ns=issued_ns,
        expires_at_ns=session.expires_at_ns,
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
