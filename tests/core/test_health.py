"""Health: its states as a table, and what holds whatever happens to a provider."""

from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.routing.health import (
    ASIDE_MOST_NS,
    ASIDE_NS,
    FAILURES_MOST,
    REFUSED_NS,
    TRANSITIONS,
    Health,
    Signal,
    State,
)

NOW = 1_795_000_000 * NANOS_PER_SECOND
SIGNALS: tuple[Signal, ...] = get_args(Signal)
STATES: tuple[State, ...] = get_args(State)
signals = st.sampled_from(SIGNALS)
steps = st.lists(st.tuples(st.sampled_from(["begin", "hear", *SIGNALS]), st.integers(0, 400)), max_size=40)


def test_every_state_knows_every_signal() -> None:
    assert set(TRANSITIONS) == set(product(STATES, SIGNALS))


def moved(health: Health, what: str, now_ns: int, wait_ns: int) -> Health:
    if what == "begin":
        return health.begun(now_ns)
    if what == "hear":
        return health.heard()
    return health.after(next(each for each in SIGNALS if each == what), now_ns, wait_ns)


@given(steps=steps, wait_s=st.integers(0, 10**6))
def test_nobody_is_aside_for_ever_and_states_follow_the_table(steps: list[tuple[str, int]], wait_s: int) -> None:
    health, now_ns = Health(), NOW
    for what, later_s in steps:
        now_ns += later_s * NANOS_PER_SECOND
        before, health = health, moved(health, what, now_ns, wait_s * NANOS_PER_SECOND)
        assert health.until_ns <= now_ns + ASIDE_MOST_NS
        if what in SIGNALS and not (what == "failed" and before.state == "in use"):
            assert health.state == TRANSITIONS[before.state, next(each for each in SIGNALS if each == what)]
    if health.state == "tried":
        health = health.after("nothing", now_ns)
    assert health.usable(now_ns + ASIDE_MOST_NS)
    assert health.begun(now_ns + ASIDE_MOST_NS).after("answered", now_ns) == Health()


def test_failures_in_a_row_put_it_aside() -> None:
    health = Health()
    for _ in range(FAILURES_MOST - 1):
        health = health.after("failed", NOW)
        assert health.usable(NOW)
    assert health.after("answered", NOW) == Health(), "in a row"
    health = health.after("failed", NOW)
    assert not health.usable(NOW + ASIDE_NS - 1)
    assert health.usable(NOW + ASIDE_NS)


def test_one_call_tries_it_for_all() -> None:
    aside = Health().after("told to wait", NOW, ASIDE_NS)
    later = NOW + ASIDE_NS
    assert aside.begun(later - 1) == aside, "asked all the same, for there is no other"
    tried = aside.begun(later)
    assert not tried.usable(later)
    assert tried.heard().usable(later), "whoever answers is in use, however long the answer takes"
    assert not tried.heard().after("failed", later).usable(later)
    assert tried.after("answered", later) == Health()
    assert tried.after("nothing", later).usable(later), "nobody learned anything: the next call tries it"


def test_it_is_left_alone_twice_as_long_each_time_up_to_a_bound() -> None:
    health, now_ns, waits = Health(failures=FAILURES_MOST), NOW, list[int]()
    for _ in range(8):
        health = health.begun(now_ns).after("failed", now_ns)
        waits.append((health.until_ns - now_ns) // NANOS_PER_SECOND)
        now_ns = health.until_ns
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]


def test_late_failures_of_calls_under_way_are_nothing_new() -> None:
    aside = Health(failures=FAILURES_MOST).after("failed", NOW)
    for _ in range(100):
        aside = aside.after("failed", NOW + 1)
    assert aside.until_ns == NOW + ASIDE_NS


@pytest.mark.parametrize(
    ("signal", "wait_s", "aside_s"),
    [
        ("told to wait", 0, 0),
        ("told to wait", 7, 7),
        ("told to wait", 86_400, ASIDE_MOST_NS // NANOS_PER_SECOND),
        ("credential refused", 0, REFUSED_NS // NANOS_PER_SECOND),
    ],
)
def test_what_one_answer_says(signal: Signal, wait_s: int, aside_s: int) -> None:
    health = Health().after(signal, NOW, wait_s * NANOS_PER_SECOND)
    assert health.until_ns == NOW + aside_s * NANOS_PER_SECOND
    assert health.why == signal
