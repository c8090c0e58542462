"""What is read off the process when somebody scrapes: nothing of this costs a call anything."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from comptroller.core.budget.budget import Budget
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.rate.rate import Rate
from comptroller.core.work.stop import STOP_SCOPES, StopScope
from comptroller.flow.gate import Gate
from comptroller.telemetry import families as f
from comptroller.telemetry.capped import OTHER
from comptroller.telemetry.histogram import Histogram
from comptroller.telemetry.tally import Tally

_AT_ONCE = 500  # things looked at before the loop gets a turn

Labels = dict[str, str]
Reading = tuple[Labels, float]
Measured = tuple[Labels, Histogram]


class JournalNumbers(Protocol):
    """Of whoever keeps the journal (store/journal.py)."""

    dropped: int

    @property
    def queued(self) -> int: ...
    @property
    def lost(self) -> int: ...
    @property
    def unfolded(self) -> int: ...
    @property
    def healthy(self) -> bool: ...


class PoolNumbers(Protocol):
    """Of whoever connects to providers (gateway/egress.py)."""

    opened: int

    @property
    def active(self) -> int: ...
    @property
    def idle(self) -> int: ...


class ReceiverNumbers(Protocol):
    """Of one receiver of notices (control/notices.py)."""

    delivered: int
    failed: int
    dropped: int
    dead: int

    @property
    def waiting(self) -> Mapping[str, object]: ...
    @property
    def oldest_ns(self) -> int | None: ...


class OutboxNumbers(Protocol):
    """Of whoever tells people."""

    @property
    def receivers(self) -> Mapping[str, ReceiverNumbers]: ...


@dataclass(frozen=True)
class Sources:
    """The parts of a process that have numbers."""

    gate: Gate
    tally: Tally
    journal: JournalNumbers
    pool: PoolNumbers
    log_lines: Mapping[str, int]
    ready: Callable[[], bool]
    version: str
    outbox: OutboxNumbers | None = None  # None: nobody is told of anything


async def readings(sources: Sources) -> AsyncIterator[tuple[f.Family, list[Reading] | list[Measured]]]:
    """Every family with its values. The loop gets its turn in between, however much there is to look at."""
    tally = sources.tally
    for family, values in _of_calls(tally):
        yield family, values
        await asyncio.sleep(0)
    yield (
        f.REFUSALS,
        [
            (_named(f.REFUSALS, (*labels, code)), count)
            for labels, codes in tally.refusals.items()
            for code, count in codes.items()
        ],
    )
    yield f.ANSWERS, list(_answers(tally))
    yield f.FAILOVERS, [(_named(f.FAILOVERS, labels), count) for labels, count in tally.failovers.items()]
    yield f.EFFECTS, [(_named(f.EFFECTS, labels), count.value) for labels, count in tally.effects.items()]
    yield f.ADMISSION, [({}, tally.admission)]
    yield f.FIRST_BYTE, [(_named(f.FIRST_BYTE, labels), each.first_byte) for labels, each in tally.durations.items()]
    yield f.CALL, [(_named(f.CALL, labels), each.call) for labels, each in tally.durations.items()]
    yield f.WRITE, [({}, tally.written)]
    yield f.LAG, [({}, tally.loop_lag)]
    yield f.LOG_LINES, [({"event": event}, count) for event, count in sources.log_lines.items()]
    yield f.REMAINING, await _remaining(sources.gate, tally.most)
    for family, values in (*await _rates(sources.gate, tally.most), *_of_notices(sources), *_of_process(sources)):
        yield family, values


def _of_calls(tally: Tally) -> Iterator[tuple[f.Family, list[Reading]]]:
    accounts = [(_named(f.CHARGE, labels), account) for labels, account in tally.accounts.items()]
    yield (
        f.CALLS,
        [
            ({**labels, "outcome": outcome, "end": end}, count)
            for labels, account in accounts
            for (outcome, end), count in account.calls.items()
        ],
    )
    yield (
        f.TOKENS,
        [
            ({**labels, "meter": meter}, count)
            for labels, account in accounts
            for meter, count in account.tokens.items()
        ],
    )
    yield f.CHARGE, [(labels, account.charge_nanos / NANOS_PER_SECOND) for labels, account in accounts]
    yield f.PRESUMED, [(labels, account.presumed_nanos / NANOS_PER_SECOND) for labels, account in accounts]
    yield f.OVERRUNS, [(labels, account.overruns) for labels, account in accounts]


def _answers(tally: Tally) -> Iterator[Reading]:
    found: defaultdict[tuple[str, str], int] = defaultdict(int)
    for (_, _, provider, _, _), account in tally.accounts.items():
        for status, count in account.answers.items():
            found[provider, status] += count
    for (provider, status), count in found.items():
        yield {"provider": provider, "status": status}, count


def _of_notices(sources: Sources) -> Iterator[tuple[f.Family, list[Reading]]]:
    receivers: Mapping[str, ReceiverNumbers] = {} if sources.outbox is None else sources.outbox.receivers
    now_ns = sources.gate.clock.expiry_ns()
    oldest = {name: now_ns if each.oldest_ns is None else each.oldest_ns for name, each in receivers.items()}
    yield (
        f.NOTICES,
        [
            ({"receiver": name, "outcome": outcome}, count)
            for name, each in receivers.items()
            for outcome, count in (("delivered", each.delivered), ("failed", each.failed), ("dropped", each.dropped))
        ],
    )
    yield f.NOTICES_WAITING, [({"receiver": name}, len(each.waiting)) for name, each in receivers.items()]
    yield (
        f.NOTICES_OLDEST,
        [({"receiver": name}, max(0, now_ns - since_ns) / NANOS_PER_SECOND) for name, since_ns in oldest.items()],
    )
    yield f.NOTICES_DEAD, [({"receiver": name}, each.dead) for name, each in receivers.items()]


def _of_process(sources: Sources) -> Iterator[tuple[f.Family, list[Reading]]]:
    gate, journal, pool = sources.gate, sources.journal, sources.pool
    live = tuple(gate.live)
    streams = sum(call.stream for call in live)
    yield f.IN_FLIGHT, [({"kind": "stream"}, streams), ({"kind": "json"}, len(live) - streams)]
    yield f.STOPS, [({"scope": scope}, number) for scope, number in _stops(gate).items()]
    yield f.PENDING, [({"role": role}, number) for role, number in _pending(gate).items()]
    now_ns = gate.clock.expiry_ns()
    yield f.ASIDE, [({"provider": name}, not gate.health.usable(name, now_ns)) for name in gate.providers]
    yield f.CONNECTIONS, [({"state": "active"}, pool.active), ({"state": "idle"}, pool.idle)]
    yield f.BUILD, [({"version": sources.version}, 1)]
    registry = gate.registry
    yield f.INSTALLED, [({"policies": registry.policies.version, "prices": registry.prices.version}, 1)]
    for family, value in (
        (f.HOLDS, len(gate.tree.holds)),
        (f.HELD, sum(hold.amounts.usd for hold in gate.tree.holds.values()) / NANOS_PER_SECOND),
        (f.QUARANTINED, sum(bound.quarantined for bound in gate.bounds.values())),
        (f.GRANTS, len(gate.approvals.grants)),
        (f.QUEUED, journal.queued),
        (f.UNWRITTEN, journal.lost),
        (f.UNFOLDED, journal.unfolded),
        (f.DROPPED, journal.dropped),
        (f.EVENTS, sources.tally.written_events),
        (f.STORE_OK, journal.healthy),
        (f.READY, sources.ready()),
        (f.CONNECTS, pool.opened),
        (f.REGISTRY, registry.version),
    ):
        yield family, [({}, value)]


async def _remaining(gate: Gate, most: int) -> list[Reading]:
    """By budget, the share of its tightest window; budgets past the first `most` are one, with the least of them."""
    least = {budget.name: (budget, 1.0 if budget.limit else 0.0) for budget in gate.tree.budgets}
    for number, (budget, left) in enumerate(gate.tree.standing(gate.clock.now_ns())):
        share = left / budget.limit if budget.limit else 0.0
        if share < least.get(budget.name, (budget, 2.0))[1]:
            least[budget.name] = (budget, share)
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
    shown = [(_budget_labels(budget), share) for budget, share in list(least.values())[:most]]
    rest = [share for _, share in list(least.values())[most:]]
    return [*shown, (dict.fromkeys(f.REMAINING.labels, OTHER), min(rest))] if rest else shown


async def _rates(gate: Gate, most: int) -> list[tuple[f.Family, list[Reading]]]:
    """By rate, its instance with the least left and all that wait. Rates past the first `most` are not told."""
    now_ns = gate.pace.steady_ns()
    least: dict[str, tuple[Rate, float, int]] = {rate.name: (rate, 1.0, 0) for rate in gate.pace.limits.rates[:most]}
    for number, limiter in enumerate(gate.pace.limits.standing()):
        known = least.get(limiter.rate.name)
        if known is not None:
            share = min(known[1], limiter.remaining(now_ns) / limiter.rate.burst)
            least[limiter.rate.name] = (limiter.rate, share, known[2] + len(limiter.turns))
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
    shares: list[Reading] = [
        ({"rate": name, "unit": rate.unit, "mode": rate.mode}, share) for name, (rate, share, _) in least.items()
    ]
    return [(f.RATE_LEFT, shares), (f.WAITING, [({"rate": name}, each[2]) for name, each in least.items()])]


def _budget_labels(budget: Budget) -> Labels:
    return {"budget": budget.name, "unit": budget.unit, "window": budget.window, "mode": budget.mode}


def _named(family: f.Family, values: tuple[str, ...]) -> Labels:
    return dict(zip(family.labels, values, strict=True))


def _pending(gate: Gate) -> Mapping[str, int]:
    """How many tickets wait for each role: zeros too, for roles that have a table."""
    found = dict.fromkeys(gate.registry.approvals, 0)
    for ticket in gate.approvals.open_tickets:
        found[ticket.role] = found.get(ticket.role, 0) + 1
    return found


def _stops(gate: Gate) -> Mapping[StopScope, int]:
    """How many there are of each scope: zeros too, so that an alert has something to look at."""
    found: dict[StopScope, int] = dict.fromkeys(STOP_SCOPES, 0)
    for stop in gate.stops.in_force:
        found[stop.scope] += 1
    return found
