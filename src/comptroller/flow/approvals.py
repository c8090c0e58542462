"""Approvals in memory: tickets as they stand, and grants with what is counted by them."""

from __future__ import annotations

from comptroller.core.approval.grant import Grant
from comptroller.core.approval.ticket import Ticket
from comptroller.core.budget.hold import NOTHING, Amounts
from comptroller.core.work.session import Session
from comptroller.flow.chain import known_identity
from comptroller.flow.gate import Gate


def put_ticket(gate: Gate, ticket: Ticket) -> None:
    """It stands so from now on."""
    gate.approvals.put(ticket)
    if not ticket.open:
        gate.waiting.wake(ticket.id)


def give_grant(gate: Gate, grant: Grant, posted: Amounts = NOTHING) -> None:
    """Calls may use it from now on. `posted`: what was spent by it already."""
    gate.tree.open_session(grant.id, grant.bounds, posted)
    gate.approvals.add(grant)
    gate.waiting.wake_all()  # it may be for calls that wait for other tickets, too


def end_grant(gate: Gate, grant_id: str) -> None:
    """No call may use it any more. Calls in flight go on."""
    gate.approvals.drop(grant_id)
    gate.tree.close_session(grant_id)


def task_of(gate: Gate, session: Session) -> str | None:
    """The task that a session serves, as a grant for it is bound: IDENTITY:TYPE:REFERENCE.

    Whoever opens a session says what task it is for: it is a task of the identity at the top of its tree, and of
    nobody else who says the same words.
    """
    task = session.task_key
    return None if task is None else f"{gate.runs.lineage(session)[-1].identity}:{task}"


def asked_by(gate: Gate, session: Session) -> tuple[str, ...]:
    """The names by which whoever asks in a session is known: none of them may answer."""
    found: dict[str, None] = {}
    for each in gate.runs.lineage(session):
        identity = known_identity(gate.registry, each.identity)
        behind = gate.approvals.behind.get(each.minted_by)
        for name in (
            each.name, identity.id, identity.owner, identity.deputy, each.subject, each.minted_by, behind
        ):  # fmt: skip
            if name:
                found[name] = None
    return tuple(found)
