"""All rates and their state: what a call meets, whether it is let through, and taking from all of them at once.

Pure and in memory. To look changes nothing; to take asks nothing, so a call that is refused by anything else has
taken nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

import msgspec

from comptroller.core.budget.scope import Facts, instances
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.rate.bucket import Bucket, Take
from comptroller.core.rate.rate import Rate
from comptroller.core.rate.slots import Slot, Slots
from comptroller.core.rate.turns import Ticket

Limiter = Bucket | Slots
NANOS_PER_MS = NANOS_PER_SECOND // 1000
_MET_MOST = 50_000
_KNOWN_MOST = 100_000


class Met(msgspec.Struct, frozen=True, gc=False):
    """The limiters that a call meets. Whoever meets the same shares one."""

    hard: tuple[Limiter, ...] = ()
    shadow: tuple[Limiter, ...] = ()
    tokens: bool = False  # one of the hard ones counts tokens, so the call has to be bounded in them


NONE = Met()


class Blocked(msgspec.Struct, frozen=True, gc=False):
    """A limiter that lets a call through later, or never: it is larger than the burst."""

    limiter: Limiter
    amount: int
    free_at_ns: int
    never: bool = False


class Came(NamedTuple):
    """What a call came to in the end."""

    calls: int
    tokens: int


class Taken(msgspec.Struct, gc=False):
    """What a call took, from each limiter."""

    takes: tuple[tuple[Limiter, Take | Slot], ...] = ()

    def end(self, came: Came | None) -> None:
        """The call has ended and came to this; None: to all that it took. Said again, it changes nothing."""
        for limiter, take in self.takes:
            take.end(None if came is None else came.tokens if limiter.tokens else came.calls)


NOTHING_TAKEN = Taken()


class RateLimits:
    """Every rate in force, and an instance of it for each value that calls came with."""

    def __init__(self, rates: Iterable[Rate] = ()) -> None:
        self._rates: tuple[tuple[Rate, str], ...] = tuple((rate, rate.key) for rate in rates)
        self._known: dict[tuple[str, str], Limiter] = {}
        self._left: dict[tuple[str, str], Limiter] = {}  # in force no more, and calls are in
        self._met: dict[tuple[str, ...], Met] = {}  # by the key of facts
        self._sweep_over = _KNOWN_MOST

    @property
    def rates(self) -> Sequence[Rate]:
        return [rate for rate, _ in self._rates]

    def replace(self, rates: Iterable[Rate], now_ns: int) -> Sequence[Limiter]:
        """Other rates are in force for new calls. What is counted as before keeps its count.

        So does what comes back while calls are in that took a slot of it.

        Returns those that are in force no more: whoever waits for them waits for nothing.
        """
        keyed = tuple((rate, rate.key) for rate in rates)
        if keyed == self._rates:
            return ()
        before, self._rates = {**self._left, **self._known}, keyed
        self._met.clear()
        self._known, self._left = {}, {}
        by_key = {key: rate for rate, key in keyed}
        gone: list[Limiter] = []
        for (key, instance), limiter in before.items():
            rate = by_key.get(key)
            if rate is None:
                gone.append(limiter)
                if isinstance(limiter, Slots) and limiter.taken:
                    self._left[key, instance] = limiter
                continue
            if rate != limiter.rate:
                limiter.change(rate, now_ns)
            self._known[key, instance] = limiter
        return gone

    def met_by(self, facts: Facts, steady_ns: Callable[[], int]) -> Met:
        """The limiters of every rate whose scope matches, each once. `steady_ns` says what time it is."""
        if not self._rates:
            return NONE
        met = self._met.get(facts.key)
        if met is None:
            met = self._find(facts, steady_ns)
            if facts.key:
                if len(self._met) >= _MET_MOST:
                    self._met.clear()
                self._met[facts.key] = met
        return met

    def standing(self) -> Sequence[Limiter]:
        """Those that calls came to, as they are now."""
        return tuple(self._known.values())

    def limiters(self, now_ns: int) -> Iterator[Limiter]:
        """Those of which something is taken, by name and instance; and of a rate that has none, one that is unused."""
        found: dict[str, list[Limiter]] = {}
        for (key, _), limiter in sorted(self._known.items(), key=itemgetter(0)):
            if not limiter.idle(now_ns):
                found.setdefault(key, []).append(limiter)
        for rate, key in self._rates:
            yield from found.get(key) or (_limiter(rate, ""),)

    def _find(self, facts: Facts, steady_ns: Callable[[], int]) -> Met:
        if len(self._known) > self._sweep_over:
            self._forget_idle(steady_ns())
        found = [
            self._limiter(rate, key, instance)
            for rate, key in self._rates
            for instance in instances(rate.per, rate.scope, facts)
        ]
        hard = tuple(limiter for limiter in found if limiter.rate.mode == "hard")
        shadow = tuple(limiter for limiter in found if limiter.rate.mode == "shadow")
        return Met(hard, shadow, any(limiter.tokens for limiter in hard)) if found else NONE

    def _limiter(self, rate: Rate, key: str, instance: str) -> Limiter:
        limiter = self._known.get((key, instance))
        if limiter is None:
            limiter = self._known[key, instance] = _limiter(rate, instance)
        return limiter

    def _forget_idle(self, now_ns: int) -> None:
        """Sessions come and go: one that is full and that nobody waits for is as good as a new one."""
        self._known = {key: each for key, each in self._known.items() if not each.idle(now_ns)}
        self._met.clear()
        self._sweep_over = max(_KNOWN_MOST, 2 * len(self._known))


def _limiter(rate: Rate, instance: str) -> Limiter:
    return Slots(rate, instance) if rate.unit == "at_once" else Bucket(rate, instance)


def blocking(met: Met, tokens: int, now_ns: int, ticket: Ticket | None = None, identity: str = "") -> Sequence[Blocked]:
    """The hard limiters that do not let it through now. Changes nothing.

    `tokens`: the most it can come to. `ticket`: its place in the line of one of them. `identity`: whose it is.
    """
    found: list[Blocked] = []
    for limiter in met.hard:
        amount = tokens if limiter.tokens else 1
        if amount > limiter.burst:
            found.append(Blocked(limiter, amount, now_ns, never=True))
        elif limiter.turns and limiter.turns.first is not ticket:
            ahead = limiter.turns.ahead(identity)
            found.append(Blocked(limiter, amount, limiter.free_at(amount, ahead, now_ns)))
        elif not limiter.fits(amount, now_ns):
            found.append(Blocked(limiter, amount, limiter.free_at(amount, 0, now_ns)))
    return found


def binding(blocked: Sequence[Blocked]) -> Blocked:
    """What a call is told of: that it is larger than a burst, else what lets it through last."""
    return max(blocked, key=lambda each: (each.never, each.free_at_ns))


def wait_for(blocked: Sequence[Blocked], waited_ns: int, now_ns: int) -> Blocked | None:
    """Which of them to stand in line for; None, if one of them would let it through too late, as far as can be seen.

    `waited_ns`: how long this call has waited already.
    """
    for each in blocked:
        left_ns = each.limiter.rate.wait_ms * NANOS_PER_MS - waited_ns
        unknown = each.limiter.rate.unit == "at_once"
        if each.never or left_ns <= 0 or (not unknown and each.free_at_ns - now_ns > left_ns):
            return None
    return binding(blocked)


def shadowed(met: Met, tokens: int, now_ns: int) -> Sequence[Blocked]:
    """The shadows that would refuse it now. Changes nothing."""
    return [] if not met.shadow else blocking(Met(hard=met.shadow), tokens, now_ns)


def take(met: Met, tokens: int, now_ns: int) -> Taken:
    """Take from all of them. A shadow that would have refused it is left as it is: so it counts what it would."""
    if met is NONE:
        return NOTHING_TAKEN
    takes: list[tuple[Limiter, Take | Slot]] = [
        (limiter, limiter.take(tokens if limiter.tokens else 1, now_ns)) for limiter in met.hard
    ]
    for limiter in met.shadow:
        amount = tokens if limiter.tokens else 1
        if limiter.fits(amount, now_ns):
            takes.append((limiter, limiter.take(amount, now_ns)))
    return Taken(tuple(takes))
