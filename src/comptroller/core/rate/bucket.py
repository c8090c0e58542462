"""A bucket: the generic cell rate algorithm (ITU-T I.371), exact, with takes that are corrected later.

In any stretch of time no more is let through than the burst and what the limit allows in that stretch. The state
is one number, the theoretical arrival time: the instant at which the bucket is full again. Time is counted in steps
(rate.py), so that nothing is ever rounded.

What a call takes is known for certain only at its end, and what it gives back then belongs to the instant at which it
was taken. So every take that is still open is kept in a chain, with what the takes after it made of the arrival time;
a correction is carried through to the end of the chain, as if the right amount had been taken at once. What is taken
between two open takes is kept as one function `t -> max(t + sum, floor)`, whatever the number of calls.
"""

from __future__ import annotations

from comptroller.core.budget.budget import label
from comptroller.core.rate.rate import Rate
from comptroller.core.rate.turns import Turns


class Take:
    """What one call took from a bucket. Open until it has ended, once."""

    __slots__ = ("_bucket", "after", "at", "before", "cost", "floor", "open", "prior", "sum")

    def __init__(self, bucket: Bucket, prior: Take | None, at: int, cost: int, before: int) -> None:
        self._bucket = bucket
        self.prior = prior
        self.after: Take | None = None
        self.at = at
        self.cost = cost
        self.before = before  # the arrival time as this take found it
        self.sum = 0  # what ended takes between this one and the next did to it
        self.floor = 0
        self.open = True

    @property
    def left(self) -> int:
        """The arrival time as the next take finds it."""
        return max(max(self.before, self.at) + self.cost + self.sum, self.floor)

    def end(self, amount: int | None) -> None:
        """It has come to this amount in the end; None: to what was taken. Said again, it changes nothing."""
        if self.open:
            self.open = False
            self._bucket.end(self, amount)


class Bucket:
    """One instance of a rate in calls or tokens. Instants are in ns, of a clock that never runs back."""

    __slots__ = ("_arrival", "_last", "_per_ns", "_per_unit", "burst", "instance", "rate", "tokens", "turns")

    def __init__(self, rate: Rate, instance: str) -> None:
        self.rate = rate
        self.burst = rate.burst
        self.tokens = rate.unit == "tokens"
        self.instance = instance
        self.turns = Turns()
        self._per_ns, self._per_unit = rate.steps
        self._arrival = 0
        self._last: Take | None = None

    @property
    def label(self) -> str:
        """How a person reads it."""
        return label(self.rate.name, self.instance)

    def fits(self, amount: int, now_ns: int) -> bool:
        burst = self.burst
        return amount <= burst and self._arrival + (amount - burst) * self._per_unit <= now_ns * self._per_ns

    def free_at(self, amount: int, ahead: int, now_ns: int) -> int:
        """The first instant at which it fits, once others have taken an amount before it, each as soon as it could.

        What is more than the burst never fits, whatever this says.
        """
        full = self._arrival + (ahead + amount - self.burst) * self._per_unit
        return max(now_ns, -(-full // self._per_ns))

    def take(self, amount: int, now_ns: int) -> Take:
        """Take it, whether it fits or not: whoever asks has looked."""
        at, cost, before = now_ns * self._per_ns, amount * self._per_unit, self._arrival
        take = Take(self, self._last, at, cost, before)
        if self._last is not None:
            self._last.after = take
        self._last = take
        self._arrival = max(before, at) + cost
        return take

    def end(self, take: Take, amount: int | None) -> None:
        """A take of this bucket has ended: correct what it did, and let it go."""
        cost = take.cost if amount is None else amount * self._per_unit
        if cost != take.cost:
            take.cost = cost
            self._carry(take)
        prior, after = take.prior, take.after
        if after is None:
            self._last = prior
        else:
            after.prior = prior
        if prior is not None:
            prior.after = after
            total = take.cost + take.sum
            prior.floor = max(prior.floor + total, take.at + total, take.floor)
            prior.sum += total

    def _carry(self, take: Take) -> None:
        arrival, after = take.left, take.after
        while after is not None:
            if after.before == arrival:
                return
            after.before = arrival
            arrival, after = after.left, after.after
        self._arrival = arrival

    def used(self, now_ns: int) -> int:
        """How much of the burst is taken at this instant, rounded up; more than all of it after an overrun."""
        return -(-max(0, self._arrival - now_ns * self._per_ns) // self._per_unit)

    def remaining(self, now_ns: int) -> int:
        return max(0, self.burst - self.used(now_ns))

    def full_at(self, now_ns: int) -> int:
        """When nothing of it is taken any more."""
        return max(now_ns, -(-self._arrival // self._per_ns))

    def idle(self, now_ns: int) -> bool:
        """Whether a new one would be the same."""
        return self._last is None and not self.turns and self.full_at(now_ns) == now_ns

    def change(self, rate: Rate, now_ns: int) -> None:
        """Another limit from now on. What is taken stays taken; what is open is not corrected any more."""
        taken, per_unit = max(0, self._arrival - now_ns * self._per_ns), self._per_unit
        self.rate, self.burst = rate, rate.burst
        self._per_ns, self._per_unit = rate.steps
        self._arrival = now_ns * self._per_ns + -(-taken * self._per_unit // per_unit)
        take, self._last = self._last, None
        while take is not None:
            take.open, take = False, take.prior
