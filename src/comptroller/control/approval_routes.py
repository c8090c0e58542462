"""The routes of the admin plane that are about approvals and grants: a part of the table in api.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from comptroller.control import approvals, chat_answers, grants
from comptroller.control.approval_rows import Answered, GrantRow, TermsSent, TicketRow, read_amount
from comptroller.control.approvals import TICKETS_SHOWN
from comptroller.control.grants import GRANTS_SHOWN
from comptroller.control.office import Office
from comptroller.control.requests import Limit, Reason, ReasonRequest
from comptroller.control.route import Asked, NoQuery, Plain, Route, Sent
from comptroller.core.approval.decide import SHORTEST_S, Wanted
from comptroller.core.approval.ticket import GrantBound, Terms

UnitWord = Literal["usd", "tokens", "calls", "tool_calls"]
Amount = Annotated[
    str, Meta(description="In the unit: a decimal amount of USD, or a whole number.", examples=["50.00"])
]
Uses = Annotated[
    int | Literal["any"],
    Meta(description="Calls that may go upstream by it. Left out: one, or any number if there is an amount."),
]
Lasts = Annotated[int, Meta(description="For how many seconds.", extra_json_schema={"minimum": SHORTEST_S})]
Bound = Annotated[GrantBound, Meta(description="Whose calls it is for.")]


class TicketsQuery(Sent, frozen=True):
    all: Annotated[bool, Meta(description="Answered ones too, the newest first.")] = False
    limit: Limit = TICKETS_SHOWN


class GrantsQuery(Sent, frozen=True):
    all: Annotated[bool, Meta(description="Those that are over, too, the newest first.")] = False
    limit: Limit = GRANTS_SHOWN


class ApproveTicketRequest(Sent, frozen=True):
    """What is left out is as the ticket asks for it: what one call needs, once, for the session that asked."""

    reason: Reason
    amount: Amount | None = None
    unit: UnitWord | None = None
    uses: Uses | None = None
    lasts_s: Lasts | None = None
    bound: Bound | None = None


class ChatAnswerRequest(Sent, frozen=True):
    token: Annotated[str, Meta(description="A JWT (HS256) with the chat tool's secret: one ticket, one answer.")]


class GrantRequest(Sent, frozen=True):
    """A grant that nobody has asked for."""

    role: Annotated[str, Meta(description="Whose forbids it suspends, and whose budgets it lifts.")]
    bound: Bound
    value: Annotated[str, Meta(description="The id of the session or identity; of a task IDENTITY:TYPE:REFERENCE.")]
    lasts_s: Lasts
    reason: Reason
    amount: Amount | None = None
    unit: UnitWord = "usd"
    uses: Uses | None = None
    suspends: Annotated[bool, Meta(description="All that is marked `approval:ROLE`.")] = True
    budgets: Annotated[tuple[str, ...], Meta(description="That it lifts, by the amount. Its role must own them.")] = ()
    tool: Annotated[
        str,
        Meta(description="Whose calls it is for: `SERVER/TOOL`, or a pattern with `*`. Left out: calls to models."),
    ] = ""


async def _tickets(office: Office, asked: Asked[TicketsQuery, None]) -> Sequence[TicketRow]:
    """What waits for somebody's approval, the oldest first."""
    return await approvals.list_tickets(office, every=asked.query.all, limit=asked.query.limit)


async def _ticket(office: Office, asked: Plain) -> Answered:
    """One ticket, with the grant that was given for it."""
    return await approvals.show_ticket(office, asked.path["ticket"])


async def _approve_ticket(office: Office, asked: Asked[NoQuery, ApproveTicketRequest]) -> Answered:
    """Say yes to a ticket: a grant comes of it, or, where it takes two, waits for the second."""
    sent = asked.body
    terms = TermsSent(sent.amount, sent.unit, sent.uses, sent.lasts_s, sent.bound)
    return await approvals.approve(office, asked.path["ticket"], terms, sent.reason, asked.actor)


async def _deny_ticket(office: Office, asked: Asked[NoQuery, ReasonRequest]) -> TicketRow:
    """Say no to a ticket: whoever asked is told why."""
    return await approvals.deny(office, asked.path["ticket"], asked.body.reason, asked.actor)


async def _answer(office: Office, asked: Asked[NoQuery, ChatAnswerRequest]) -> Answered:
    """Answer a ticket from a chat, by what its tool has signed."""
    return await chat_answers.answer(office, asked.body.token)


async def _grants(office: Office, asked: Asked[GrantsQuery, None]) -> Sequence[GrantRow]:
    """The exceptions in force, the oldest first, with what was spent by each."""
    return await grants.list_grants(office, every=asked.query.all, limit=asked.query.limit)


async def _give(office: Office, asked: Asked[NoQuery, GrantRequest]) -> GrantRow:
    """Give a grant that nobody has asked for. What takes two has to be asked for by a call."""
    sent = asked.body
    amount = None if sent.amount is None else read_amount(sent.amount, sent.unit)
    once = None if amount is not None else 1
    uses = once if sent.uses is None else (None if isinstance(sent.uses, str) else sent.uses)
    terms = Terms(amount=amount, unit=sent.unit, uses=uses, lasts_s=sent.lasts_s, bound=sent.bound)
    budgets = tuple(dict.fromkeys(sent.budgets))
    wanted = Wanted(
        role=sent.role, terms=terms, value=sent.value, suspends=sent.suspends, budgets=budgets, tool=sent.tool
    )
    return await grants.give(office, wanted, sent.reason, asked.actor)


async def _revoke(office: Office, asked: Asked[NoQuery, ReasonRequest]) -> GrantRow:
    """Take a grant back at once. Calls in flight go on."""
    return await grants.revoke(office, asked.path["grant_id"], asked.body.reason, asked.actor)


ROUTES: Sequence[Route] = (
    Route("GET", "/approvals", "viewer", _tickets),
    Route("GET", "/approvals/{ticket}", "viewer", _ticket, problems=(404,)),
    Route("POST", "/approvals/{ticket}/approve", "approver", _approve_ticket, problems=(404, 409, 422)),
    Route("POST", "/approvals/{ticket}/deny", "approver", _deny_ticket, problems=(404, 409, 422)),
    Route("POST", "/chat-answers", None, _answer, problems=(404, 409, 422)),
    Route("GET", "/grants", "viewer", _grants),
    Route("POST", "/grants", "approver", _give, problems=(404, 422)),
    Route("POST", "/grants/{grant_id}/revoke", "approver", _revoke, "operator", problems=(404, 422)),
)
