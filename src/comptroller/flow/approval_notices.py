"""What people are told of approvals: what is asked, what was decided, and the exceptions that came of it."""

from __future__ import annotations

from comptroller.core.approval.grant import Grant
from comptroller.core.approval.ticket import Ticket
from comptroller.core.budget.budget import format_amount
from comptroller.core.budget.hold import NOTHING, Amounts
from comptroller.core.instant import format_instant
from comptroller.core.money import format_usd
from comptroller.flow.chain import known_identity
from comptroller.flow.gate import Gate


def tell_ticket(gate: Gate, name: str, ticket: Ticket, by: str = "", reason: str = "") -> None:
    """Tell of a ticket as it stands. `by`: who decided, and `reason`: why."""
    if not gate.notices.heard:
        return
    identity = known_identity(gate.registry, ticket.identity)
    said = {
        "ticket": ticket.id,
        "state": ticket.state,
        "role": ticket.role,
        "identity": ticket.identity,
        "session": ticket.session,
        "task": ticket.task,
        "model": ticket.model,
        "call": ticket.call_id,
        "asked_for": ticket.reason,
        "policies": list(ticket.policies),
        "budgets": [*ticket.thresholds, *ticket.budgets],
        "estimate_usd": None if ticket.estimate_nanos is None else format_usd(ticket.estimate_nanos),
        "due_at": format_instant(ticket.due_at_ns),
        "by": by or None,
        "reason": reason or None,
        "grant": ticket.grant,
    }
    about = {"identity": ticket.identity, "session": ticket.session, "model": ticket.model}
    about |= {"team": identity.team, "owner": identity.owner, "environment": identity.environment}
    subject = f"{ticket.id} for {ticket.role}"
    gate.notices.emit(name, subject, said, {key: value for key, value in about.items() if value})


def tell_grant(gate: Gate, name: str, grant: Grant, by: str, reason: str, spent: Amounts = NOTHING) -> None:
    """Tell of a grant: that it was made, taken back, or is over. `spent`: by it so far."""
    if not gate.notices.heard:
        return
    said = {
        "grant": grant.id,
        "ticket": grant.ticket,
        "for": grant.name,
        "role": grant.role,
        "approver": grant.approver,
        "budgets": list(grant.budgets),
        "unit": grant.unit,
        "amount": None if grant.amount is None else format_amount(grant.amount, grant.unit),
        "spent": format_amount(spent.of(grant.unit), grant.unit),
        "uses": grant.uses,
        "used": spent.calls,
        "expires_at": format_instant(grant.expires_at_ns),
        "by": by,
        "reason": reason,
    }
    about = {grant.bound: grant.value} if grant.bound in {"session", "identity"} else {}
    gate.notices.emit(name, f"{grant.id} for {grant.name}", said, about)
