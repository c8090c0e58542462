"""The event rows of changes that the books themselves are told of: corrections of calls, and bounds that changed."""

from __future__ import annotations

import msgspec

from comptroller.core.budget.bounds import Bound
from comptroller.flow.records import BoundChanged, Change, Corrected


def correction(event: Corrected) -> Change:
    """The event row of a correction."""
    before = {"charge_nanos": event.charge_nanos - event.delta_nanos}
    after = {"charge_nanos": event.charge_nanos, "delta_nanos": event.delta_nanos}
    return Change(
        at_ns=event.at_ns,
        actor=event.actor,
        verb="correct",
        noun="call",
        key=event.call_id,
        reason=event.reason,
        before=msgspec.json.encode(before).decode(),
        after=msgspec.json.encode(after).decode(),
    )


def bound_change(event: BoundChanged, before: Bound | None) -> Change:
    """The event row of a bound that changed, with its standing before."""
    return Change(
        at_ns=event.at_ns,
        actor=event.actor,
        verb="overrun" if event.overruns else "resume",  # their count may begin anew with one
        noun="bound",
        key=f"{event.provider}/{event.model}/{event.dialect}",
        reason=event.reason,
        before="" if before is None else _standing(before),
        after=_standing(event),
    )


def _standing(bound: Bound | BoundChanged) -> str:
    standing = {"overruns": bound.overruns, "factor_bp": bound.factor_bp, "quarantined": bound.quarantined}
    return msgspec.json.encode(standing).decode()
