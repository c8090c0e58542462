"""Identify: whose act is this call?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from comptroller.core.budget.scope import Attribute
from comptroller.core.identity.credential import Claims
from comptroller.core.identity.identity import Identity
from comptroller.core.policy.request import Principal
from comptroller.core.refusal import Refusal
from comptroller.core.registry.registry import Registry
from comptroller.flow.gate import Gate


@dataclass(frozen=True)
class Caller:
    """A caller whose credential is good: the registry's identity and the signed claims."""

    identity: Identity
    claims: Claims
    registry: Registry  # the version this call is governed by, from beginning to end
    address: str | None = None  # where it called from

    @property
    def node(self) -> Mapping[Attribute, str]:
        """What budget scopes see of it: one node of the chain."""
        identity = self.identity
        return {
            "organization": self.registry.organization.name,
            "team": identity.team,
            "owner": identity.owner,
            "environment": identity.environment,
            "kind": identity.kind,
            "identity": identity.id,
            "session": self.claims.session,
        }

    @property
    def principal(self) -> Principal:
        """What policies see of it."""
        identity = self.identity
        return Principal(identity.id, identity.kind, identity.team, identity.owner, self.registry.organization.name)


def renewed(gate: Gate, caller: Caller) -> Caller:
    """The same caller as the registry knows it now; one that is gone from it stands as disabled."""
    if gate.registry is caller.registry:
        return caller
    identity = gate.registry.identities.get(caller.identity.id)
    if identity is None:
        identity = msgspec.structs.replace(caller.identity, disabled=True)
    return Caller(identity, caller.claims, gate.registry, caller.address)


def identify(gate: Gate, credentials: Sequence[str], address: str | None = None) -> Caller | Refusal:
    """The caller behind the presented credentials, or why there is none."""
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
    identity = registry.identities.get(claims.identity)
    if identity is None:
        return Refusal(
            code="identity_unknown",
            sentence=f"The identity {claims.identity} is not in the registry.",
            hint="Ask whoever runs the gateway to register it in registry.toml and run `comptroller apply`.",
        )
    return Caller(identity, claims, registry, address)
