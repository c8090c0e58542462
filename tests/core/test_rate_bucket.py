"""Rates: in no stretch of time is more let through than the limit allows, and never less than it would allow."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from comptroller.core.instant import NANOS_PER_SECOND as SECOND
from comptroller.core.rate.bucket import Bucket, Take
from comptroller.core.rate.rate import Pace, Rate, default_burst
from comptroller.core.rate.slots import Slots


def rate(limit: int = 60, period_s: int = 60, burst: int = 10, **more: object) -> Rate:
    unit = more.pop("unit", "calls")
    return Rate("burst", {}, Pace(limit, unit, period_s), burst, None, "hard", "caller", **more)  # type: ignore[arg-type]


class Oracle:
    """All that was ever taken. It looks at every stretch of time there is."""

    def __init__(self, of: Rate) -> None:
        self.burst = of.burst
        self.pace = Fraction(of.pace.limit, of.pace.period_s * SECOND)
        self.taken: list[tuple[int, int]] = []

    def over(self) -> bool:
        """Whether in some stretch, from one take to another, more was taken than its length allows."""
        for begin, (since_ns, _) in enumerate(self.taken):
            total = 0
            for at_ns, amount in self.taken[begin:]:
                total += amount
                if total > self.burst + self.pace * (at_ns - since_ns):
                    return True
        return False

    def would_fit(self, amount: int, now_ns: int) -> bool:
        """Whether one more take leaves every stretch that ends now as it has to be."""
        total = amount
        if total > self.burst:
            return False
        for at_ns, each in reversed(self.taken):
            total += each
            if total > self.burst + self.pace * (now_ns - at_ns):
                return False
        return True


class BucketAgainstOracle(RuleBasedStateMachine):
    """Takes at any time, each corrected at any later time to no more than was taken."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 10**15
        self.open: list[tuple[int, int, Take]] = []

    @rule(
        limit=st.integers(1, 1000), period_s=st.sampled_from([1, 60, 3600]), burst=st.integers(1, 50),
    )  # fmt: skip
    @precondition(lambda self: not hasattr(self, "bucket"))
    def begin(self, limit: int, period_s: int, burst: int) -> None:
        of = rate(limit, period_s, burst)
        self.bucket, self.oracle = Bucket(of, ""), Oracle(of)

    @precondition(lambda self: hasattr(self, "bucket"))
    @rule(share=st.fractions(0, 3, max_denominator=50))
    def time_passes(self, share: Fraction) -> None:
        """In parts of what it takes for one to become free: that is where it is near to being wrong."""
        self.now_ns += int(share / self.oracle.pace)

    @precondition(lambda self: hasattr(self, "bucket"))
    @rule(amount=st.integers(0, 60))
    def take(self, amount: int) -> None:
        fits = self.bucket.fits(amount, self.now_ns)
        assert fits == self.oracle.would_fit(amount, self.now_ns)
        if fits:
            self.oracle.taken.append((self.now_ns, amount))
            self.open.append((len(self.oracle.taken) - 1, amount, self.bucket.take(amount, self.now_ns)))

    @precondition(lambda self: hasattr(self, "bucket"))
    @rule(amount=st.integers(0, 60), ahead=st.integers(0, 60))
    def said_to_be_free(self, amount: int, ahead: int) -> None:
        """It says the first instant at which it fits: it does then, and does not a nanosecond before."""
        if amount > self.bucket.rate.burst:
            return
        at_ns = self.bucket.free_at(amount, 0, self.now_ns)
        assert self.bucket.fits(amount, at_ns)
        assert at_ns == self.now_ns or not self.bucket.fits(amount, at_ns - 1)
        assert self.bucket.free_at(amount, ahead, self.now_ns) >= at_ns

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        index, held, taken = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        came_to = data.draw(st.integers(0, held))
        taken.end(came_to)
        taken.end(held)  # said twice: nothing more
        self.oracle.taken[index] = (self.oracle.taken[index][0], came_to)

    @precondition(lambda self: hasattr(self, "bucket"))
    @invariant()
    def no_stretch_has_more_than_it_may(self) -> None:
        assert not self.oracle.over()
        assert 0 <= self.bucket.remaining(self.now_ns) <= self.bucket.rate.burst


TestBucketAgainstOracle = BucketAgainstOracle.TestCase


