"""Identify: whose act is this call?"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.flow.caller import Caller
from comptroller.flow.gate import Gate

_CALLERS_KEPT = 50_000


def renewed(gate: Gate, caller: Caller) -> Caller:
    """The same caller as the registry knows it now; one that is gone from it stands as disabled."""
    if gate.registry is caller.registry:
        return caller
    identity = gate.registry.identities.get(caller.identity.id)
    if identity is None:
        identity = msgspec.structs.replace(caller.identity, disabled=True)
    return Caller(identity, caller.claims, gate.registry)


def identify(gate: Gate, credentials: Sequence[str]) -> Caller | Refusal:
    """The caller behind the presented credentials, or why there is none.

    A caller is remembered as long as the registry is the same. Its credential's time is looked at here and its
    session's end in `standing`, on every call.
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
    identity = registry.identities.get(claims.identity)
    if identity is None:
        return Refusal(
            code="identity_unknown",
            sentence=f"The identity {claims.identity} is not in the registry.",
            hint="Ask whoever runs the gateway to register it in registry.toml and run `comptroller apply`.",
        )
    if len(gate.callers) >= _CALLERS_KEPT:
        gate.callers.clear()
    caller = gate.callers[claims.credential_id] = Caller(identity, claims, registry)
    return caller
