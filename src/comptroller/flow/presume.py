"""Presume: what is charged where nobody has said what was billed. Never less than what was said or seen."""

from __future__ import annotations

from comptroller.core.budget.hold import NOTHING, Amounts
from comptroller.core.pricing.charge import charge_nanos
from comptroller.core.pricing.estimate import Estimate
from comptroller.core.pricing.rates import Rates
from comptroller.core.pricing.usage import Usage
from comptroller.flow.attempt import Attempt
from comptroller.flow.reservation import Reservation
from comptroller.flow.slices import amounts
from comptroller.flow.told import with_told


def most(reservation: Reservation, attempt: Attempt) -> Amounts:
    """The most that it can have cost: what is held, unless that was for less.

    A stream in slices that was not answered as a stream may have been made whole, and nobody saw any of it. And an
    input that is told to be larger than its bound was billed like that, whatever is held for it.
    """
    held, bound = reservation.hold.amounts, _bound(reservation, attempt)
    unmetered = attempt.phase == "answering" and attempt.meter is None
    if unmetered or amounts(bound, 0).exceeds(amounts(reservation.estimate, 0)):
        return held.most(amounts(bound, reservation.whole_output))
    return held


def seen(reservation: Reservation, attempt: Attempt) -> Amounts | None:
    """A bound of what was billed until we stopped: what came plus the tail. None if that cannot be known."""
    provider, model = reservation.decision.provider, reservation.decision.model
    if not provider.abort_stops_billing or provider.tail_tokens is None or not model.visible_output:
        return None
    if reservation.request.asked.hides_output or reservation.request.asked.deferred:
        return None
    if not reservation.request.asked.stream or (attempt.meter is None and attempt.phase != "written"):
        return None
    came = attempt.meter.seen_output_tokens if attempt.meter is not None else 0
    bound = _bound(reservation, attempt)
    return amounts(bound, came + provider.tail_tokens * bound.choices)


def told(reservation: Reservation, attempt: Attempt, rates: Rates | None) -> Amounts:
    """What its last report came to, though more may have followed: reports are running totals."""
    usage = _reported(attempt)
    if usage is None or reservation.estimate.free:
        return NOTHING
    nanos = charge_nanos(usage, rates) if rates is not None else 0
    return Amounts(nanos, usage.total_tokens, 0, usage.reasoning_tokens)


def _reported(attempt: Attempt) -> Usage | None:
    if attempt.meter is None:
        return None
    return attempt.meter.usage or attempt.meter.input_usage


def _bound(reservation: Reservation, attempt: Attempt) -> Estimate:
    """With what the stream has told of its input: where it held more for it, only if it gave that back."""
    bound = reservation.estimate if attempt.lease is None else attempt.lease.bound
    reported = attempt.meter.input_usage if attempt.meter is not None else None
    exact = with_told(reservation, reported) if reported is not None else None
    return exact if exact is not None and amounts(exact, 0).exceeds(amounts(bound, 0)) else bound
