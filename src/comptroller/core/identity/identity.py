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
FOREVER_NS = 2**63 - 1
_DAY_NS = 86_400 * NANOS_PER_SECOND


class Identity(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
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
    may_act: tuple[str, ...] = ()  # identities whose sessions may open one for it (RFC 8693 section 4.4)
    disabled: bool = False


class Owner(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A person who answers for identities."""

    id: str
    team: str
    disabled: bool = False
    disabled_at_ns: int = 0


class Team(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who pays."""

    name: str
    cost_center: str | None = None


BillTo = Literal["self", "root"]
"""Which team pays for a call of a session below others: the acting identity's, or that of the root of the chain."""


OfferedTools = Literal["record", "strip", "refuse"]
"""What is done about a function that a request offers a model, and that stands for a tool its caller may not call."""


class Organization(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole house, and the trust domain of its SPIFFE ids."""

    name: str
    trust_domain: str
    bill_to: BillTo = "self"
    offered_tools: OfferedTools = "record"


def expiry_ends_ns(identity: Identity) -> int | None:
    """The instant from which the identity is refused: the end of its last day plus its recorded grace."""
    if identity.expires is None:
        return None
    midnight = datetime.combine(identity.expires + timedelta(days=1), datetime.min.time(), to_datetime(0).tzinfo)
    return from_datetime(midnight) + _grace_ns(identity)


def owner_ends_ns(identity: Identity, answerable_until_ns: int) -> int | None:
    """The instant from which it is refused because nobody answers for it: when the last one left plus its grace."""
    return None if answerable_until_ns == FOREVER_NS else answerable_until_ns + _grace_ns(identity)


def acts_until_ns(identity: Identity, answerable_until_ns: int) -> int:
    """The instant from which `may_act` says why not; 0 if it does so already, FOREVER_NS if nothing will make it."""
    if identity.disabled:
        return 0
    ends = (expiry_ends_ns(identity), owner_ends_ns(identity, answerable_until_ns))
    return min((end for end in ends if end is not None), default=FOREVER_NS)


def may_act(identity: Identity, answerable_until_ns: int, now_ns: int) -> Refusal | None:
    """None if the identity may act now. `answerable_until_ns`: see Registry.answerable_until."""
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
    ends_ns = owner_ends_ns(identity, answerable_until_ns)
    if ends_ns is not None and now_ns >= ends_ns:
        return Refusal(
            code="owner_missing",
            sentence=f"The owner {identity.owner} of {identity.id} is not in the registry any more.",
            hint="Give the identity a new owner and run `comptroller apply`.",
        )
    return None


def _grace_ns(identity: Identity) -> int:
    return GRACE_DAYS[identity.environment] * _DAY_NS