def test_a_burst_goes_at_once_and_then_one_call_a_period() -> None:
    bucket = Bucket(rate(60, 60, burst=3), "")
    for _ in range(3):
        assert bucket.fits(1, 0)
        bucket.take(1, 0).end(1)
    assert not bucket.fits(1, 0)
    assert bucket.free_at(1, 0, 0) == SECOND
    assert not bucket.fits(1, SECOND - 1)
    assert bucket.fits(1, SECOND)


def test_a_limit_that_divides_no_second_evenly_is_exact_for_ever() -> None:
    bucket, now = Bucket(rate(7, 1, burst=2), ""), 0
    for _ in range(7_000):
        now = bucket.free_at(1, 0, now)
        bucket.take(1, now).end(1)
    assert now == -(-(7_000 - 2) * SECOND // 7)


def test_a_clock_that_stands_lets_the_burst_through_and_no_more_until_it_moves() -> None:
    bucket, let_in = Bucket(rate(60, 60, burst=5), ""), 0
    for now_ns in range(1_000):  # our clock ticks a nanosecond when it stands
        if bucket.fits(1, now_ns):
            bucket.take(1, now_ns).end(1)
            let_in += 1
    assert let_in == 5
    assert bucket.fits(5, 3600 * SECOND)
    assert not bucket.fits(6, 3600 * SECOND)  # a leap forward is no more than a pause


def test_what_a_hold_gives_back_belongs_to_when_it_was_taken() -> None:
    bucket = Bucket(rate(60, 60, burst=60, unit="tokens"), "")
    held = bucket.take(60, 0)
    bucket.take(10, 30 * SECOND).end(10)  # more than there is: 30 of 60 are back
    bucket.take(20, 30 * SECOND).end(20)
    held.end(0)
    assert bucket.used(30 * SECOND) == 30  # and not the less that 60 given back now would leave


def test_an_amount_above_its_hold_has_to_be_waited_for() -> None:
    bucket = Bucket(rate(60, 60, burst=10, unit="tokens"), "")
    bucket.take(10, 0).end(40)
    assert bucket.remaining(0) == 0
    assert bucket.free_at(1, 0, 0) == 31 * SECOND


def test_a_changed_limit_keeps_what_is_taken() -> None:
    bucket = Bucket(rate(60, 60, burst=10), "")
    open_take = bucket.take(1, 0)
    for _ in range(9):
        bucket.take(1, 0).end(1)
    bucket.change(rate(120, 60, burst=20), 0)
    assert bucket.remaining(0) == 10
    open_take.end(0)
    assert bucket.remaining(0) == 10
    assert bucket.free_at(11, 0, 0) == SECOND // 2


def test_a_bucket_that_nobody_uses_is_as_a_new_one() -> None:
    bucket = Bucket(rate(60, 60, burst=1), "")
    held = bucket.take(1, 0)
    assert not bucket.idle(5 * SECOND)
    held.end(1)
    assert not bucket.idle(SECOND - 1)
    assert bucket.idle(SECOND)


def test_a_slot_is_free_again_once_however_often_that_is_said() -> None:
    slots = Slots(rate(2, 0, burst=2, unit="at_once"), "")
    first, second = slots.take(1, 0), slots.take(1, 0)
    assert not slots.fits(1, 0)
    first.end(1)
    first.end(1)
    assert slots.remaining(0) == 1
    second.end(0)
    assert slots.idle(0)


@pytest.mark.parametrize(
    ("pace", "burst"),
    [
        (Pace(60, "calls", 60), 1),
        (Pace(600, "calls", 60), 10),
        (Pace(10, "calls", 1), 10),
        (Pace(5, "calls", 3600), 1),
        (Pace(100_000, "tokens", 60), 100_000),
        (Pace(8, "at_once", 0), 8),
    ],
)
def test_the_burst_that_a_rate_has_if_none_is_named(pace: Pace, burst: int) -> None:
    assert default_burst(pace) == burst


def test_takes_stay_in_the_order_of_time_however_they_end() -> None:
    bucket = Bucket(rate(60, 60, burst=60, unit="tokens"), "")
    takes = [bucket.take(10, at * SECOND) for at in range(6)]
    for index in (3, 0, 5, 1, 4):
        takes[index].end(1)
    left = [each.at for each in _chain(bucket)]
    assert left == [2 * SECOND]
    assert all(first < second for first, second in pairwise(left))
    takes[2].end(1)
    assert _chain(bucket) == []
    assert bucket.used(5 * SECOND) == 1


def _chain(bucket: Bucket) -> list[Take]:
    found, take = list[Take](), bucket._last
    while take is not None:
        found.insert(0, take)
        take = take.prior
    return found
