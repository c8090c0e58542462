"""Deciding: who may answer a ticket, with which terms, and what becomes of it.

Each act takes the ticket as it is and returns it as it is then, or why not. Nothing here waits or remembers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

import msgspec

from comptroller.core.approval.grant import Grant
from comptroller.core.approval.role import ApprovalRole, Roles, role_of, way_up
from comptroller.core.approval.ticket import GrantBound, Terms, Ticket
from comptroller.core.budget.budget import Unit
from comptroller.core.identity.admin import Role
from comptroller.core.instant import NANOS_PER_SECOND, format_instant

SHORTEST_S = 60
BY_ITSELF = "gateway"  # who ends what nobody answered

NoCode = Literal["not_open", "not_approver", "own_request", "second_needed", "terms_invalid"]
_OF_MODELS: frozenset[Unit] = frozenset({"usd", "tokens", "calls"})
_OF_TOOLS: frozenset[Unit] = frozenset({"usd", "tool_calls"})

Owners = Mapping[str, str | None]
"""Which role owns a budget, by the budget's name."""


class No(msgspec.Struct, frozen=True):
    """Why an act is not done: nothing has changed."""

    code: NoCode
    sentence: str
    hint: str


class Decider(msgspec.Struct, frozen=True):
    """An admin who answers. `also`: other names of the same person, such as its subject at an issuer."""

    name: str
    role: Role
    also: tuple[str, ...] = ()

    def is_one_of(self, names: Collection[str]) -> bool:
        known = {each.casefold() for each in names}
        return any(each.casefold() in known for each in (self.name, *self.also))


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What an approver gives although nobody has asked."""

    role: str
    terms: Terms
    value: str  # the id of the session or of the identity, or IDENTITY:TYPE:REFERENCE of the task
    suspends: bool
    budgets: tuple[str, ...] = ()
    tool: str = ""  # whose calls it is for: a name or a pattern; "": calls to models
    for_whom: tuple[str, ...] = ()  # the names of those it is for, as `requested_by` of a ticket of theirs would be
    reason: str = ""


class Approved(msgspec.Struct, frozen=True):
    """A ticket that was approved, and what was given for it."""

    ticket: Ticket
    grant: Grant


def approve(
    ticket: Ticket,
    terms: Terms | None,
    decider: Decider,
    roles: Roles,
    owners: Owners,
    *,
    now_ns: int,
    grant_id: str,
    reason: str,
) -> Approved | Ticket | No:
    """Say yes. A ticket comes back where it takes two and this was the first: it stays open.

    `terms`: None: those that were proposed, else the ticket's own.
    """
    no = _may_answer(ticket, decider, roles, now_ns) or _owned(ticket.asked_role, ticket.budgets, owners)
    if no is not None:
        return no
    first = ticket.proposed
    terms = terms or first or own_terms(ticket, roles)
    asked = role_of(roles, ticket.asked_role)
    no = _fit(terms, asked, lifts=bool(ticket.budgets), tool=ticket.tool) or _fits_ticket(terms, ticket)
    if no is not None:
        return no
    if asked.takes_two(_usd(terms, ticket)) or first is not None:
        if first is None:
            return msgspec.structs.replace(ticket, proposed=terms, proposed_by=decider.name)
        no = _second(ticket, first, terms, decider)
        if no is not None:
            return no
    grant = Grant(
        id=grant_id,
        ticket=ticket.id,
        role=ticket.asked_role,
        approver=ticket.proposed_by or decider.name,
        second=decider.name if ticket.proposed_by else None,
        bound=terms.bound,
        value=_value(ticket, terms.bound),
        suspends=ticket.suspends,
        budgets=ticket.budgets,
        tool=ticket.tool,
        arguments_digest=ticket.arguments_digest,
        amount=terms.amount,
        unit=terms.unit,
        uses=terms.uses,
        given_at_ns=now_ns,
        expires_at_ns=now_ns + terms.lasts_s * NANOS_PER_SECOND,
        reason=reason,
    )
    return Approved(ticket.closed("approved", decider.name, now_ns, said=reason, grant=grant.id), grant)


def deny(ticket: Ticket, decider: Decider, roles: Roles, *, now_ns: int, reason: str) -> Ticket | No:
    """Say no, for good. One is enough, whatever the amount."""
    no = _may_answer(ticket, decider, roles, now_ns)
    if no is not None:
        return no
    return ticket.closed("denied", decider.name, now_ns, said=reason)


def withdraw(ticket: Ticket, by: str, *, now_ns: int) -> Ticket | No:
    """Take the question back."""
    if not ticket.open:
        return _closed(ticket)
    return ticket.closed("withdrawn", by, now_ns)


def overdue(ticket: Ticket, roles: Roles, now_ns: int) -> Ticket | None:
    """What becomes of a ticket that nobody answered in time; None: nothing yet."""
    if not ticket.open or now_ns < ticket.due_at_ns:
        return None
    way = way_up(roles, ticket.asked_role)
    following = way[way.index(ticket.role) + 1 :] if ticket.role in way else ()
    if not following:
        return ticket.closed("expired", BY_ITSELF, now_ns)
    due_at_ns = now_ns + role_of(roles, following[0]).answer_within_s * NANOS_PER_SECOND
    return msgspec.structs.replace(ticket, state="escalated", role=following[0], due_at_ns=due_at_ns)


def give(wanted: Wanted, decider: Decider, roles: Roles, owners: Owners, *, now_ns: int, grant_id: str) -> Grant | No:
    """A grant that nobody has asked for. What takes two has to be asked for: the second answers the ticket."""
    role, terms = role_of(roles, wanted.role), wanted.terms
    if not role.has(decider.name, decider.role):
        return _not_approver(decider, role)
    if decider.is_one_of(wanted.for_whom):
        return _own(decider)
    no = _owned(role.name, wanted.budgets, owners) or _fit(terms, role, lifts=bool(wanted.budgets), tool=wanted.tool)
    if no is not None:
        return no
    if not (wanted.suspends or wanted.budgets):
        return No("terms_invalid", "A grant of nothing does nothing.", "Name budgets, or let it suspend the role.")
    if role.takes_two(_usd(terms)):
        sentence = f"A grant of so much takes two of {role.name}."
        return No("second_needed", sentence, "Let the caller ask, and two of the role approve the ticket.")
    return Grant(
        id=grant_id,
        role=role.name,
        approver=decider.name,
        bound=terms.bound,
        value=wanted.value,
        suspends=wanted.suspends,
        budgets=wanted.budgets,
        tool=wanted.tool,
        amount=terms.amount,
        unit=terms.unit,
        uses=terms.uses,
        given_at_ns=now_ns,
        expires_at_ns=now_ns + terms.lasts_s * NANOS_PER_SECOND,
        reason=wanted.reason,
    )


def revoke(grant: Grant, by: str, now_ns: int) -> Grant:
    """Take it back. Calls in flight go on."""
    return msgspec.structs.replace(grant, revoked_at_ns=now_ns, revoked_by=by)


def own_terms(ticket: Ticket, roles: Roles) -> Terms:
    """What approving a ticket gives if nothing else is said: what the call needs, once, to the session that asked."""
    lasts_s = min(Terms().lasts_s, role_of(roles, ticket.asked_role).longest_s)
    return Terms(amount=ticket.amount, unit=ticket.unit, uses=1, lasts_s=lasts_s)


def _may_answer(ticket: Ticket, decider: Decider, roles: Roles, now_ns: int) -> No | None:
    if not ticket.open:
        return _closed(ticket)
    if now_ns >= ticket.due_at_ns:
        sentence = f"{ticket.id} had to be answered by {format_instant(ticket.due_at_ns)}."
        return No("not_open", sentence, "Look again in a moment: it goes on to the next role, or has expired.")
    role = role_of(roles, ticket.role)
    if not role.has(decider.name, decider.role):
        return _not_approver(decider, role)
    return _own(decider) if decider.is_one_of(ticket.requested_by) else None


def _closed(ticket: Ticket) -> No:
    by = f" by {ticket.decided_by}" if ticket.decided_by else ""
    return No("not_open", f"{ticket.id} is {ticket.state}{by}.", "A ticket is answered once; ask anew with a call.")


def _not_approver(decider: Decider, role: ApprovalRole) -> No:
    whom = "an admin of role approver" if role.approvers is None else " or ".join(role.approvers)
    return No("not_approver", f"{decider.name} does not answer for the role {role.name}.", f"Ask {whom}.")


def _own(decider: Decider) -> No:
    return No("own_request", f"{decider.name} is among those who ask for this.", "Somebody else of the role answers.")


def _owned(role: str, budgets: tuple[str, ...], owners: Owners) -> No | None:
    for name in budgets:
        if owners.get(name) != role:
            owner = owners.get(name)
            whose = f"it is {owner}'s" if owner else "no role owns it"
            hint = 'Give the budget `owner_role = "ROLE"` in registry.toml, or raise its limit.'
            return No("terms_invalid", f"The role {role} does not own the budget {name}: {whose}.", hint)
    return None


def _fit(terms: Terms, role: ApprovalRole, *, lifts: bool, tool: str) -> No | None:
    """Whether the role may give such terms at all, for calls to models or of a tool."""
    if not SHORTEST_S <= terms.lasts_s <= role.longest_s:
        hint = f"{SHORTEST_S} to {role.longest_s} seconds: [approvals.{role.name}] longest_s."
        return No("terms_invalid", f"A grant of {role.name} cannot last {terms.lasts_s} s.", hint)
    if terms.uses is not None and not 1 <= terms.uses <= role.max_uses:
        hint = f"1 to {role.max_uses}: [approvals.{role.name}] max_uses."
        return No("terms_invalid", f"A grant of {role.name} cannot have {terms.uses} uses.", hint)
    if terms.amount is not None and terms.amount <= 0:
        return No("terms_invalid", "That amount allows nothing.", "Give one above zero, or deny.")
    if terms.amount is None and (lifts or terms.uses is None):
        why = "A budget is lifted by an amount." if lifts else "Something has to bound it."
        return No("terms_invalid", why, "Give an amount, and uses if you like.")
    if terms.amount is not None and terms.uses is None and terms.unit not in (_OF_TOOLS if tool else _OF_MODELS):
        whose = f"calls of {tool}" if tool else "calls to models"
        return No(
            "terms_invalid", f"No amount of {terms.unit} bounds {whose}.", "Give one in USD, or a number of uses."
        )
    return None


def _fits_ticket(terms: Terms, ticket: Ticket) -> No | None:
    if ticket.tool and terms.uses != 1:
        sentence = f"{ticket.id} asks for one call of {ticket.tool}, with just these arguments."
        hint = (
            f"Approve it as it is. More calls, with any arguments: `comptroller grants make ... --tool {ticket.tool}`."
        )
        return No("terms_invalid", sentence, hint)
    if ticket.budgets and terms.unit != ticket.unit:
        return No("terms_invalid", f"These budgets are in {ticket.unit}.", f"Give an amount in {ticket.unit}.")
    if terms.bound == "task" and ticket.task is None:
        sentence = f"The session {ticket.session} serves no task."
        return No("terms_invalid", sentence, "Bind the grant to the session or to the identity.")
    return None


def _second(ticket: Ticket, first: Terms, terms: Terms, decider: Decider) -> No | None:
    if ticket.proposed_by is not None and decider.is_one_of([ticket.proposed_by]):
        return No("second_needed", f"{decider.name} has approved this already.", "It takes somebody else of the role.")
    wider = (
        terms.bound != first.bound
        or terms.unit != first.unit
        or _is_more(terms.amount, first.amount)
        or _is_more(terms.uses, first.uses)
        or terms.lasts_s > first.lasts_s
    )
    if wider:
        sentence = f"That is more than {ticket.proposed_by} has agreed to."
        return No("terms_invalid", sentence, "Approve without terms, or with narrower ones.")
    return None


def _is_more(amount: int | None, than: int | None) -> bool:
    return than is not None and (amount is None or amount > than)


def _usd(terms: Terms, ticket: Ticket | None = None) -> int | None:
    """What the terms come to in nano-USD; None: nothing in USD bounds them. The one call of a tool has an estimate."""
    if terms.amount is None and ticket is not None and ticket.tool:
        return ticket.estimate_nanos
    return terms.amount if terms.unit == "usd" else None


def _value(ticket: Ticket, bound: GrantBound) -> str:
    return {"session": ticket.session, "identity": ticket.identity, "task": ticket.task or ""}[bound]
