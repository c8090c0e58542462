"""The allowance: what a caller may spend right now, and what would become of a call that it plans.

The caller's own question (`/comptroller/v1/allowance`) and an operator's about anybody (`simulate`) have one answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

import msgspec

from comptroller.control.caller_route import Asked, caller_of, json_answer
from comptroller.control.office import Office
from comptroller.control.problem import invalid, not_found
from comptroller.control.route import Asked as OperatorAsked
from comptroller.control.route import NoQuery, Route
from comptroller.control.sessions import find_session
from comptroller.control.tokens import would_open
from comptroller.core.allowance import Limit
from comptroller.core.approval.grant import Grant
from comptroller.core.approval.ticket import Ticket
from comptroller.core.budget.budget import format_amount
from comptroller.core.identity.credential import Claims
from comptroller.core.instant import format_instant
from comptroller.core.money import format_usd
from comptroller.core.problem import did_you_mean
from comptroller.core.refusal import Refusal
from comptroller.core.work.session import Session
from comptroller.flow.admit import Offer
from comptroller.flow.allowance import Outlook, Plan, limits_of, outlook
from comptroller.flow.caller import Caller
from comptroller.flow.dialect import Planned
from comptroller.flow.door import Answered
from comptroller.flow.gate import Gate
from comptroller.flow.identify import as_known
from comptroller.flow.lift import keys_of, usable
from comptroller.flow.models import reachable_by

PATH = "/comptroller/v1/allowance"
_MOST_TOKENS = 2**53  # that JSON readers everywhere take


class PlanSent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A planned call. Without a model nothing is planned."""

    model: str | None = None
    input_tokens: int = 0
    max_output_tokens: int | None = None  # None: as much as the model makes
    stream: bool = False
    dialect: str | None = None  # None: whichever its provider speaks


class SimulateSent(PlanSent, frozen=True):
    """The same, for somebody else."""

    identity: str | None = None
    session: str | None = None  # an open one; None: one that this identity would open now
    task_type: str | None = None  # of a session that would be opened


class ModelRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model, or a pattern of names, that may be used."""

    name: str
    model_class: str | None = msgspec.field(default=None, name="class")


class CheapestRow(msgspec.Struct, frozen=True):
    model: str
    estimate_usd: str


class PlannedRow(msgspec.Struct, frozen=True):
    """What would become of the planned call if it came now."""

    model: str
    dialect: str
    allowed: bool
    served_model: str | None  # another where a route or a policy says so
    provider: str | None
    output_limit: int | None  # that would be written into it
    binds: str | None  # the limit that refuses it or lowers its output
    estimate_usd: str | None  # the most it can cost with that; None: it has no price
    largest_output_tokens: int  # that it could ask for now
    cheapest: CheapestRow | None  # the allowed model on which it costs the least
    refusal: Refusal | None


class OwnGrantRow(msgspec.Struct, frozen=True):
    """An exception that somebody gave."""

    id: str
    role: str  # whose forbids and soft steps it suspends
    bound: str  # session, identity or task
    suspends: bool
    budgets: Sequence[str]  # that it lifts
    tool: str  # whose calls it is for; "": calls to models
    amount_left: str | None  # None: none bounds it
    unit: str
    uses_left: int | None  # None: any number
    expires_at: str


class OwnTicketRow(msgspec.Struct, frozen=True):
    """A question that nobody has answered yet."""

    id: str
    state: str
    role: str
    model: str
    tool: str  # that is called; "": the call is one to a model
    due_at: str


class AllowanceRow(msgspec.Struct, frozen=True):
    """All that binds one caller."""

    at: str
    identity: str
    session: str
    session_ends_at: str
    limits: Sequence[Limit]  # the least share left first
    models: Sequence[ModelRow]
    tools: Sequence[str] | None  # None: no bound on them
    grants: Sequence[OwnGrantRow]  # exceptions in force for it
    approvals: Sequence[OwnTicketRow]  # what it waits for
    planned: PlannedRow | None


async def show(office: Office, asked: Asked) -> Answered:
    """What whoever asks may spend now."""
    return json_answer(describe(office.gate, caller_of(office, asked.request), _sent(asked.request.query)))


async def simulate(office: Office, sent: SimulateSent) -> AllowanceRow:
    """What somebody else may spend now. Nothing is held, sent or written down.

    Of an identity: as if it opened a session now, which is gone again before anybody else is heard.
    """
    gate = office.gate
    if sent.session is not None:
        session = await find_session(office, sent.session)
        if sent.identity not in {None, session.identity, session.name}:
            raise invalid(f"The session {session.id} is one of {session.name}, and not of {sent.identity}.")
        return describe(gate, as_known(gate, _claims(session)), sent)
    if sent.identity is None:
        raise invalid("Nobody is named.", "Say whose allowance it is: an identity, or one of its sessions.")
    if sent.identity not in gate.registry.identities:
        hint = did_you_mean(sent.identity, gate.registry.identities)
        raise not_found(f"There is no identity {sent.identity!r}.", hint)
    session = would_open(office, sent.identity, sent.task_type)
    gate.open_session(session)
    try:
        return describe(gate, as_known(gate, _claims(session)), sent)
    finally:
        gate.forget_session(session)


def describe(gate: Gate, caller: Caller, sent: PlanSent) -> AllowanceRow:
    """What binds this caller, and its plan. Does not wait and changes nothing. Raises ControlProblem."""
    apis = _apis(gate, sent.dialect)
    planned = None
    if sent.model is not None:
        _check(sent)
        plan = Plan(sent.model, sent.input_tokens, sent.max_output_tokens, sent.stream)
        planned = _planned(sent.model, outlook(gate, apis, caller, plan))
    grants = gate.approvals.held_by(keys_of(gate, caller), gate.clock.expiry_ns())
    return AllowanceRow(
        at=format_instant(gate.clock.now_ns()),
        identity=caller.names[0],
        session=caller.session.id,
        session_ends_at=format_instant(caller.ends_at_ns),
        limits=limits_of(gate, caller, sent.model),
        models=_models(gate, caller, apis),
        tools=caller.session.tools,
        grants=[_grant(gate, each) for each in usable(gate, caller, grants)],
        approvals=[_ticket(each) for each in gate.approvals.open_of((caller.session.id,))],
        planned=planned,
    )


def _sent(query: bytes) -> PlanSent:
    pairs = parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True)
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise invalid("A parameter is given twice.", "Send each parameter once.")
    try:
        return msgspec.convert(fields, PlanSent, strict=False)
    except msgspec.ValidationError as error:
        hint = f"The parameters are {', '.join(PlanSent.__struct_fields__)}."
        raise invalid(f"The query is not valid: {error}.", hint) from error


def _check(sent: PlanSent) -> None:
    for name in ("input_tokens", "max_output_tokens"):
        tokens: int | None = getattr(sent, name)
        if tokens is not None and not 0 <= tokens <= _MOST_TOKENS:
            raise invalid(f"{name} is {tokens}.", f"Write a number of tokens from 0 to {_MOST_TOKENS}.")


def _grant(gate: Gate, grant: Grant) -> OwnGrantRow:
    meter = gate.tree.meter(grant.id)
    left = {} if meter is None else {window.budget.unit: max(0, window.remaining) for window in meter.windows}
    amount = None if grant.amount is None else format_amount(left.get(grant.unit, 0), grant.unit)
    return OwnGrantRow(
        id=grant.id,
        role=grant.role,
        bound=grant.bound,
        suspends=grant.suspends,
        budgets=grant.budgets,
        tool=grant.tool,
        amount_left=amount,
        unit=grant.unit,
        uses_left=None if grant.uses is None else left.get("tool_calls" if grant.tool else "calls", 0),
        expires_at=format_instant(grant.expires_at_ns),
    )


def _ticket(ticket: Ticket) -> OwnTicketRow:
    due_at = format_instant(ticket.due_at_ns)
    return OwnTicketRow(ticket.id, ticket.state, ticket.role, ticket.model, ticket.tool, due_at)


def _apis(gate: Gate, name: str | None) -> Sequence[Planned]:
    found = [api for api in gate.planned if name in {None, api.dialect.name}]
    if not found:
        known = [api.dialect.name for api in gate.planned]
        raise invalid(f"No call of the API {name!r} can be planned.", did_you_mean(name or "", known))
    return found


def _models(gate: Gate, caller: Caller, apis: Sequence[Planned]) -> Sequence[ModelRow]:
    """By name; patterns of the registry as they stand there."""
    families = dict.fromkeys(api.dialect.family for api in apis)
    names = {each.name for family in families for each in reachable_by(gate, family, caller, patterns=True)}
    return [ModelRow(name, _class_of(caller, name)) for name in sorted(names)]


def _class_of(caller: Caller, name: str) -> str | None:
    """Of an alias: that of the model behind it, if it is one."""
    registry = caller.registry
    entry = registry.models.get(registry.routing.target(name))
    return None if entry is None else entry.model_class


def _planned(model: str, seen: Outlook) -> PlannedRow:
    answer, cheapest = seen.answer, seen.cheapest
    cheapest_row = None if cheapest is None else CheapestRow(cheapest.model, format_usd(cheapest.estimate_nanos))
    if not isinstance(answer, Offer):
        refusal = answer.refusal
        return PlannedRow(
            model, seen.dialect, False, None, None, None, refusal.limit, None, seen.largest_output_tokens, cheapest_row,
            refusal,
        )  # fmt: skip
    weighed, afforded = answer.permit.weighed, answer.afforded
    priced = weighed.rates or weighed.bound.free
    return PlannedRow(
        model=model,
        dialect=seen.dialect,
        allowed=True,
        served_model=weighed.decision.name,
        provider=weighed.decision.provider.name,
        output_limit=afforded.output_limit,
        binds=afforded.lowered_by,
        estimate_usd=format_usd(weighed.bound.cost_nanos(afforded.whole_output)) if priced else None,
        largest_output_tokens=seen.largest_output_tokens,
        cheapest=cheapest_row,
        refusal=None,
    )


def _claims(session: Session) -> Claims:
    """As a credential of it would have them."""
    return Claims(
        credential_id=session.credential,
        identity=session.identity,
        session=session.id,
        issued_at_ns=session.opened_at_ns,
        expires_at_ns=session.expires_at_ns,
        minted_by=session.minted_by,
    )


async def _simulate(office: Office, asked: OperatorAsked[NoQuery, SimulateSent]) -> AllowanceRow:
    """What an identity or a session may spend now, and what would become of a call of its. Nothing is held or sent."""
    return await simulate(office, asked.body)


ROUTES = (Route("POST", "/simulation", "viewer", _simulate, problems=(404, 409, 422)),)
