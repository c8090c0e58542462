"""Approvals: the tickets by which calls ask a role, and answering them.

On disk first, then in memory, the grant before its ticket: whoever is woken by the answer finds what it gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import msgspec

from comptroller.control.approval_rows import (
    Answered,
    GrantRow,
    TermsSent,
    TicketRow,
    grant_row,
    posted_by,
    read_terms,
    say_terms,
    ticket_row,
)
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, ledger_unavailable, not_found
from comptroller.control.reason import read_reason
from comptroller.core.approval.decide import BY_ITSELF, Approved, Decider, No, Owners, overdue
from comptroller.core.approval.decide import approve as say_yes
from comptroller.core.approval.decide import deny as say_no
from comptroller.core.approval.decide import withdraw as take_back
from comptroller.core.approval.grant import PREFIX, Grant
from comptroller.core.approval.role import role_of
from comptroller.core.approval.ticket import Terms, Ticket, TicketState
from comptroller.core.identity.admin import Actor
from comptroller.core.instant import format_instant
from comptroller.core.money import format_usd
from comptroller.flow.approval_notices import tell_of_grant, tell_of_ticket
from comptroller.flow.approvals import give_grant, put_ticket
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change

TICKETS_SHOWN = 200
_STATUS = {"not_open": 409, "terms_invalid": 422}  # of a no; else 403: not by this person
_NOT_BOTH = "The second of two does not answer in a chat: whoever has its secret could be both."
_VERBS: dict[TicketState, str] = {
    "requested": "propose",  # one of two has approved it
    "escalated": "escalate",
    "approved": "approve",
    "denied": "deny",
    "expired": "expire",
    "withdrawn": "withdraw",
}


async def list_tickets(office: Office, *, every: bool = False, limit: int = TICKETS_SHOWN) -> Sequence[TicketRow]:
    """Those that wait for an answer, the oldest first; with `every`, all, the newest first."""
    if not every:
        return [ticket_row(each) for each in office.gate.approvals.open_tickets[:limit]]
    await office.catch_up()
    return [ticket_row(each) for each in await office.ledger.tickets(limit)]


async def show_ticket(office: Office, ticket_id: str) -> Answered:
    """One, with the grant that was given for it."""
    ticket = await known(office, ticket_id)
    return Answered(ticket_row(ticket), await _given(office, ticket))


async def approve(
    office: Office, ticket_id: str, sent: TermsSent, reason: str, actor: Actor, *, in_chat: bool = False
) -> Answered:
    """Say yes. Where it takes two, the first one's terms stand until a second agrees to them.

    Whoever has approved it and says so again is told what stands. `in_chat`: a chat tool says that they do.
    """
    words = read_reason(reason, "Say why, for whoever asks later.")
    async with office.changing:
        ticket = await _current(office, ticket_id)
        if ticket.state == "approved" and ticket.decided_by == actor.name and not sent.given:
            return Answered(ticket_row(ticket), await _given(office, ticket))
        decider = decider_of(office, actor)
        _check_first(office, ticket)
        if in_chat and ticket.open and ticket.proposed is not None:
            raise ControlProblem(403, "second_needed", _NOT_BOTH, f"`comptroller approvals approve {ticket.id}`")
        gate = office.gate
        now_ns, registry = gate.clock.now_ns(), gate.registry
        terms = read_terms(sent, ticket, registry.approvals)
        done = say_yes(
            ticket,
            terms,
            decider,
            registry.approvals,
            owners(office),
            now_ns=now_ns,
            grant_id=gate.clock.new_id(PREFIX),
            reason=words,
        )
        if isinstance(done, No):
            refuse(done)
        if isinstance(done, Ticket):
            await _write(office, ticket, done, now_ns, actor.name, words, terms=done.proposed)
            return Answered(ticket_row(done), None)
        await _write(office, ticket, done.ticket, now_ns, actor.name, words, done)
        return Answered(ticket_row(done.ticket), grant_row(office, done.grant))


async def deny(office: Office, ticket_id: str, reason: str, actor: Actor) -> TicketRow:
    """Say no, for good. Whoever has denied it and says so again is told what stands."""
    words = read_reason(reason, "Say why: whoever asked is told.")
    async with office.changing:
        ticket = await _current(office, ticket_id)
        if ticket.state == "denied" and ticket.decided_by == actor.name:
            return ticket_row(ticket)
        now_ns = office.gate.clock.now_ns()
        roles = office.gate.registry.approvals
        done = say_no(ticket, decider_of(office, actor), roles, now_ns=now_ns, reason=words)
        if isinstance(done, No):
            refuse(done)
        await _write(office, ticket, done, now_ns, actor.name, words)
        return ticket_row(done)


async def withdraw(office: Office, ticket_id: str, by: str) -> TicketRow:
    """Take a question back. Twice is once."""
    async with office.changing:
        ticket = await _current(office, ticket_id)
        if ticket.state == "withdrawn":
            return ticket_row(ticket)
        now_ns = office.gate.clock.now_ns()
        done = take_back(ticket, by, now_ns=now_ns)
        if isinstance(done, No):
            refuse(done)
        await _write(office, ticket, done, now_ns, by, "")
        return ticket_row(done)


async def go_on(office: Office) -> None:
    """After a start: what was asked and nobody has answered waits on."""
    for ticket in await office.ledger.open_tickets():
        put_ticket(office.gate, ticket)


async def go_on_overdue(office: Office) -> None:
    """Ask the next role about what nobody has answered in time; where there is none, that is a no."""
    gate = office.gate
    late = [each.id for each in gate.approvals.open_tickets if each.due_at_ns <= gate.clock.now_ns()]
    for ticket_id in late:
        async with office.changing:
            ticket = gate.approvals.ticket(ticket_id)
            if ticket is not None:
                await _moved(office, ticket)


async def known(office: Office, ticket_id: str) -> Ticket:
    """As it stands now. Raises ControlProblem."""
    found = office.gate.approvals.ticket(ticket_id)
    if found is None:
        await office.catch_up()
        found = await office.ledger.ticket(ticket_id)
    if found is None:
        raise not_found(f"There is no ticket {ticket_id!r}.", "`comptroller approvals list --all` lists them.")
    return found


def decider_of(office: Office, actor: Actor) -> Decider:
    """The admin who answers, as they are now. Raises ControlProblem for who is nobody in particular."""
    if not actor.named:
        sentence = "The bootstrap credential is nobody in particular, and whoever approves answers for it."
        raise ControlProblem(403, "named_admin_needed", sentence, "`comptroller admins add NAME --role approver`")
    admin = office.admins.get(actor.name)
    if admin is None or admin.standing(office.gate.clock.expiry_ns()) != "active":  # since they have asked
        hint = "Ask another admin who may approve: `comptroller admins list`."
        raise ControlProblem(403, "not_approver", f"{actor.name} may not act any more.", hint)
    return Decider(admin.name, admin.role, admin.also)


def owners(office: Office) -> Owners:
    """Which role owns which budget."""
    return {budget.name: budget.owner_role for budget in office.gate.registry.budgets}


def refuse(no: No) -> NoReturn:
    """Say a no of the rules."""
    raise ControlProblem(_STATUS.get(no.code, 403), no.code, no.sentence, no.hint)


async def _current(office: Office, ticket_id: str) -> Ticket:
    """As it is at this moment: what is overdue has gone on, whether the timed job has come to it or not."""
    ticket = await known(office, ticket_id)
    return await _moved(office, ticket)


async def _moved(office: Office, ticket: Ticket) -> Ticket:
    now_ns = office.gate.clock.now_ns()
    moved = overdue(ticket, office.gate.registry.approvals, now_ns)
    if moved is None:
        return ticket
    asked = f"{ticket.role} did not answer by {format_instant(ticket.due_at_ns)}"
    await _write(office, ticket, moved, now_ns, BY_ITSELF, asked)
    return moved


def _check_first(office: Office, ticket: Ticket) -> None:
    """Whoever was the first of two answers for it to the end: one who was disabled meanwhile does not count."""
    name = ticket.proposed_by
    if name is None:
        return
    admin = office.admins.get(name)
    role = role_of(office.gate.registry.approvals, ticket.role)
    asked = role_of(office.gate.registry.approvals, ticket.asked_role)
    active = admin is not None and admin.standing(office.gate.clock.expiry_ns()) == "active"
    if admin is None or not active or not (role.has(name, admin.role) or asked.has(name, admin.role)):
        sentence = f"{name} has approved this first, and may not act any more."
        raise ControlProblem(403, "second_needed", sentence, "Deny it; whoever asked can ask anew.")


async def _given(office: Office, ticket: Ticket) -> GrantRow | None:
    if ticket.grant is None:
        return None
    live = office.gate.approvals.grant(ticket.grant)
    if live is not None:
        return grant_row(office, live)
    await office.catch_up()
    grant = await office.ledger.grant(ticket.grant)
    return None if grant is None else grant_row(office, grant, (await posted_by(office, [grant]))[grant.id])


async def _write(
    office: Office,
    before: Ticket,
    ticket: Ticket,
    now_ns: int,
    by: str,
    reason: str,
    approved: Approved | None = None,
    *,
    terms: Terms | None = None,
) -> None:
    grant = None if approved is None else approved.grant
    verb = "propose" if terms is not None else _VERBS[ticket.state]
    was = msgspec.json.encode(_facts(before)).decode()
    after = msgspec.json.encode(_facts(ticket) | _more(grant, terms)).decode()
    change = Change(now_ns, by, verb, "approval", ticket.id, reason, was, after)
    try:
        await office.ledger.write_ticket(ticket, change, grant)
    except LedgerUnavailableError as error:
        raise ledger_unavailable(f"{ticket.id} stays as it was: {error}.") from error
    if grant is not None:
        give_grant(office.gate, grant)
    put_ticket(office.gate, ticket)
    if grant is not None:
        tell_of_grant(office.gate, "grant.made", grant, by)
    said = {"message": f"{ticket.id} of {ticket.identity} ({ticket.role}): {verb}, by {by}."}
    if ticket.state == "escalated" and terms is None:
        office.gate.warn("approval_escalated", said)
        tell_of_ticket(office.gate, "approval.escalated", ticket)
    elif not ticket.open:
        office.gate.warn("approval_decided", said)
        tell_of_ticket(office.gate, "approval.decided", ticket)


def _facts(ticket: Ticket) -> dict[str, object]:
    """What an event says of a ticket."""
    estimate = None if ticket.estimate_nanos is None else format_usd(ticket.estimate_nanos)
    facts: dict[str, object] = {
        "state": ticket.state,
        "role": ticket.role,
        "identity": ticket.identity,
        "session": ticket.session,
        "model": ticket.model,
        "estimate_usd": estimate,
        "due_at": format_instant(ticket.due_at_ns),
    }
    if ticket.tool:
        facts |= {"tool": ticket.tool, "arguments_digest": ticket.arguments_digest}
    return facts if ticket.grant is None else facts | {"grant": ticket.grant}


def _more(grant: Grant | None, terms: Terms | None) -> dict[str, object]:
    if terms is not None:
        return {"proposed": say_terms(terms)}
    if grant is None:
        return {}
    given = Terms(amount=grant.amount, unit=grant.unit, uses=grant.uses, bound=grant.bound, lasts_s=0)
    said = {name: value for name, value in msgspec.structs.asdict(say_terms(given)).items() if name != "lasts_s"}
    return {"gives": said | {"for": grant.name, "expires_at": format_instant(grant.expires_at_ns)}}
