"""Rates: what each of them lets through, how much of that is taken, and who waits, now."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comptroller.control.office import Office
from comptroller.core.budget.scope import Scope
from comptroller.core.instant import format_instant
from comptroller.core.rate.limits import Limiter
from comptroller.core.rate.rate import Unit


class RateRow(msgspec.Struct, frozen=True):
    """One instance of a rate, as the gateway that answers has it in memory."""

    name: str
    instance: str  # "" for one pool, or for a rate `per` something of which nothing is taken
    scope: Scope
    per: str | None
    unit: Unit  # calls, tokens or at_once
    limit: str  # as it stands in the registry
    burst: int  # the most that may come at one instant
    mode: str
    wait_ms: int
    used: int  # of the burst; more than all of it after an overrun
    remaining: int
    next_free_at: str | None  # when one call or token fits; None: now, or nobody knows when a call that runs will end
    waiting: int


def list_rates(office: Office) -> Sequence[RateRow]:
    """Every rate in force, in the order of their names, each with the instances of which something is taken."""
    pace = office.gate.pace
    steady_ns, now_ns = pace.steady_ns(), office.gate.clock.now_ns()
    return [_row(limiter, steady_ns, now_ns) for limiter in pace.limits.limiters(steady_ns)]


def _row(limiter: Limiter, steady_ns: int, now_ns: int) -> RateRow:
    rate = limiter.rate
    known = rate.unit != "at_once" and not limiter.fits(1, steady_ns)
    wait_ns = limiter.free_at(1, 0, steady_ns) - steady_ns if known else 0
    return RateRow(
        name=rate.name,
        instance=limiter.instance,
        scope=rate.scope,
        per=rate.per,
        unit=rate.unit,
        limit=str(rate.pace),
        burst=rate.burst,
        mode=rate.mode,
        wait_ms=rate.wait_ms,
        used=limiter.used(steady_ns),
        remaining=limiter.remaining(steady_ns),
        next_free_at=format_instant(now_ns + wait_ns) if wait_ns else None,
        waiting=len(limiter.turns),
    )
