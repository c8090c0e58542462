"""How a hold ends: the table, and what is done about a bound that was wrong."""

from __future__ import annotations

import pytest

from comptroller.core.budget.bounds import QUARANTINE_AFTER, Bound
from comptroller.core.budget.hold import TRANSITIONS, Amounts
from comptroller.core.budget.settlement import TABLE, Phase, Settlement, phase_of_status, settlement

DAY_NS = 86_400 * 10**9
HELD = Amounts(1000, 500, 1)
EXACT = Amounts(300, 120, 1)
SEEN = Amounts(450, 200, 1)


@pytest.mark.parametrize(
    ("phase", "exact", "seen", "bills_errors", "end", "posted"),
    [
        ("held", None, None, True, "voided", Amounts(0, 0, 0)),
        ("refused", None, None, True, "voided", Amounts(0, 0, 1)),  # it went upstream, so it counts as a call
        ("failed", None, None, True, "presumed", HELD),
        ("failed", None, None, False, "voided", Amounts(0, 0, 1)),
        ("failed", EXACT, None, False, "posted", EXACT),
        ("written", None, None, True, "presumed", HELD),
        ("written", None, SEEN, True, "presumed", SEEN),
        ("answering", EXACT, None, True, "posted", EXACT),
        ("answering", EXACT, SEEN, True, "posted", EXACT),  # the provider's own report wins
        ("answering", Amounts(0, 0, 1), SEEN, True, "posted", Amounts(0, 0, 1)),  # an explicit zero stays zero
        ("answering", None, None, True, "presumed", HELD),
        ("answering", None, SEEN, True, "presumed", SEEN),
        ("answering", None, Amounts(2000, 900, 1), True, "presumed", HELD),  # at most the hold
        ("answering", Amounts(2000, 900, 1), None, True, "posted", Amounts(2000, 900, 1)),  # an overrun is the truth
    ],
)
def test_the_table(
    phase: Phase, exact: Amounts | None, seen: Amounts | None, bills_errors: bool, end: str, posted: Amounts
) -> None:
    assert settlement(phase, HELD, exact=exact, seen=seen, bills_errors=bills_errors) == Settlement(end, posted)  # type: ignore[arg-type]


@pytest.mark.parametrize("seen", [None, SEEN])
def test_nobody_is_presumed_to_have_billed_less_than_they_said(seen: Amounts | None) -> None:
    told = Amounts(2000, 300, 0)
    found = settlement("answering", HELD, exact=None, seen=seen, told=told)
    assert found == Settlement("presumed", (seen or HELD).most(told))


def test_every_row_of_the_table_is_an_end_of_the_hold() -> None:
    assert set(TABLE.values()) <= set(TRANSITIONS["open"])
    assert all(not TRANSITIONS[end] for end in TABLE.values())


@pytest.mark.parametrize(
    ("status", "phase"),
    [(200, "answering"), (400, "refused"), (404, "refused"), (429, "refused"), (529, "refused"), (500, "failed"),
     (503, "failed"), (301, "failed"), (204, "answering")],
)  # fmt: skip
def test_statuses(status: int, phase: Phase) -> None:
    assert phase_of_status(status) == phase


def test_an_overrun_raises_the_factor_so_that_the_same_bill_would_have_fitted() -> None:
    bound = Bound("p", "m", "d").after_overrun(Amounts(1000, 100, 1), Amounts(1500, 100, 1), 10_000, DAY_NS)
    assert bound.factor_bp == 15_000
    assert not bound.quarantined
    assert bound.after_overrun(Amounts(1500, 100, 1), Amounts(1501, 100, 1), 15_000, DAY_NS).factor_bp >= 15_010


def test_calls_that_overran_together_do_not_multiply_the_factor() -> None:
    bound = Bound("p", "m", "d")
    for _ in range(10):
        bound = bound.after_overrun(Amounts(1000, 100, 1), Amounts(1500, 100, 1), 10_000, DAY_NS)
    assert bound.factor_bp == 15_000


def test_repeats_are_quarantined_until_a_person_resumes() -> None:
    bound = Bound("p", "m", "d")
    for _ in range(QUARANTINE_AFTER):
        assert not bound.quarantined
        bound = bound.after_overrun(Amounts(10, 10, 1), Amounts(11, 11, 1), 10_000, DAY_NS)
    assert bound.quarantined
    resumed = bound.resumed()
    assert (resumed.quarantined, resumed.overruns, resumed.factor_bp) == (False, 0, bound.factor_bp)


@pytest.mark.parametrize(
    ("at_days", "overruns", "quarantined"),
    [
        ((0, 1.01, 2.02, 3.03), 1, False),  # a mishap now and then
        ((0, 365, 365.5), 2, False),
        ((0, 0.9, 1.1, 1.2), 4, True),  # three of them within one day, wherever the day begins
        ((0, 0.4, 0.8), 3, True),
        ((0, 0.1, 0.2, 400), 1, True),  # only a person opens it again
        ((1, 0.9, 0.8), 3, True),  # calls settle in any order
    ],
)
def test_only_overruns_of_a_day_are_counted(at_days: tuple[float, ...], overruns: int, quarantined: bool) -> None:
    bound = Bound("p", "m", "d")
    for at in at_days:
        bound = bound.after_overrun(Amounts(10, 10, 1), Amounts(15, 11, 1), 10_000, int(at * DAY_NS))
    assert (bound.overruns, bound.quarantined, bound.factor_bp) == (overruns, quarantined, 15_000)
