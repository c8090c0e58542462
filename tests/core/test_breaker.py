"""The breaker: its states as a table, and what holds whatever a provider does."""

from itertools import product
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.routing.breaker import (
    CLOSED,
    FAILURES_MOST,
    OPEN_MOST_NS,
    OPEN_NS,
    PROBE_NS,
    ROW_NS,
    TRANSITIONS,
    WAIT_MOST_NS,
    Circuit,
    Sign,
    State,
)

NOW = 1_795_000_000 * NANOS_PER_SECOND
SIGNS: tuple[Sign, ...] = get_args(Sign)
STATES: tuple[State, ...] = get_args(State)


def failed(times: int, circuit: Circuit = CLOSED, now_ns: int = NOW, wait_ns: int = 0) -> Circuit:
    for _ in range(times):
        circuit = circuit.after("failed", now_ns, wait_ns)
    return circuit


OPEN = failed(FAILURES_MOST)
TRIED = OPEN.begun(OPEN.until_ns)
STANDING: dict[State, Circuit] = {"closed": CLOSED, "open": OPEN, "half-open": TRIED}


def test_every_state_knows_every_sign_and_does_what_the_table_says() -> None:
    assert set(TRANSITIONS) == set(product(STATES, SIGNS))
    for (state, sign), after in TRANSITIONS.items():
        assert STANDING[state].after(sign, NOW, probe=True).state == after, (state, sign)


def test_it_opens_only_after_many_failures_in_a_row() -> None:
    nearly = failed(FAILURES_MOST - 1)
    assert not nearly.refuses(NOW)
    assert nearly.after("answered", NOW) == CLOSED, "in a row"
    assert nearly.after("nothing", NOW) == nearly
    assert nearly.after("failed", NOW).refuses(NOW)


def test_failures_far_apart_are_no_row() -> None:
    circuit = CLOSED
    for number in range(10 * FAILURES_MOST):
        circuit = circuit.after("failed", NOW + number * ROW_NS)
        assert not circuit.refuses(NOW + number * ROW_NS)


def test_one_call_tries_it_for_all() -> None:
    later = OPEN.until_ns
    assert OPEN.refuses(later - 1)
    assert not OPEN.refuses(later)
    assert TRIED.refuses(later), "the others wait for that one"
    assert not TRIED.refuses(later + PROBE_NS), "but not for ever"
    assert not TRIED.heard().refuses(later), "whoever answers is in use, however long the answer takes"
    assert TRIED.heard().after("failed", later).refuses(later)
    assert TRIED.after("answered", later, probe=True) == CLOSED
    assert not TRIED.after("nothing", later, probe=True).refuses(later), "nobody learned anything: the next one tries"


def test_calls_that_were_under_way_do_not_decide_for_the_one_that_tries() -> None:
    later = OPEN.until_ns
    assert TRIED.after("failed", later) == TRIED
    assert TRIED.after("nothing", later) == TRIED
    assert failed(100, OPEN, NOW + 1).until_ns == OPEN.until_ns
    assert TRIED.after("answered", later) == CLOSED, "an answer is an answer"


def test_it_is_left_alone_longer_each_time_up_to_a_bound() -> None:
    circuit, waits = failed(FAILURES_MOST - 1), list[int]()
    now_ns = NOW
    for _ in range(6):
        circuit = circuit.begun(now_ns).after("failed", now_ns, probe=True)
        waits.append((circuit.until_ns - now_ns) // NANOS_PER_SECOND)
        now_ns = circuit.until_ns
    assert waits == [5, 10, 20, 30, 30, 30]


def test_a_time_that_the_provider_names_is_kept_up_to_a_bound() -> None:
    for said_s, kept_ns in ((0, OPEN_NS), (1, OPEN_NS), (120, 120 * NANOS_PER_SECOND), (86_400, WAIT_MOST_NS)):
        assert failed(FAILURES_MOST, wait_ns=said_s * NANOS_PER_SECOND).until_ns == NOW + kept_ns
    early = CLOSED.after("failed", NOW, 90 * NANOS_PER_SECOND)
    assert failed(FAILURES_MOST - 1, early).until_ns == NOW + 90 * NANOS_PER_SECOND, "said by any failure of the row"


class Provider(RuleBasedStateMachine):
    """A provider whose calls end as they like, in any order, while time goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit, self.now_ns = CLOSED, NOW
        self.under_way: list[bool] = []  # each: whether it tries it for all
        self.probes_at: list[int] = []

    @rule(ms=st.integers(0, 90_000))
    def time_goes_on(self, ms: int) -> None:
        self.now_ns += ms * 1_000_000

    @precondition(lambda self: not self.circuit.refuses(self.now_ns))
    @rule()
    def a_call_begins(self) -> None:
        probe = self.circuit.state != "closed"
        self.circuit = self.circuit.begun(self.now_ns)
        self.under_way.append(probe)
        if probe:
            assert self.circuit.refuses(self.now_ns), "one at a time"
            self.probes_at.append(self.now_ns)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 100), sign=st.sampled_from(SIGNS), wait_s=st.integers(0, 1000))
    def a_call_ends(self, which: int, sign: Sign, wait_s: int) -> None:
        probe = self.under_way.pop(which % len(self.under_way))
        was = self.circuit
        self.circuit = was.after(sign, self.now_ns, wait_s * NANOS_PER_SECOND, probe=probe)
        assert self.circuit.state in {TRANSITIONS[was.state, sign], was.state, "open"}
        if sign == "answered":
            assert self.circuit == CLOSED

    @precondition(lambda self: self.under_way)
    @rule()
    def an_answer_begins(self) -> None:
        self.circuit = self.circuit.heard()
        assert not self.circuit.refuses(self.now_ns)

    @invariant()
    def nobody_is_refused_for_ever(self) -> None:
        assert not self.circuit.refuses(self.now_ns + max(OPEN_MOST_NS, WAIT_MOST_NS, PROBE_NS))

    @invariant()
    def it_refuses_only_after_many_failures(self) -> None:
        if self.circuit.refuses(self.now_ns):
            assert self.circuit.failures >= FAILURES_MOST


TestProvider = Provider.TestCase


@given(st.lists(st.sampled_from(("failed", "nothing")), max_size=200), st.integers(1, 400))
def test_a_provider_that_is_down_is_asked_at_most_so_often(ends: list[Sign], every_ms: int) -> None:
    """Callers that come again and again, for a while: few are sent on, whatever they do."""
    circuit, now_ns, asked = CLOSED, NOW, 0
    for sign in ends:
        now_ns += every_ms * 1_000_000
        if not circuit.refuses(now_ns):
            probe = circuit.state != "closed"
            asked += sign == "failed"
            circuit = circuit.begun(now_ns).after(sign, now_ns, probe=probe)
    probes = (now_ns - NOW) // OPEN_NS + 1
    assert asked <= FAILURES_MOST + probes
