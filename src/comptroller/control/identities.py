"""Identities: who may create cost, who answers for it, and what will stop it soon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Literal

import msgspec

from comptroller.control.office import Office
from comptroller.core.identity.identity import WARN_DAYS, Identity, expiry_ends_ns, may_act, owner_ends_ns
from comptroller.core.ids import spiffe_id
from comptroller.core.instant import format_instant, to_datetime
from comptroller.core.registry.registry import Registry
from comptroller.core.work.stop import Acting, stop_keys
from comptroller.flow.gate import Gate

IdentityState = Literal["active", "suspended", "expired", "disabled", "ownerless"]

_STATES: dict[str, IdentityState] = {
    "identity_unknown": "disabled",
    "identity_expired": "expired",
    "owner_missing": "ownerless",
}


class IdentityRow(msgspec.Struct, frozen=True):
    id: str
    spiffe_id: str
    kind: str
    team: str
    owner: str
    deputy: str | None
    purpose: str
    environment: str
    risk_tier: str
    expires: str | None  # its last day, in UTC
    state: IdentityState
    warnings: Sequence[str]
    sessions: int  # active ones


def list_identities(office: Office) -> Sequence[IdentityRow]:
    """Every identity of the registry, by id."""
    gate = office.gate
    now_ns = gate.clock.expiry_ns()
    active = Counter(s.identity for s in gate.sessions.values() if s.goes_on(now_ns))
    registry = gate.registry
    found = (registry.identities[key] for key in sorted(registry.identities))
    return [_row(registry, each, _state(gate, each, now_ns), now_ns, active[each.id]) for each in found]


def _state(gate: Gate, identity: Identity, now_ns: int) -> IdentityState:
    if gate.stops.applies(stop_keys([Acting(None, identity.id, identity.owner, identity.team)])) is not None:
        return "suspended"
    no = may_act(identity, gate.registry.answerable_until(identity), now_ns)
    return _STATES[no.code] if no is not None else "active"


def _row(registry: Registry, identity: Identity, state: IdentityState, now_ns: int, sessions: int) -> IdentityRow:
    return IdentityRow(
        id=identity.id,
        spiffe_id=spiffe_id(registry.organization.trust_domain, identity.id),
        kind=identity.kind,
        team=identity.team,
        owner=identity.owner,
        deputy=identity.deputy,
        purpose=identity.purpose,
        environment=identity.environment,
        risk_tier=identity.risk_tier,
        expires=identity.expires.isoformat() if identity.expires is not None else None,
        state=state,
        warnings=_warnings(registry, identity, now_ns) if state == "active" else (),
        sessions=sessions,
    )


def _warnings(registry: Registry, identity: Identity, now_ns: int) -> Sequence[str]:
    """What will stop an identity that still may act."""
    said: list[str] = []
    owner = registry.owners.get(identity.owner)
    if owner is None or owner.disabled:
        gone_ns = owner_ends_ns(identity, registry.answerable_until(identity))
        then = (
            f"the deputy {identity.deputy} answers for it"
            if gone_ns is None
            else f"nobody else answers for it; refused from {format_instant(gone_ns)} on"
        )
        said.append(f"its owner {identity.owner} is gone; {then}")
    ends_ns = expiry_ends_ns(identity)
    if identity.expires is not None and ends_ns is not None:
        said.extend(_expiry_warnings(identity.expires, ends_ns, now_ns))
    return said


def _expiry_warnings(expires: date, ends_ns: int, now_ns: int) -> Sequence[str]:
    days = (expires - to_datetime(now_ns).date()).days
    if days < 0:
        return [f"expired on {expires}; refused from {format_instant(ends_ns)} on"]
    if days > max(WARN_DAYS):
        return []
    return [f"expires {_say_days(days)}, on {expires}"]


def _say_days(days: int) -> str:
    if days == 0:
        return "today"
    return "tomorrow" if days == 1 else f"in {days} days"
