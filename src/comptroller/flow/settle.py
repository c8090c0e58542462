"""Settle: end the hold, once, with the exact charge or with a bound that is not below it."""

from __future__ import annotations

import msgspec

from comptroller.core.budget.bounds import Bound
from comptroller.core.budget.hold import NOTHING, Amounts, HoldEnd
from comptroller.core.budget.settlement import Settlement, settlement
from comptroller.core.pricing.charge import charge_nanos
from comptroller.core.pricing.deferral import Doubt
from comptroller.core.pricing.input_counts import is_text
from comptroller.core.pricing.rates import Rates
from comptroller.core.pricing.terms import Terms
from comptroller.core.pricing.usage import Usage
from comptroller.flow.attempt import Attempt
from comptroller.flow.gate import Gate
from comptroller.flow.presume import most, seen, told
from comptroller.flow.records import BoundChanged, CallFacts, Finding
from comptroller.flow.reservation import Reservation
from comptroller.flow.slices import amounts, size_key

_ANSWERED = frozenset({"completed", "client_gone", "provider_malformed"})
_MORE_AFTER_A_CUT = 2  # as large as it would have been, nobody knows


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """How a call was settled."""

    settlement: Settlement
    usage: Usage | None  # the provider's own final report
    tier: str | None
    priced: bool
    overrun: bool
    events: tuple[BoundChanged | Finding, ...]
    counterfactual_nanos: int | None = None  # the same usage on the model that it would have gone to unrouted


def settle(gate: Gate, reservation: Reservation, attempt: Attempt) -> Receipt:
    """Post, presume or void the hold by the settlement table. Does not wait."""
    usage = attempt.usage
    terms = reservation.terms
    tier, rates = terms.billed(usage)
    exact = _exact(reservation, terms, usage, rates)
    done = settlement(
        attempt.phase,
        most(reservation, attempt),
        exact=exact,
        seen=seen(reservation, attempt),
        told=told(reservation, attempt, rates),
        # What a redirect did is not known to anybody: only errors that say so are free.
        bills_errors=reservation.decision.provider.bills_errors or (attempt.status or 0) < 500,
    )
    bounded = reservation.bounded and not reservation.asked.fees
    overrun = bounded and done.posted.exceeds(reservation.hold.amounts)
    ran_ahead = _ran_ahead(attempt, done)
    gate.tree.settle(reservation.attempt_id, done.posted, void=done.end == "voided")
    _close(gate, reservation, attempt)
    if reservation.input_taken:
        _count_input(gate, reservation, usage, done)
    _remember(gate, reservation, attempt, usage if done.end == "posted" else None, overrun=overrun)
    events = (
        *_overrun_events(gate, reservation, done, overrun),
        *_ahead_events(gate, reservation, ran_ahead),
        *_doubts(gate, reservation, attempt, done, terms),
    )
    asked = reservation.asked
    priced = reservation.estimate.free or asked.tool is not None or (bool(reservation.rates) and not asked.fees)
    instead = reservation.terms_instead
    unrouted = None if instead is None else counterfactual(instead, usage, done.end)
    return Receipt(done, usage, tier, priced, overrun or ran_ahead, events, unrouted)


def counterfactual(instead: Terms, usage: Usage | None, end: HoldEnd) -> int | None:
    """What a routed call would have cost unrouted, in nano-USD; None where nobody knows: presumed, or without a price.

    It is the same usage at other rates. What the other model would have said, and at what length, nobody knows.
    """
    return instead.price(usage) if usage is not None and end == "posted" else None


def _exact(reservation: Reservation, terms: Terms, usage: Usage | None, rates: Rates | None) -> Amounts | None:
    """The exact charge; None if usage or the price of any of it is not known."""
    if reservation.estimate.free:
        return NOTHING
    if usage is None:
        return None
    if usage.asks:
        return Amounts(result_bytes=usage.result_bytes)  # a round is no call: the one that carries it out is
    if reservation.asked.tool is not None:
        charged = 0 if rates is None else charge_nanos(usage, rates)
        return Amounts(charged, tool_calls=1, result_bytes=usage.result_bytes)
    if not terms.rates:
        return Amounts(0, usage.total_tokens, 1, usage.reasoning_tokens)
    if rates is None or terms.unpriced(usage, rates):
        return None
    return Amounts(charge_nanos(usage, rates), usage.total_tokens, 1, usage.reasoning_tokens)


def _ran_ahead(attempt: Attempt, done: Settlement) -> bool:
    """Whether what is presumed for a stream in slices may be too low: more of it came than was held."""
    lease, meter = attempt.lease, attempt.meter
    return done.end == "presumed" and lease is not None and meter is not None and lease.left_behind(meter)


def _close(gate: Gate, reservation: Reservation, attempt: Attempt) -> None:
    """The hold is no more. What came teaches how much the next of its kind should hold at first."""
    if attempt.lease is not None:
        attempt.lease.close()
    if attempt.meter is not None and reservation.leased and attempt.outcome in {"completed", "capped"}:
        more = _MORE_AFTER_A_CUT if attempt.outcome == "capped" else 1
        gate.sizes.learn(size_key(reservation.caller, reservation.decision), more * attempt.meter.seen_output_tokens)


def _count_input(gate: Gate, reservation: Reservation, usage: Usage | None, done: Settlement) -> None:
    """What its session has sent, as far as anybody was billed for it."""
    billed = 0 if done.end == "voided" else reservation.input_taken if usage is None else usage.input_tokens
    text = reservation.request.asked.text_tokens if is_text(reservation.asked) and usage is not None else 0
    gate.inputs.end(reservation.caller.session.id, reservation.input_taken, billed, text)


