"""Failover: when an attempt that came to nothing is followed by one at another provider, and what is said of it.

Pure, but for the attempt that it looks at: which failures another provider could mend is a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from comptroller.core.budget.hold import HoldEnd
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.money import format_usd
from comptroller.core.refusal import Refusal
from comptroller.flow.attempt import Attempt
from comptroller.flow.gate import Limits
from comptroller.flow.outcome import Outcome
from comptroller.flow.reservation import Tried
from comptroller.flow.settle import Receipt

UNANSWERED: frozenset[Outcome] = frozenset(
    {"provider_unreachable", "provider_timeout", "provider_cut", "provider_malformed"}
)
"""Ends that another provider could mend as long as no status has come: nobody has seen any output."""

MENDABLE_STATUSES = frozenset({401, 402, 403, 429, *range(500, 600)})
"""Answers that are about this provider or our account with it. Any other is about the request: it would come again."""

_HAPPENED: Mapping[Outcome, str] = {
    "provider_unreachable": "could not be reached",
    "provider_timeout": "did not answer in time",
    "provider_cut": "broke off the connection",
    "provider_malformed": "sent something that is no answer",
}
_COST: Mapping[HoldEnd, str] = {
    "posted": "{} USD is charged for that",
    "presumed": "{} USD is charged for that as presumed",
    "voided": "nothing is charged for that",
}


def mendable(outcome: Outcome, status: int | None) -> bool:
    """Whether another provider could mend an attempt that ended like this."""
    if status is None:
        return outcome in UNANSWERED
    return outcome.startswith("provider_") and status in MENDABLE_STATUSES


def goes_on(attempt: Attempt, limits: Limits, now_ns: int) -> bool:
    """Whether the call may be tried once more, elsewhere.

    Never once the caller has been sent anything, has left, or was cut off, and not for longer than the limits allow.
    """
    reservation = attempt.reservation
    begun_ns = reservation.tried[0].taken_at_ns if reservation.tried else reservation.taken_at_ns
    return (
        mendable(attempt.outcome, attempt.status)
        and not attempt.reply.started
        and not attempt.unheard
        and attempt.line.reason is None
        and len(reservation.tried) < limits.failover_attempts
        and now_ns - begun_ns < limits.failover_s * NANOS_PER_SECOND
    )


def tried_so_far(attempt: Attempt, receipt: Receipt) -> tuple[Tried, ...]:
    """The attempts of a call, this one last."""
    reservation, done = attempt.reservation, receipt.settlement
    this = Tried(
        reservation.decision.provider.name,
        attempt.outcome,
        attempt.status,
        done.end,
        done.posted.usd,
        reservation.taken_at_ns,
    )
    return (*reservation.tried, this)


def after(refusal: Refusal, tried: Sequence[Tried]) -> Refusal:
    """A refusal of a further attempt, or of its failure: it says first what the earlier ones came to."""
    if not tried:
        return refusal
    before = ". Then ".join(f"the provider {each.provider} {_happened(each)} ({_cost(each)})" for each in tried)
    return msgspec.structs.replace(refusal, sentence=f"First {before}. Then: {refusal.sentence}")


def _happened(each: Tried) -> str:
    return f"answered with HTTP {each.status}" if each.status is not None else _HAPPENED[each.outcome]


def _cost(each: Tried) -> str:
    return _COST[each.end].format(format_usd(each.charge_nanos))
