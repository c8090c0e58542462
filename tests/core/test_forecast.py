"""Run-out forecasts, as a table and by what must always hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.budget.forecast import Seen, lately_ns, run_out_ns
from comptroller.core.budget.window import Span

HOUR = 3_600
DAY = Span(0, 24 * HOUR)


@pytest.mark.parametrize(
    ("posted", "hour", "before", "at_hour"),
    [
        (500, 12, None, None),  # at the pace of the day it just lasts
        (501, 12, None, 23.95),
        (750, 12, None, 16),
        (750, 5, None, None),  # too early to say
        (750, 6, None, 8),
        (400, 12, (11, 300), 21),  # late on: the mean of 33.3 and 100 an hour is 66.7, and 600 are left
        (400, 12, (11, 400), None),  # a burst that is over
        (600, 12, (11, 600), None),  # 600 left at 25 an hour
        (999, 12, (11, 999), 12.02),
        (1_000, 12, None, None),  # it has run out already: that is another notice
        (0, 12, None, None),
        (600, 12, (11, 700), None),  # a correction took some back
    ],
)
def test_the_pace_is_the_mean_of_the_whole_and_of_late(
    posted: int, hour: int, before: tuple[int, int] | None, at_hour: float | None
) -> None:
    seen = None if before is None else Seen(before[0] * HOUR, before[1])
    found = run_out_ns(DAY, 1_000, Seen(hour * HOUR, posted), seen)
    assert found == (None if at_hour is None else pytest.approx(at_hour * HOUR, abs=60))


def test_a_lifetime_has_none() -> None:
    assert run_out_ns(Span(0, None), 1_000, Seen(10**9, 999), None) is None
    assert lately_ns(Span(0, None)) == 0
    assert lately_ns(DAY) == 2.4 * HOUR


@given(
    limit=st.integers(0, 10**18),
    posted=st.integers(0, 10**18),
    at=st.integers(0, 30 * HOUR),
    before=st.none() | st.builds(Seen, st.integers(0, 24 * HOUR), st.integers(0, 10**18)),
)
def test_what_is_said_lies_between_now_and_the_end(limit: int, posted: int, at: int, before: Seen | None) -> None:
    found = run_out_ns(DAY, limit, Seen(at, posted), before)
    if found is not None:
        assert at <= found < 24 * HOUR
        assert 0 < posted < limit
        assert at >= 6 * HOUR
