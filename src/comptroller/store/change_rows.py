"""The event rows of what the books are told of: corrections of calls, bounds that changed, tickets of calls."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.core.approval.ticket import TicketState
from comptroller.core.budget.bounds import Bound
from comptroller.core.money import format_usd
from comptroller.core.tool.pin import BY_ITSELF, PinState
from comptroller.flow.records import BoundChanged, Change, Corrected, PinChanged, TicketChanged

_VERBS: Mapping[TicketState, str] = {"requested": "ask", "withdrawn": "withdraw"}

_PINNED: Mapping[PinState, str] = {
    "pinned": "pin",
    "waiting": "hold back",
    "changed": "hold back",
    "rejected": "hold back",
}


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


def ticket_change(event: TicketChanged) -> Change:
    """The event row of a ticket that a call has made, or that nobody asks about any more."""
    ticket = event.ticket
    estimate = None if ticket.estimate_nanos is None else format_usd(ticket.estimate_nanos)
    after = {"state": ticket.state, "role": ticket.role, "model": ticket.model, "estimate_usd": estimate}
    return Change(
        at_ns=event.at_ns,
        actor=ticket.identity,
        verb=_VERBS.get(ticket.state, ticket.state),
        noun="approval",
        key=ticket.id,
        reason=ticket.reason,
        after=msgspec.json.encode(after | {"session": ticket.session, "call": ticket.call_id}).decode(),
    )


def pin_change(event: PinChanged) -> Change:
    """The event row of a tool that is described otherwise, or about which somebody has decided."""
    pin = event.pin
    decided = "reject" if pin.state == "rejected" else "accept"
    after = {"state": pin.state, "accepted": pin.digest, "shown": pin.shown}
    return Change(
        at_ns=event.at_ns,
        actor=event.actor,
        verb=_PINNED[pin.state] if event.actor == BY_ITSELF else decided,
        noun="tool",
        key=pin.name,
        reason=pin.reason if pin.decided_at_ns == event.at_ns else "",
        after=msgspec.json.encode(after).decode(),
    )


def _standing(bound: Bound | BoundChanged) -> str:
    standing = {"overruns": bound.overruns, "factor_bp": bound.factor_bp, "quarantined": bound.quarantined}
    return msgspec.json.encode(standing).decode()
