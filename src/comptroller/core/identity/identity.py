"""Who can create cost, who answers for it, and whether it may act now."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Literal

import msgspec

from comptroller.core.instant import NANOS_PER_SECOND, from_datetime, to_datetime
from comptroller.core.refusal import Refusal

IdentityKind = Literal["agent", "service", "human", "tool"]
Environment = Literal["production", "testing", "experimentation"]
RiskTier = Literal["low", "medium", "high", "critical"]

GRACE_DAYS: dict[Environment, int] = {"production": 7, "testing": 0, "experimentation": 0}
WARN_DAYS = (30, 7, 1)


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A registered principal. Its id is the path of its SPIFFE id."""

    id: str
    kind: IdentityKind
    team: str
    owner: str
    purpose: str
    environment: Environment
    deputy: str | None = None
    risk_tier: RiskTier = "low"
    data_classes: tuple[str, ...] = ()
    profile: str | None = None
    expires: date | None = None  # the last day on which it may act, in UTC
    approved_by: str | None = None
    disabled: bool = False


class Owner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person who answers for identities."""

    id: str
    team: str
    disabled: bool = False


class Team(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who pays."""

    name: str
    cost_center: str | None = None
    disabled: bool = False


class Organization(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole house, and the trust domain of its SPIFFE ids."""

    name: str
    trust_domain: str


def expiry_ends_ns(identity: Identity) -> int | None:
    """The instant from which the identity is refused: the end of its last day plus its recorded grace."""
    if identity.expires is None:
        return None
    midnight = datetime.combine(identity.expires + timedelta(days=1), datetime.min.time(), to_datetime(0).tzinfo)
    return from_datetime(midnight) + GRACE_DAYS[identity.environment] * 86_400 * NANOS_PER_SECOND


def may_act(identity: Identity, answerable: bool, now_ns: int) -> Refusal | None:
    """None if the identity may act now. `answerable`: its owner or deputy is in the registry and enabled."""
    if identity.disabled:
        return Refusal(
            code="identity_unknown",
            sentence=f"The identity {identity.id} is disabled in the registry.",
            hint=f"Ask its owner {identity.owner} to put it back and run `comptroller apply`.",
        )
    ends_ns = expiry_ends_ns(identity)
    if ends_ns is not None and now_ns >= ends_ns:
        return Refusal(
            code="identity_expired",
            sentence=f"The identity {identity.id} expired on {identity.expires}.",
            hint=f"Ask its owner {identity.owner} to set a later `expires` and run `comptroller apply`.",
        )
    if not answerable:
        return Refusal(
            code="owner_missing",
            sentence=f"The owner {identity.owner} of {identity.id} is not in the registry any more.",
            hint="Give the identity a new owner and run `comptroller apply`.",
        )
    return None
