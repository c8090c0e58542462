"""Calls: one row for each governed call, refused ones too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from comptroller.control.call_record import AttemptRecord, CallRecord
from comptroller.control.interfaces import CallFilter
from comptroller.control.office import Office
from comptroller.control.problem import not_found
from comptroller.control.retention import pruned
from comptroller.core.effect import EffectKind
from comptroller.core.ids import attempt_id
from comptroller.core.instant import format_instant
from comptroller.core.money import format_usd
from comptroller.core.work.session import Session
from comptroller.flow.outcome import Outcome

OutcomeWord = Outcome | Literal["refused", "open"]


class AttemptRow(msgspec.Struct, frozen=True):
    """One attempt of a call that had several."""

    id: str  # as the provider was told it
    provider: str | None
    model: str | None
    outcome: str
    status: int | None
    presumed: bool
    held_usd: str
    charge_usd: str
    corrected: bool


class EffectRow(msgspec.Struct, frozen=True):
    """One thing that one control did to a call (core/effect.py)."""

    kind: EffectKind
    rule: str
    detail: str


class CalledRow(msgspec.Struct, frozen=True):
    """A tool that the answer of a model calls (core/tool/called.py)."""

    name: str
    arguments_digest: str  # '' where they were too long to be kept


class CallRow(msgspec.Struct, frozen=True):
    """Money in decimal strings of USD; what a call does not have (yet) is null."""

    id: str
    at: str
    identity: str
    owner: str
    team: str
    environment: str
    session: str
    task: str | None  # TYPE:REFERENCE, as its session said it
    chain: Sequence[str]  # who acted, above whom it stood, ..., the root
    provider: str | None
    model: str | None
    served_model: str | None
    outcome: str  # flow/outcome.py, or `refused`, or `open`
    refusal: str | None  # its code
    presumed: bool
    attempts: int
    held_usd: str | None
    charge_usd: str | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    corrected: bool
    policy_version: str | None
    price_version: str | None
    policies: Sequence[str] = ()  # the determining ones
    asked_model: str | None = None  # where the call went to another one, `model`
    routed_by: str | None = None  # what led it there: a policy by its id, `route:NAME`, or `budget:NAME SHARE`
    client_address: str | None = None  # where the caller was, as far as it is known
    client_session: str | None = None  # what the caller's program calls its session; it is the caller's word alone
    dialect: str = ""  # the API that it came through, such as `anthropic_messages`
    billed_team: str = ""  # who pays: `team`, or that of the root where `bill_to` says so
    tried: Sequence[AttemptRow] = ()  # each attempt that has ended, in order, where there were several
    effects: Sequence[EffectRow] = ()  # what controls did to it short of refusing it
    counterfactual_usd: str | None = None  # of a routed call: the same usage on the model that it would have gone to
    called: Sequence[CalledRow] = ()  # the tools that the model's answer calls
    tools_digest: str | None = None  # of the definitions of tools that the request offers to the model
    tool: str | None = None  # that is called, as SERVER/TOOL; then there is no model
    server: str | None = None  # whose tool it is
    arguments_digest: str | None = None  # keyed, of what the tool is called with
    cause: str | None = None  # the call to a model whose answer asked for it
    result_bytes: int | None = None  # of the tool's result, as it was handed on
    deferred: bool = False  # it is open because its provider goes on after its answer


async def list_calls(office: Office, wanted: CallFilter) -> Sequence[CallRow]:
    """The calls that match, newest first."""
    await office.catch_up()
    records = await office.ledger.calls(wanted)
    sessions = await office.ledger.some_sessions(list({record.facts.session for record in records}))
    return [call_row(record, sessions.get(record.facts.session)) for record in records]


async def find_call(office: Office, call_id: str) -> CallRecord:
    """One call, as the books have it now. Raises ControlProblem for one that they do not have, or not any more."""
    await office.catch_up()
    record = await office.ledger.call(call_id)
    if record is None:
        raise await pruned(office.ledger, call_id) or not_found(
            f"There is no call {call_id!r} in the books.",
            "`comptroller calls` lists them; an answer names its own in the header x-comptroller-call-id.",
        )
    return record


def call_row(record: CallRecord, session: Session | None) -> CallRow:
    """The row of a call of this session; None: nobody knows it any more."""
    facts, usage, unrouted = record.facts, record.usage, record.counterfactual_nanos
    return CallRow(
        id=facts.call_id,
        at=format_instant(facts.at_ns),
        identity=facts.identity,
        owner=facts.owner,
        team=facts.team,
        environment=facts.environment,
        session=facts.session,
        task=None if session is None else session.task_key,
        chain=facts.chain,
        provider=facts.provider,
        model=facts.model,
        served_model=record.served_model,
        outcome=outcome_word(record),
        refusal=record.refusal.code if record.refusal is not None else None,
        presumed=is_presumed(record),
        attempts=record.attempts,
        held_usd=format_usd(record.held.usd) if record.held is not None else None,
        charge_usd=format_usd(record.charge.usd) if record.charge is not None else None,
        input_tokens=usage.input_tokens if usage is not None else None,
        cached_tokens=usage.cached_tokens if usage is not None else None,
        output_tokens=usage.output_tokens if usage is not None else None,
        reasoning_tokens=usage.reasoning_tokens if usage is not None else None,
        corrected=record.corrected > 0,
        policy_version=facts.policy_version,
        price_version=facts.price_version,
        policies=facts.policies,
        asked_model=facts.asked_model,
        routed_by=facts.routed_by,
        client_address=facts.client_address,
        client_session=facts.client_session,
        dialect=facts.dialect,
        billed_team=facts.billed_team or facts.team,
        counterfactual_usd=None if unrouted is None else format_usd(unrouted),
        effects=[EffectRow(each.kind, each.rule, each.detail) for each in facts.effects],
        called=[CalledRow(each.name, each.arguments_digest) for each in record.called],
        tools_digest=facts.tools_digest,
        tool=facts.tool,
        server=facts.tool.partition("/")[0] if facts.tool else None,
        arguments_digest=facts.arguments_digest,
        cause=facts.cause,
        result_bytes=usage.result_bytes if facts.tool and usage is not None else None,
        deferred=record.deferral is not None,
        tried=[_attempt_row(facts.call_id, number, each) for number, each in enumerate(record.tried, 1)],
    )


def _attempt_row(call_id: str, number: int, record: AttemptRecord) -> AttemptRow:
    return AttemptRow(
        id=attempt_id(call_id, number),
        provider=record.provider,
        model=record.model,
        outcome=record.outcome,
        status=record.status,
        presumed=record.presumed,
        held_usd=format_usd(record.held_nanos),
        charge_usd=format_usd(record.charge.usd),
        corrected=record.corrected > 0,
    )


def outcome_word(record: CallRecord) -> str:
    """How it ended, or that it was refused, or that it is still in flight."""
    if record.state in {"open", "refused"}:
        return record.state
    return record.outcome or record.state


def is_presumed(record: CallRecord) -> bool:
    """True while the charge, or a part of it, is a bound that nobody has confirmed."""
    if record.tried:
        return any(each.presumed for each in record.tried)
    return record.state == "presumed" and not record.corrected
