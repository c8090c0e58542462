"""Tickets and grants as they are shown, and what may be said about the terms of a grant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import invalid
from comptroller.control.reading import read_usd
from comptroller.core.approval.decide import own_terms
from comptroller.core.approval.grant import Grant, GrantState
from comptroller.core.approval.role import Roles
from comptroller.core.approval.ticket import GrantBound, Terms, Ticket, TicketState
from comptroller.core.budget.budget import Unit
from comptroller.core.budget.hold import NOTHING, Amounts
from comptroller.core.budget.meter import LEDGER_KEY, ledger_key
from comptroller.core.instant import NANOS_PER_SECOND, format_instant
from comptroller.core.money import format_usd

Amount = str | int
"""A decimal string where the unit is usd, else a whole number."""
ANY = "any"  # number of uses


class TermsRow(msgspec.Struct, frozen=True):
    """What a grant comes with."""

    amount: Amount | None  # None: none bounds it
    unit: Unit
    uses: int | None  # None: any number
    lasts_s: int
    bound: GrantBound


class TicketRow(msgspec.Struct, frozen=True):
    """One question to a role."""

    id: str
    state: TicketState
    role: str  # that answers now
    asked_role: str  # that was asked first: whose forbids and budgets they are
    identity: str
    session: str
    task: str | None
    model: str
    estimate_usd: str | None  # None: nobody knows
    input_tokens: int | None
    reason: str  # why a person is asked
    policies: Sequence[str]
    thresholds: Sequence[str]
    budgets: Sequence[str]  # that are exhausted
    amount: Amount | None  # that an approval gives if nothing else is said
    unit: Unit
    tool: str  # that is called, by its full name; "": the call is one to a model
    risks: Sequence[str]  # of the tool
    arguments: str  # as JSON, masked and cut; "" once somebody has answered
    arguments_digest: str
    arguments_bytes: int
    classes: Sequence[str]  # of the arguments
    call: str  # the first that asked
    requested_by: Sequence[str]  # none of them may answer
    asked_at: str
    due_at: str  # until then `role` may answer
    proposed: TermsRow | None  # what the first of two has agreed to
    proposed_by: str | None
    decided_at: str | None
    decided_by: str | None
    said: str  # why, by whoever decided
    grant: str | None


class GrantRow(msgspec.Struct, frozen=True):
    """One exception that somebody gave."""

    id: str
    state: GrantState
    ticket: str | None  # None: nobody had asked
    role: str
    bound: GrantBound
    value: str
    suspends: bool  # all that is marked `approval:ROLE`
    budgets: Sequence[str]  # that it lifts
    tool: str  # whose calls it is for; "": calls to models
    arguments_digest: str  # only with these arguments; "": with any
    amount: Amount | None  # None: none bounds it
    unit: Unit
    spent: Amount
    held: Amount
    uses: int | None  # None: any number
    used: int
    given_at: str
    expires_at: str
    approver: str
    second: str | None
    reason: str
    revoked_at: str | None = None
    revoked_by: str | None = None
    ended_at: str | None = None


class Answered(msgspec.Struct, frozen=True):
    """A ticket and what was given for it. One that takes two is open until the second has approved."""

    ticket: TicketRow
    grant: GrantRow | None


class TermsSent(msgspec.Struct, frozen=True):
    """What an approver says of the terms; None: as they stand."""

    amount: str | None = None
    unit: Unit | None = None
    uses: int | Literal["any"] | None = None
    lasts_s: int | None = None
    bound: GrantBound | None = None

    @property
    def given(self) -> bool:
        return any(each is not None for each in (self.amount, self.uses, self.lasts_s, self.bound))


def read_terms(sent: TermsSent, ticket: Ticket, roles: Roles) -> Terms | None:
    """The terms that stand for a ticket, with what is said; None: nothing is. Raises ControlProblem.

    An amount without a number of uses is for any number of them; what a tool asks for stays one call.
    """
    if not sent.given:
        return None
    terms = ticket.proposed or own_terms(ticket, roles)
    unit, uses = (terms.unit if sent.amount is None else sent.unit or terms.unit), terms.uses
    if sent.uses is not None:
        uses = None if isinstance(sent.uses, str) else sent.uses
    elif sent.amount is not None and not ticket.tool:
        uses = None
    return Terms(
        amount=terms.amount if sent.amount is None else read_amount(sent.amount, unit),
        unit=unit,
        uses=uses,
        lasts_s=terms.lasts_s if sent.lasts_s is None else sent.lasts_s,
        bound=sent.bound or terms.bound,
    )


def read_amount(text: str, unit: Unit) -> int:
    """An amount in its unit. Raises ControlProblem."""
    if unit == "usd":
        return read_usd(text, "amount")
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise invalid(f"amount: {text[:100]!r} is not a whole number of {unit}.")
    return int(text)


_DIGITS = 15


def say_terms(terms: Terms) -> TermsRow:
    return TermsRow(say_amount(terms.amount, terms.unit), terms.unit, terms.uses, terms.lasts_s, terms.bound)


def say_amount(amount: int | None, unit: Unit) -> Amount | None:
    return None if amount is None else _say(amount, unit)


def _say(amount: int, unit: Unit) -> Amount:
    return format_usd(amount) if unit == "usd" else amount


def ticket_row(ticket: Ticket) -> TicketRow:
    return TicketRow(
        id=ticket.id,
        state=ticket.state,
        role=ticket.role,
        asked_role=ticket.asked_role,
        identity=ticket.identity,
        session=ticket.session,
        task=ticket.task,
        model=ticket.model,
        estimate_usd=None if ticket.estimate_nanos is None else format_usd(ticket.estimate_nanos),
        input_tokens=ticket.input_tokens,
        reason=ticket.reason,
        policies=ticket.policies,
        thresholds=ticket.thresholds,
        budgets=ticket.budgets,
        amount=say_amount(ticket.amount, ticket.unit),
        unit=ticket.unit,
        tool=ticket.tool,
        risks=ticket.risks,
        arguments=ticket.arguments,
        arguments_digest=ticket.arguments_digest,
        arguments_bytes=ticket.arguments_bytes,
        classes=ticket.classes,
        call=ticket.call_id,
        requested_by=ticket.requested_by,
        asked_at=format_instant(ticket.at_ns),
        due_at=format_instant(ticket.due_at_ns),
        proposed=None if ticket.proposed is None else say_terms(ticket.proposed),
        proposed_by=ticket.proposed_by,
        decided_at=_instant(ticket.decided_at_ns),
        decided_by=ticket.decided_by,
        said=ticket.said,
        grant=ticket.grant,
    )


def grant_row(office: Office, grant: Grant, posted: Amounts = NOTHING) -> GrantRow:
    """`posted`: what was spent by it, as the books have it; memory knows it of one that goes on."""
    meter = office.gate.tree.meter(grant.id)
    spent = posted if meter is None else meter.posted
    held = {} if meter is None else {each.budget.unit: each.held for each in meter.windows}
    return GrantRow(
        id=grant.id,
        state=grant.state(office.gate.clock.now_ns(), spent),
        ticket=grant.ticket,
        role=grant.role,
        bound=grant.bound,
        value=grant.value,
        suspends=grant.suspends,
        budgets=grant.budgets,
        tool=grant.tool,
        arguments_digest=grant.arguments_digest,
        amount=say_amount(grant.amount, grant.unit),
        unit=grant.unit,
        spent=_say(spent.of(grant.unit), grant.unit),
        held=_say(held.get(grant.unit, 0), grant.unit),
        uses=grant.uses,
        used=used(spent),
        given_at=format_instant(grant.given_at_ns),
        expires_at=format_instant(grant.expires_at_ns),
        approver=grant.approver,
        second=grant.second,
        reason=grant.reason,
        revoked_at=_instant(grant.revoked_at_ns),
        revoked_by=grant.revoked_by,
        ended_at=_instant(grant.ended_at_ns),
    )


async def posted_by(office: Office, grants: Sequence[Grant]) -> Mapping[str, Amounts]:
    """What was spent by each, by its id, as the books have it."""
    if not grants:
        return {}
    found = await office.ledger.instance_balances([LEDGER_KEY], [each.id for each in grants])
    return {each.id: found.get(ledger_key(each.id), NOTHING) for each in grants}


def used(spent: Amounts) -> int:
    """Of a grant's uses, those that were taken: it is for calls to models or for those of a tool."""
    return spent.calls + spent.tool_calls


def lasted_s(grant: Grant) -> int:
    """For how long it was given."""
    return (grant.expires_at_ns - grant.given_at_ns) // NANOS_PER_SECOND


def _instant(at_ns: int | None) -> str | None:
    return None if at_ns is None else format_instant(at_ns)
