"""Whoever has a genuine token and no identity: who that is, and what its issuer's entry gives it meanwhile."""

from __future__ import annotations

from typing import NamedTuple

from comptroller.control.caller_route import caller_of
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem
from comptroller.control.proof import Proof, prove
from comptroller.core.identity.credential import PREFIX
from comptroller.core.identity.federation import TrustedIssuer, Untrusted
from comptroller.core.identity.request import Principal, sandbox_of
from comptroller.flow.door import CallerRequest

UNMATCHED = "identity_unmatched"


class Unregistered(NamedTuple):
    """Somebody who proved who it is, and is no identity of the registry in force."""

    issuer: TrustedIssuer
    principal: Principal


def unregistered(office: Office, proof: Proof) -> Unregistered | str | Untrusted:
    """Who that is; or the identity that it has; or why its token is good for neither. By the registry in force."""
    federation = office.gate.registry.federation
    identity = federation.identity_of(proof.issuer, proof.claims)
    issuer, subject = federation.issuers.get(proof.issuer.name), proof.claims.get("sub")
    if not isinstance(identity, Untrusted) or identity.code != UNMATCHED:
        return identity
    who = Principal(proof.issuer.name, subject if isinstance(subject, str) else "")
    if issuer is None or issuer.unregistered == "refuse" or not who.nameable:
        return identity
    return Unregistered(issuer, who)


async def sandbox(office: Office, proof: Proof) -> tuple[str, Principal] | str | Untrusted:
    """The sandbox of somebody without an identity; or the identity that it has; or why it has neither.

    For whoever holds `office.deciding`: nobody decides about it until its session is open.
    """
    found = unregistered(office, proof)
    if not isinstance(found, Unregistered):
        return found
    asked = await office.ledger.requests_of(found.principal)
    found = unregistered(office, proof)  # by the registry in force now: nothing is waited for from here on
    if not isinstance(found, Unregistered):
        return found
    identity = sandbox_of(found.issuer, found.principal, asked)
    return identity if isinstance(identity, Untrusted) else (identity, found.principal)


async def proved(office: Office, request: CallerRequest) -> Proof:
    """What shows who asks: a token of an issuer, or the credential of a sandbox. Raises ControlProblem."""
    if len(request.credentials) != 1 or request.credentials[0].startswith(PREFIX):
        return _in_a_sandbox(office, request)
    proof = await prove(office, request.credentials[0])
    if isinstance(proof, Untrusted):
        raise _problem(proof)
    return proof


def who_asks(office: Office, proof: Proof) -> Unregistered:
    """Somebody without an identity whose issuer takes requests. Raises ControlProblem."""
    found = unregistered(office, proof)
    if isinstance(found, Unregistered):
        return found
    raise _problem(found) if isinstance(found, Untrusted) else _registered(found)


def _in_a_sandbox(office: Office, request: CallerRequest) -> Proof:
    session = caller_of(office, request).session
    name, _, subject = (session.subject or "").partition(":")
    issuer = office.gate.registry.federation.issuers.get(name)
    own = session.parent is None and session.minted_by == session.subject
    if issuer is None or not own or session.identity != issuer.sandbox:
        raise _registered(session.name)
    return Proof(issuer, {"sub": subject})


def _registered(identity: str) -> ControlProblem:
    return ControlProblem(409, "conflict", f"You are {identity}.", "It needs no request: `comptroller token`.")


def _problem(no: Untrusted) -> ControlProblem:
    if no.retry_after_s is not None:
        return ControlProblem(503, no.code, no.sentence, no.hint, headers={"retry-after": str(no.retry_after_s)})
    if no.code.startswith("identity_"):
        return ControlProblem(403, no.code, no.sentence, no.hint)
    return ControlProblem(401, no.code, no.sentence, no.hint, headers={"www-authenticate": "Bearer"})
