"""Our time never runs back, and a leap of the wall clock must prove itself for a minute."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.instant import NANOS_PER_SECOND, TimeKeeper, format_instant, from_datetime, to_datetime

S = NANOS_PER_SECOND
T0 = 1_790_000_000 * S


def told(*readings: tuple[int, int], journalled: int = 0) -> list[int]:
    """What the keeper says, in seconds after T0, for (wall, monotonic) readings in seconds after T0 and 0."""
    keeper = TimeKeeper(journalled)
    return [(keeper.now(T0 + wall * S, mono * S) - T0) // S for wall, mono in readings]


def test_follows_the_wall_clock() -> None:
    assert told((0, 0), (10, 10), (11, 10), (299, 12)) == [0, 10, 11, 299]


def test_never_runs_back() -> None:
    assert told((100, 0), (40, 1), (101, 2)) == [100, 100, 101]


def test_starts_no_earlier_than_the_journal() -> None:
    assert told((0, 0), (70, 70), journalled=T0 + 60 * S) == [60, 70]


def test_a_leap_forward_freezes_time_until_it_has_agreed_for_a_minute() -> None:
    day = 86_400
    assert told((0, 0), (day, 1), (day + 30, 31), (day + 59, 60), (day + 60, 61)) == [0, 0, 0, 0, day + 60]


def test_every_reading_is_later_than_the_one_before_even_when_time_stands() -> None:
    keeper = TimeKeeper(T0)
    readings = [keeper.now(T0 - 3600 * S, 0) for _ in range(3)]
    assert readings == sorted(set(readings))


def test_a_leap_that_goes_back_is_forgotten() -> None:
    assert told((0, 0), (86_400, 1), (2, 2), (3, 3)) == [0, 0, 2, 3]


def test_a_leap_that_keeps_leaping_stays_unbelieved() -> None:
    assert told((0, 0), (10_000, 1), (20_000, 62), (30_000, 124)) == [0, 0, 0, 0]


@given(st.lists(st.tuples(st.integers(-(10**15), 10**15), st.integers(0, 10**11)), max_size=40))
def test_whatever_the_clocks_do_our_time_is_monotonic(moves: list[tuple[int, int]]) -> None:
    keeper, wall, mono, before = TimeKeeper(), T0, 0, 0
    for wall_move, mono_move in moves:
        wall, mono = wall + wall_move, mono + mono_move
        now = keeper.now(wall, mono)
        assert now >= before
        before = now


def test_instants_are_written_as_rfc_3339() -> None:
    assert format_instant(T0 + 42_000_000) == "2026-09-21T14:13:20.042Z"


@given(st.integers(0, 4 * 10**18))
def test_datetimes_keep_the_microsecond(instant: int) -> None:
    assert from_datetime(to_datetime(instant)) == instant // 1000 * 1000
