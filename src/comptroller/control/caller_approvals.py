"""Approvals by their callers: what became of a question of one's own, and taking it back.

Whoever asks sees their own questions, and those of sessions below theirs. Of all others there is none.
"""

from __future__ import annotations

import msgspec

from comptroller.control import approvals
from comptroller.control.approval_rows import Amount, Answered
from comptroller.control.caller_route import Asked, caller_of, json_answer
from comptroller.control.office import Office
from comptroller.control.problem import not_found
from comptroller.core.approval.grant import GrantState
from comptroller.core.approval.ticket import GrantBound, Ticket, TicketState
from comptroller.core.budget.budget import Unit
from comptroller.core.work.session import Session
from comptroller.flow.caller import Caller
from comptroller.flow.door import Answered as Said

PATH = "/comptroller/v1/approvals"


class OwnGrant(msgspec.Struct, frozen=True):
    """What was given."""

    id: str
    state: GrantState
    bound: GrantBound
    amount: Amount | None  # None: none bounds it
    unit: Unit
    uses_left: int | None  # None: any number
    expires_at: str


class OwnTicket(msgspec.Struct, frozen=True):
    """A question as whoever asked it may see it."""

    id: str
    state: TicketState
    role: str
    reason: str
    model: str
    tool: str  # that is called; "": the call is one to a model
    arguments_digest: str
    estimate_usd: str | None
    amount: Amount | None
    unit: Unit
    asked_at: str
    due_at: str
    decided_at: str | None
    said: str  # why, by whoever decided
    grant: OwnGrant | None


async def show(office: Office, asked: Asked) -> Said:
    """What became of it."""
    caller = caller_of(office, asked.request)
    ticket = await _own(office, caller, asked)
    return json_answer(_row(await approvals.show_ticket(office, ticket.id)))


async def withdraw(office: Office, asked: Asked) -> Said:
    """Take it back: nobody needs to answer any more."""
    caller = caller_of(office, asked.request)
    ticket = await _own(office, caller, asked)
    await approvals.withdraw(office, ticket.id, caller.names[0])
    return json_answer(_row(await approvals.show_ticket(office, ticket.id)))


async def _own(office: Office, caller: Caller, asked: Asked) -> Ticket:
    none = not_found("There is no such ticket of yours.", "A refusal names the ticket that it waits for.")
    ticket_id = asked.path["ticket"]
    ticket = office.gate.approvals.ticket(ticket_id) or await office.ledger.ticket(ticket_id)
    if ticket is None:
        raise none
    session = office.gate.sessions.get(ticket.session) or await office.ledger.session(ticket.session)
    if ticket.session not in caller.lineage[:1] and (session is None or not _may_see(office, caller, session)):
        raise none
    return ticket


def _may_see(office: Office, caller: Caller, session: Session) -> bool:
    """Whether it is below the caller's own, or one that the same identity had before for the same end."""
    own = caller.session
    same = (session.name, session.subject, session.tenant) == (own.name, own.subject, own.tenant)
    known = session.id in office.gate.sessions
    return same or (known and any(each.id == own.id for each in office.gate.runs.lineage(session)))


def _row(answered: Answered) -> OwnTicket:
    ticket, grant = answered.ticket, answered.grant
    given = None
    if grant is not None:
        left = None if grant.uses is None else max(0, grant.uses - grant.used)
        given = OwnGrant(grant.id, grant.state, grant.bound, grant.amount, grant.unit, left, grant.expires_at)
    return OwnTicket(
        id=ticket.id,
        state=ticket.state,
        role=ticket.role,
        reason=ticket.reason,
        model=ticket.model,
        tool=ticket.tool,
        arguments_digest=ticket.arguments_digest,
        estimate_usd=ticket.estimate_usd,
        amount=ticket.amount,
        unit=ticket.unit,
        asked_at=ticket.asked_at,
        due_at=ticket.due_at,
        decided_at=ticket.decided_at,
        said=ticket.said,
        grant=given,
    )
