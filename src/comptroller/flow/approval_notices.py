"""What people are told of tickets and grants, for whoever wants to be told (flow/notices.py)."""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.core.approval.grant import Grant
from comptroller.core.approval.ticket import Ticket
from comptroller.core.budget.budget import format_amount
from comptroller.core.budget.hold import NOTHING, Amounts
from comptroller.core.instant import format_instant
from comptroller.core.money import format_usd
from comptroller.flow.chain import known_identity
from comptroller.flow.gate import Gate


def tell_of_ticket(gate: Gate, name: str, ticket: Ticket) -> None:
    """`name`: approval.requested, approval.escalated or approval.decided."""
    if not gate.notices.heard:
        return
    said: dict[str, object] = {
        "ticket": ticket.id,
        "state": ticket.state,
        "role": ticket.role,
        "asked_role": ticket.asked_role,
        "identity": ticket.identity,
        "session": ticket.session,
        "task": ticket.task,
        "call": ticket.call_id,
        "model": ticket.model,
        "tool": ticket.tool,
        "arguments_digest": ticket.arguments_digest,
        "estimate_usd": None if ticket.estimate_nanos is None else format_usd(ticket.estimate_nanos),
        "input_tokens": ticket.input_tokens,
        "amount": None if ticket.amount is None else format_amount(ticket.amount, ticket.unit),
        "unit": ticket.unit,
        "reason": ticket.reason,
        "policies": ticket.policies,
        "thresholds": ticket.thresholds,
        "budgets": ticket.budgets,
        "requested_by": ticket.requested_by,
        "asked_at": format_instant(ticket.at_ns),
        "due_at": format_instant(ticket.due_at_ns),
        "proposed_by": ticket.proposed_by,
        "decided_by": ticket.decided_by,
        "said": ticket.said,
        "grant": ticket.grant,
    }
    gate.notices.emit(
        name, ticket.id, said, _about(gate, ticket.identity) | {"session": ticket.session, "model": ticket.model}
    )


def tell_of_grant(gate: Gate, name: str, grant: Grant, by: str, spent: Amounts = NOTHING) -> None:
    """`name`: grant.made, grant.revoked or grant.ended; `by`: whose act it was."""
    if not gate.notices.heard:
        return
    said: dict[str, object] = {
        "grant": grant.id,
        "ticket": grant.ticket,
        "role": grant.role,
        "bound": grant.bound,
        "value": grant.value,
        "suspends": grant.suspends,
        "budgets": grant.budgets,
        "tool": grant.tool,
        "amount": None if grant.amount is None else format_amount(grant.amount, grant.unit),
        "unit": grant.unit,
        "spent": format_amount(spent.of(grant.unit), grant.unit),
        "uses": grant.uses,
        "used": spent.calls + spent.tool_calls,
        "given_at": format_instant(grant.given_at_ns),
        "expires_at": format_instant(grant.expires_at_ns),
        "approver": grant.approver,
        "second": grant.second,
        "actor": by,
        "reason": grant.reason,
    }
    gate.notices.emit(name, grant.id, said, _of_grant(gate, grant))


def _of_grant(gate: Gate, grant: Grant) -> Mapping[str, str]:
    if grant.bound == "identity":
        return _about(gate, grant.value)
    session = gate.sessions.get(grant.value) if grant.bound == "session" else None
    return {} if session is None else _about(gate, session.identity) | {"session": session.id}


def _about(gate: Gate, identity: str) -> dict[str, str]:
    """Whoever it is for, as filters look at them."""
    known = known_identity(gate.registry, identity)
    said = {"identity": known.id, "team": known.team, "owner": known.owner, "environment": known.environment}
    return {name: value for name, value in said.items() if value}
