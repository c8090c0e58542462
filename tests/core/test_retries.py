"""Retry storms: what a retry is, and that the budget for them holds whatever is sent."""

from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.budget.retry_budget import SAVED_MOST, SHIPPED, RetryBudget, RetryRule
from comptroller.core.detection.retries import BODIES_MOST, REMEMBERED_NS, ROW_MOST, Failing
from comptroller.core.instant import NANOS_PER_SECOND

NOW = 1_795_000_000 * NANOS_PER_SECOND
RULE = RetryRule("r", {}, share_bp=1_000, per_minute=20)


def failing(*digests: str, wait_s: int = 0) -> Failing:
    found = Failing()
    for digest in digests:
        found.failed(digest, NOW, wait_s * NANOS_PER_SECOND)
    return found


def test_the_same_body_after_an_error_is_a_retry() -> None:
    found = failing("a")
    assert found.is_retry("a", NOW)
    assert not found.is_retry("b", NOW)
    assert found.is_retry("a", NOW + REMEMBERED_NS - 1)
    assert not found.is_retry("a", NOW + REMEMBERED_NS), "an hourly job is no storm"


def test_a_body_that_was_answered_is_new_when_it_comes_again() -> None:
    found = failing("a", "b")
    found.answered("a")
    assert not found.is_retry("a", NOW)
    assert found.is_retry("b", NOW), "that one still failed"
    found.answered("b")
    assert found.over(NOW), "nothing is left to remember"


def test_after_many_errors_in_a_row_everything_is_a_retry() -> None:
    found = failing(*map(str, range(ROW_MOST - 1)))
    assert not found.is_retry("new", NOW)
    found.failed("x", NOW)
    assert found.is_retry("new", NOW), "it replans, and meets the same"
    found.answered("y")
    assert not found.is_retry("new", NOW), "in a row"


def test_one_request_that_always_fails_says_nothing_of_the_others() -> None:
    found = failing(*["poison", "more poison"] * ROW_MOST)
    assert found.is_retry("poison", NOW)
    assert not found.is_retry("new", NOW)


def test_an_old_row_is_no_row() -> None:
    found = failing(*map(str, range(ROW_MOST)))
    later = NOW + REMEMBERED_NS
    assert found.over(later)
    found.failed("x", later)
    assert not found.is_retry("new", later)
    assert not found.is_retry("1", later)


def test_how_long_the_provider_asked_to_wait() -> None:
    found = failing("a", wait_s=30)
    assert found.asked_to_wait_ns("a", NOW + 10 * NANOS_PER_SECOND) == 20 * NANOS_PER_SECOND
    assert found.asked_to_wait_ns("a", NOW + 40 * NANOS_PER_SECOND) == 0
    assert found.asked_to_wait_ns("b", NOW) == 0


def test_only_so_many_bodies_are_remembered_and_the_oldest_is_forgotten() -> None:
    found = failing(*map(str, range(BODIES_MOST + 1)))
    found.answered("none of them")
    assert not found.is_retry("0", NOW)
    assert found.is_retry("1", NOW)


def sent(budget: RetryBudget, now_ns: int, tries: int) -> int:
    """How many of so many retries at one instant go out."""
    gone = 0
    for _ in range(tries):
        if budget.wait_ns(now_ns) == 0:
            budget.called(now_ns, retry=True)
            gone += 1
    return gone


def test_what_may_be_sent_at_once_and_what_comes_back() -> None:
    budget = RetryBudget(RULE, NOW)
    assert sent(budget, NOW, 1_000) == 20 + SAVED_MOST
    assert budget.wait_ns(NOW) == 3 * NANOS_PER_SECOND
    assert sent(budget, NOW + 3 * NANOS_PER_SECOND - 1, 9) == 0
    assert sent(budget, NOW + 3 * NANOS_PER_SECOND, 9) == 1
    for _ in range(10):
        budget.called(NOW + 3 * NANOS_PER_SECOND, retry=False)
    assert sent(budget, NOW + 3 * NANOS_PER_SECOND, 9) == 1, "a tenth of the others"


def test_without_a_number_for_the_minute_only_other_calls_earn_retries() -> None:
    budget = RetryBudget(RetryRule("r", {}, share_bp=5_000, per_minute=0), NOW)
    assert sent(budget, NOW, 100) == SAVED_MOST
    assert budget.wait_ns(NOW + REMEMBERED_NS) is None
    budget.called(NOW, retry=False)
    budget.called(NOW, retry=False)
    assert sent(budget, NOW, 9) == 1


calls = st.lists(st.tuples(st.booleans(), st.integers(0, 5_000)), max_size=300)
rules = st.builds(
    RetryRule, st.just("r"), st.just({}), share_bp=st.integers(0, 10_000), per_minute=st.integers(0, 1_000)
)


@given(calls=calls, rule=rules)
def test_in_no_stretch_of_time_more_go_out_than_the_rule_allows(calls: list[tuple[bool, int]], rule: RetryRule) -> None:
    budget, now_ns, log = RetryBudget(rule, NOW), NOW, list[tuple[int, bool]]()
    for retry, later_ms in calls:
        now_ns += later_ms * 1_000_000
        wait_ns = budget.wait_ns(now_ns)
        if not retry or wait_ns == 0:
            budget.called(now_ns, retry=retry)
            log.append((now_ns, retry))
        elif wait_ns is not None:
            assert budget.wait_ns(now_ns + wait_ns) == 0, "it is the true time"
            assert budget.wait_ns(now_ns + wait_ns - 1) != 0
    for start in range(0, len(log), 7):
        since = log[start:]
        retries, others = sum(retry for _, retry in since), sum(not retry for _, retry in since)
        minutes = (since[-1][0] - since[0][0]) / (60 * NANOS_PER_SECOND)
        allowed = rule.per_minute * (1 + minutes) + SAVED_MOST + others * rule.share_bp / 10_000
        assert retries <= allowed + 1e-6


@given(calls=calls)
def test_a_look_changes_nothing(calls: list[tuple[bool, int]]) -> None:
    looked, left_alone, now_ns = RetryBudget(SHIPPED, NOW), RetryBudget(SHIPPED, NOW), NOW
    for retry, later_ms in calls:
        now_ns += later_ms * 1_000_000
        looked.wait_ns(now_ns + 17)
        looked.left(now_ns + 1_000_000)
        looked.called(now_ns, retry=retry)
        left_alone.called(now_ns, retry=retry)
        assert looked.left(now_ns) == left_alone.left(now_ns)
