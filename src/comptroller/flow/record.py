"""Record: what is written down of a call, so that everyone reads the same truth."""

from __future__ import annotations

from comptroller.core.budget.hold import WindowKey
from comptroller.core.effect import Effect
from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.flow.answer import failure
from comptroller.flow.attempt import Attempt
from comptroller.flow.called import called_by
from comptroller.flow.caller import Caller
from comptroller.flow.decide import Decision
from comptroller.flow.dialect import Dialect
from comptroller.flow.door import CallerRequest
from comptroller.flow.findings import report
from comptroller.flow.gate import Gate
from comptroller.flow.records import CallFacts, Held, Refused, Ruling, Settled
from comptroller.flow.reservation import Reservation
from comptroller.flow.settle import Receipt
from comptroller.flow.tool_sets import ToolSet

_LARGEST_NUMBER = 2**63 - 1  # that a journal and a table take; whoever asks for more tokens means "any number"


def call_facts(  # noqa: PLR0913, PLR0917 - a call has many facts
    dialect: Dialect,
    call_id: str,
    caller: Caller,
    at_ns: int,
    asked: Asked | None,
    decision: Decision | None,
    body: bytes,
    digest: str | None,
    sender: CallerRequest,
    ruling: Ruling | None = None,
    effects: tuple[Effect, ...] = (),
    tools: ToolSet | None = None,
) -> CallFacts:
    """Who called for what. Attribution comes from the credential and the registry alone."""
    identity, registry = caller.identity, caller.registry
    tool = asked.tool if asked else None
    return CallFacts(
        call_id=call_id,
        at_ns=at_ns,
        dialect=dialect.name,
        identity=identity.id,
        kind=identity.kind,
        owner=identity.owner,
        team=identity.team,
        environment=identity.environment,
        organization=registry.organization.name,
        session=caller.claims.session,
        chain=caller.names,
        registry_version=registry.version,
        model=None if tool else (decision.name if decision else asked.model if asked else None) or None,
        provider=decision.provider.name if decision else None,
        model_class=decision.model.model_class if decision else None,
        price_version=registry.prices.version,
        stream=asked.stream if asked else False,
        body_bytes=len(body),
        body_digest=digest,
        policy_version=registry.policies.version,
        policies=ruling.policies if ruling else (),
        asked_model=asked.model if asked and decision and not tool and asked.model != decision.name else None,
        routed_by=ruling.routed_by if ruling else None,
        client_address=sender.address,
        client_session=sender.session_hint,
        above=caller.above,
        billed_team=caller.billed_team,
        effects=effects,
        tools_digest=None if tools is None else tools.digest,
        tool=tool.name if tool else None,
        arguments_digest=(tool.arguments_digest or None) if tool else None,
        cause=tool.cause if tool else None,
    )


def record_hold(gate: Gate, reservation: Reservation) -> Held:
    """The journal's event for a hold."""
    asked = reservation.request.asked.output_limit
    return Held(
        attempt_id=reservation.attempt_id,
        facts=reservation.facts,
        epoch=gate.journal.epoch,
        amounts=reservation.hold.amounts,
        windows=reservation.drawn,
        input_tokens_bound=reservation.estimate.input_tokens,
        output_limit=reservation.output_limit,
        asked_output_limit=None if asked is None else min(asked, _LARGEST_NUMBER),
        choices=reservation.estimate.choices,
        factor_bp=reservation.estimate.factor_bp,
        shadowed=reservation.shadowed,
    )


def record_refusal(  # noqa: PLR0913 - a refusal has many facts
    gate: Gate,
    request: CallerRequest,
    dialect: Dialect,
    call_id: str,
    caller: Caller,
    refusal: Refusal,
    *,
    body: bytes = b"",
    asked: Asked | None = None,
    ruling: Ruling | None = None,
    effects: tuple[Effect, ...] = (),
    tools: ToolSet | None = None,
) -> Refusal:
    """Write down that a known identity was refused; returns the refusal."""
    digest = gate.credentials.digest(body) if body else None
    now_ns = gate.clock.now_ns()
    facts = call_facts(dialect, call_id, caller, now_ns, asked, None, body, digest, request, ruling, effects, tools)
    gate.journal.offer(Refused(facts, refusal))
    gate.observer.refused(request, dialect.name, call_id, refusal, facts)
    return refusal


def record_settlement(
    gate: Gate, request: CallerRequest, reservation: Reservation, attempt: Attempt, receipt: Receipt
) -> None:
    """Write down how the hold ended, and what a person should look at."""
    attempt.called = called_by(gate, attempt)
    settled = _settled(gate, reservation, attempt, receipt)
    if attempt.journalled:
        gate.journal.append(settled)
        for event in receipt.events:
            report(gate, event, reservation.facts)
    else:
        gate.journal.offer(Refused(reservation.facts, failure(reservation, attempt, settled.end)))
    gate.observer.settled(request, attempt, settled)


def _charged(reservation: Reservation, receipt: Receipt) -> tuple[WindowKey, ...]:
    """The rows of the ledger that its end is posted in: a void one is no use of a grant (core/budget/tree.py)."""
    if receipt.settlement.end != "voided":
        return reservation.drawn
    grants = {meter.key for meter in reservation.hold.draw.lift.meters}
    return tuple(key for key in reservation.drawn if key not in grants) if grants else reservation.drawn


def _settled(gate: Gate, reservation: Reservation, attempt: Attempt, receipt: Receipt) -> Settled:
    now_ns = gate.clock.now_ns()
    return Settled(
        attempt_id=reservation.attempt_id,
        call_id=reservation.call_id,
        at_ns=now_ns,
        end=receipt.settlement.end,
        posted=receipt.settlement.posted,
        windows=_charged(reservation, receipt),
        outcome=attempt.outcome,
        detail=attempt.detail,
        status=attempt.status,
        usage=receipt.usage,
        served_model=attempt.served_model,
        service_tier=receipt.tier,
        priced=receipt.priced,
        overrun=receipt.overrun,
        first_byte_ns=attempt.first_byte_ns,
        duration_ns=now_ns - reservation.taken_at_ns,
        counterfactual_nanos=receipt.counterfactual_nanos,
        called=attempt.called,
    )
