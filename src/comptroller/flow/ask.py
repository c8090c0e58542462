"""Ask: a call that a person could let through makes a ticket, or finds the one of the same question."""

from __future__ import annotations

import msgspec

from comptroller.core.approval.approvals import OPEN_OF_ONE, stands_until_ns
from comptroller.core.approval.decide import BY_ITSELF
from comptroller.core.approval.role import role_of
from comptroller.core.approval.shown import shown
from comptroller.core.approval.ticket import PREFIX, Ask, Ticket, question_of
from comptroller.core.instant import NANOS_PER_SECOND, format_instant
from comptroller.core.refusal import ApprovalAsked, Refusal
from comptroller.flow.approval_notices import tell_of_ticket
from comptroller.flow.approvals import asked_by, put_ticket, task_of
from comptroller.flow.gate import Gate
from comptroller.flow.incoming import IncomingCall
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.permit import Denied
from comptroller.flow.records import TicketChanged

ANSWERED_NO = frozenset({"denied", "expired"})
POLL = "/comptroller/v1/approvals/"


async def ask_for(gate: Gate, call: IncomingCall, denied: Denied, ask: Ask) -> tuple[Ticket | None, Denied]:
    """The ticket of a denial, and the denial with it in its refusal. No ticket: too many of this identity are open, or
    it could not be written. Whoever is told of one finds it after a restart, too.
    """
    try:
        ticket = await _ticket(gate, call, denied, ask)
    except LedgerUnavailableError as error:
        gate.warn("ledger_unavailable", {"comptroller.call.id": call.id, "message": str(error)})
        return None, _with(denied, "The question could not be written down: ask again in a moment.", None)
    if ticket is None:
        hint = f"{OPEN_OF_ONE} questions of {denied.caller.identity.id} wait for an answer: one more can be asked then."
        return None, _with(denied, hint, None)
    return ticket, told_of(denied, ticket)


def told_of(denied: Denied, ticket: Ticket) -> Denied:
    """The denial with this ticket in its refusal."""
    due_at = format_instant(ticket.due_at_ns)
    approval = ApprovalAsked(ticket.id, ticket.role, ticket.state, POLL + ticket.id, due_at)
    if ticket.open:
        again = "send the call again"
        if ticket.tool:
            again = f"call {ticket.tool} again with the same arguments"
        hint = (
            f"{ticket.role} was asked and may answer until {due_at}: {again} once {ticket.id} is approved, "
            "or let it wait with the header `Prefer: wait=300`."
        )
    elif ticket.state in ANSWERED_NO:
        why = f": {ticket.said}" if ticket.said else ""
        no = f"{ticket.decided_by} has denied it{why}" if ticket.state == "denied" else f"Nobody answered {ticket.id}"
        hint = f"{no}. It can be asked again at {format_instant(stands_until_ns(ticket))}."
    else:
        hint = f"{ticket.id} is {ticket.state}: send the call again."
    return _with(denied, hint, approval)


async def _ticket(gate: Gate, call: IncomingCall, denied: Denied, ask: Ask) -> Ticket | None:
    caller, now_ns = denied.caller, gate.clock.expiry_ns()
    session = caller.session
    use = call.asked.tool
    asked_for = (ask.policies, ask.thresholds, ask.budgets, ask.model, ask.amount, ask.unit)
    just = () if use is None else (use.name, use.arguments_digest)
    question = question_of(session.id, ask.role, *asked_for, *just)
    found = gate.approvals.find(question, now_ns)
    if found is not None or not gate.approvals.has_room(caller.identity.id):
        return found
    ticket = Ticket(
        id=gate.clock.new_id(PREFIX),
        at_ns=now_ns,
        identity=caller.identity.id,
        session=session.id,
        task=task_of(gate, session),
        requested_by=asked_by(gate, session),
        asked_role=ask.role,
        role=ask.role,
        policies=ask.policies,
        thresholds=ask.thresholds,
        budgets=ask.budgets,
        reason=ask.reason,
        model=ask.model,
        dialect=call.dialect.name,
        call_id=call.id,
        estimate_nanos=ask.estimate_nanos,
        input_tokens=ask.input_tokens,
        amount=ask.amount,
        unit=ask.unit,
        question=question,
        due_at_ns=now_ns + role_of(caller.registry.approvals, ask.role).answer_within_s * NANOS_PER_SECOND,
    )
    if use is not None:
        ticket = msgspec.structs.replace(
            ticket,
            model="",
            tool=use.name,
            arguments_digest=use.arguments_digest,
            arguments_bytes=len(use.arguments),
            arguments=shown(use.arguments, gate.limits.approval_arguments_chars),
            classes=use.classes,
            risks=use.risks,
        )
    put_ticket(gate, ticket)
    try:
        await gate.journal.commit(TicketChanged(now_ns, ticket))
    except LedgerUnavailableError:
        put_ticket(gate, ticket.closed("withdrawn", BY_ITSELF, now_ns))
        raise
    said = {"comptroller.approval.id": ticket.id, "comptroller.approval.role": ticket.role}
    gate.warn("approval_requested", said | {"comptroller.call.id": call.id, "message": ticket.reason})
    tell_of_ticket(gate, "approval.requested", ticket)
    return gate.approvals.ticket(ticket.id) or ticket


def _with(denied: Denied, hint: str, approval: ApprovalAsked | None) -> Denied:
    refusal: Refusal = denied.refusal
    way = f"{refusal.hint} {hint}".strip()
    return msgspec.structs.replace(denied, refusal=msgspec.structs.replace(refusal, hint=way, approval=approval))
