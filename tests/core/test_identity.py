"""Until when an identity may act: the instant that is remembered says the same as the rule that gives the reason."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.identity.identity import FOREVER_NS, GRACE_DAYS, Environment, Identity, acts_until_ns, may_act
from comptroller.core.instant import NANOS_PER_SECOND

DAY_NS = 86_400 * NANOS_PER_SECOND
T0 = 1_790_000_000 * NANOS_PER_SECOND
NEAR = st.integers(-20 * DAY_NS, 20 * DAY_NS).map(lambda off: T0 + off)


@given(
    environment=st.sampled_from(sorted(GRACE_DAYS)),
    expires=st.none() | st.dates(date(2026, 9, 1), date(2026, 10, 10)),
    disabled=st.booleans(),
    answerable_until_ns=st.sampled_from([0, FOREVER_NS]) | NEAR,
    now_ns=NEAR,
)
def test_it_may_act_exactly_until_then(
    environment: Environment, expires: date | None, disabled: bool, answerable_until_ns: int, now_ns: int
) -> None:
    identity = Identity("agent/a", "agent", "red", "o", "p", environment, expires=expires, disabled=disabled)
    until_ns = acts_until_ns(identity, answerable_until_ns)
    for instant_ns in {now_ns, max(0, until_ns - 1), min(until_ns, FOREVER_NS - 1)}:
        assert (may_act(identity, answerable_until_ns, instant_ns) is None) is (instant_ns < until_ns)
