"""Identify: whose act is this call?"""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.core.identity.credential import Claims
from comptroller.core.refusal import Refusal
from comptroller.core.work.session import Session
from comptroller.flow.caller import Caller
from comptroller.flow.chain import known_identity
from comptroller.flow.gate import Gate


def renewed(gate: Gate, caller: Caller) -> Caller:
    """The same caller as registry and sessions know it now; one that is gone from the registry stands as disabled."""
    if gate.callers.get(caller.claims.credential_id) is caller and gate.registry is caller.registry:
        return caller
    return as_known(gate, caller.claims)


def identify(gate: Gate, credentials: Sequence[str]) -> Caller | Refusal:
    """The caller behind the presented credentials, or why there is none.

    A caller is remembered as long as the registry and the sessions' bounds are the same. Its credential's time is
    looked at here and its session's end in `standing`, on every call.
    """
    if not credentials:
        return Refusal(
            code="credential_missing",
            sentence="No credential was sent.",
            hint="Use a session credential as the API key; `comptroller token IDENTITY` prints one.",
        )
    if len(credentials) > 1:
        return Refusal(
            code="credential_invalid",
            sentence="Two different credentials were sent in one request.",
            hint="Send one: check that the SDK's API key and any custom authorization header agree.",
        )
    claims = gate.credentials.verify(credentials[0], gate.clock.expiry_ns())
    if isinstance(claims, Refusal):
        return claims
    registry = gate.registry
    known = gate.callers.get(claims.credential_id)
    if known is not None:
        if known.registry is registry and known.claims == claims:
            return known
        gate.callers.clear()  # the registry is another: they all belong to the last one
    if claims.identity not in registry.identities:
        return Refusal(
            code="identity_unknown",
            sentence=f"The identity {claims.identity} is not in the registry.",
            hint="Ask whoever runs the gateway to register it in registry.toml and run `comptroller apply`.",
        )
    caller = as_known(gate, claims)
    gate.callers.remember(caller)
    return caller


def as_known(gate: Gate, claims: Claims) -> Caller:
    """Whoever has a credential with these claims, as the registry and the sessions of its chain say now."""
    session, now_ns = gate.sessions.get(claims.session), gate.clock.expiry_ns()
    lineage = [_gone(claims)] if session is None else gate.runs.lineage(session)
    identities = [known_identity(gate.registry, each.identity) for each in lineage]
    pulses = [gate.runs.pulse(each.id, now_ns) for each in lineage]
    return Caller(claims, gate.registry, lineage, identities, pulses)


def _gone(claims: Claims) -> Session:
    """A session that nobody knows any more: `standing` refuses it."""
    opened_at_ns, expires_at_ns = claims.issued_at_ns, claims.expires_at_ns
    return Session(claims.session, claims.identity, claims.credential_id, opened_at_ns, expires_at_ns, claims.minted_by)