def _remember(gate: Gate, reservation: Reservation, attempt: Attempt, usage: Usage | None, *, overrun: bool) -> None:
    """What this prompt was billed as bounds the next one that extends it. Not where we changed more than the limit."""
    asked, session = reservation.request.asked, reservation.caller.session.id
    if overrun:
        if reservation.spared_tokens:
            gate.prefixes.distrust(session)
        return
    unchanged = reservation.output_limit == reservation.estimate.wanted_output_tokens
    if asked.prompt is not None and usage is not None and attempt.outcome == "completed" and unchanged:
        provider = reservation.decision.provider.name
        gate.prefixes.remember(session, provider, reservation.decision.sent_as, asked.prompt, usage.input_tokens)


def _overrun_events(
    gate: Gate, reservation: Reservation, done: Settlement, overrun: bool
) -> tuple[BoundChanged | Finding, ...]:
    if not overrun:
        return ()
    held, billed, estimate = reservation.hold.amounts, done.posted, reservation.estimate
    whole = amounts(estimate, reservation.whole_output)
    said = "Billed" if done.end == "posted" else "Charged, as nobody said what was billed,"
    said += f" {billed.usd} nano-USD and {billed.tokens} tokens over a hold of {held.usd} and {held.tokens}; "
    if billed.exceeds(whole) and not billed.exceeds(_by_its_bytes(reservation)):
        said += "what was billed for a part of this prompt did not bound it: the bytes of its session's prompts do now."
        name = Bound(*_bound_key(reservation.facts)).name
        return (Finding(gate.clock.now_ns(), "overrun", reservation.call_id, name, said),)
    return overrun_events(gate, reservation.facts, whole, billed, estimate.factor_bp, said)


def overrun_events(
    gate: Gate, facts: CallFacts, whole: Amounts, billed: Amounts, factor_bp: int, said: str
) -> tuple[BoundChanged, Finding]:
    """The truth is recorded; the bound that was wrong is raised, and stopped after repeats.

    `whole`: the bound of the call. `said`: what was billed, over what hold.
    """
    now_ns, key = gate.clock.now_ns(), _bound_key(facts)
    bound = gate.bounds.get(key) or Bound(*key)
    if billed.exceeds(whole):
        bound = bound.after_overrun(whole, billed, factor_bp, now_ns)
        so = f"held at {bound.factor_bp / 10_000:.2f} times its bound from now on"
    else:  # the bound was right, and what was held of it was too little
        bound = bound.after_running_ahead(now_ns)
        so = "ahead of what it shows of its streams, so they are held in full for a day"
    gate.bounds[key] = bound
    said += f"{bound.name} is {so}{' and is quarantined' if bound.quarantined else ''}."
    return (
        BoundChanged(
            now_ns, "gateway", "overrun", bound.provider, bound.model, bound.dialect,
            bound.overruns, bound.factor_bp, bound.quarantined, bound.last_overrun_ns,
        ),
        Finding(now_ns, "overrun", facts.call_id, bound.name, said),
    )  # fmt: skip


def _bound_key(facts: CallFacts) -> tuple[str, str, str]:
    return facts.provider or "", facts.model or "", facts.dialect


def _by_its_bytes(reservation: Reservation) -> Amounts:
    """The bound of a call if no part of its prompt had been metered before."""
    estimate = reservation.estimate
    whole = msgspec.structs.replace(estimate, input_tokens=estimate.input_tokens + reservation.spared_tokens)
    return amounts(whole, reservation.whole_output)


def _ahead_events(gate: Gate, reservation: Reservation, ran_ahead: bool) -> tuple[Finding, ...]:
    """A stream that brought more at once than was held for it, and was cut: nobody knows yet what it billed."""
    if not ran_ahead:
        return ()
    tail, name = reservation.tail_tokens, reservation.decision.name
    sentence = (
        f"{reservation.decision.provider.name} sent more at once than was held for this stream, and may have made "
        f"{tail} tokens beyond that (tail_tokens); the hold is charged. Correct it when the bill is known."
    )
    return (Finding(gate.clock.now_ns(), "overrun", reservation.call_id, name, sentence),)


def _doubts(
    gate: Gate, reservation: Reservation, attempt: Attempt, done: Settlement, terms: Terms
) -> tuple[Finding, ...]:
    """Findings about a charge that had to be presumed although the provider answered."""
    if done.end != "presumed" or attempt.outcome not in _ANSWERED or attempt.phase != "answering":
        return ()
    provider, name = reservation.decision.provider.name, reservation.decision.name
    usage = attempt.usage
    tier, rates = terms.billed(usage)
    doubt: Doubt = ("usage_missing", "")
    if usage is not None:
        what = " and ".join(terms.unpriced(usage, rates)) if rates is not None else ""
        doubt = ("tier_unpriced", tier) if rates is None else ("usage_unpriced", what)
    return (doubt_of(gate.clock.now_ns(), reservation.call_id, provider, name, doubt),)


def doubt_of(now_ns: int, call_id: str, provider: str, model: str, doubt: Doubt) -> Finding:
    """The finding about a charge that had to be presumed although the provider answered."""
    code, what = doubt
    match code:
        case "usage_missing":
            sentence = f"{provider} answered without a valid usage; the charge is presumed."
        case "tier_unpriced":
            sentence = f"{provider} billed service tier {what!r}, which has no price; presumed."
        case _:
            sentence = f"{provider} billed {what}, which cannot be priced; presumed."
    return Finding(now_ns, code, call_id, model, sentence)
