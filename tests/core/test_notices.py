"""Notices: what a filter lets through, how a body is signed, and when a try is repeated."""

import base64
import json
import re
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from comptroller.core.instant import NANOS_PER_SECOND, from_datetime
from comptroller.core.notice.envelope import cloud_event, headers, read_secret
from comptroller.core.notice.event import KINDS, Notice, kind_of
from comptroller.core.notice.filter import Wanted, check_pattern
from comptroller.core.notice.schedule import LONGEST_NS, QUIET_MOST_NS, Schedule
from comptroller.core.problem import Fault

NOW_NS = from_datetime(datetime.now(UTC))
KEY = bytes(range(32))
SECRET = b"whsec_" + base64.b64encode(KEY)
NOTICE = Notice(
    "ntc_1",
    "budget.threshold",
    "warning",
    NOW_NS,
    "search-month",
    {"team": "search", "budget": "search-month"},
    {"a": 1},
)
DAY = Schedule(5 * NANOS_PER_SECOND, 86_400 * NANOS_PER_SECOND)


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (Wanted(), True),
        (Wanted(events=("budget.*",)), True),
        (Wanted(events=("stop.*", "budget.threshold")), True),
        (Wanted(events=("stop.*",)), False),
        (Wanted(min_severity="warning"), True),
        (Wanted(min_severity="error"), False),
        (Wanted(scope={"team": ("search",)}), True),
        (Wanted(scope={"team": ("ads", "search"), "budget": ("search-month",)}), True),
        (Wanted(scope={"team": ("search",), "budget": ("ads-month",)}), False),
        (Wanted(scope={"identity": ("agent/scout",)}), False),
    ],
)
def test_a_filter_lets_through_what_matches_all_of_it(wanted: Wanted, matches: bool) -> None:
    assert wanted.matches(NOTICE) is matches


@pytest.mark.parametrize("pattern", ["*", "budget.*", "budget.forecast", "finding.*", "finding.of_tomorrow", "*.made"])
def test_a_pattern_that_can_match_is_taken(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "hint"), [("budget.treshold", "Did you mean 'budget.threshold'?"), ("x", "budget")]
)
def test_a_pattern_that_nothing_matches_is_a_fault(pattern: str, hint: str) -> None:
    with pytest.raises(Fault) as fault:
        check_pattern(pattern)
    assert hint in fault.value.hint


def test_every_kind_is_known_and_so_is_any_finding() -> None:
    assert all(kind_of(name) is kind for name, kind in KINDS.items())
    assert kind_of("finding.of_tomorrow").severity == "warning"
    with pytest.raises(KeyError):
        kind_of("budget.of_tomorrow")


@given(text=st.text(), at_s=st.integers(-200, 200))
def test_what_is_signed_verifies_with_the_official_package(text: str, at_s: int) -> None:
    body = json.dumps({"text": text}).encode()
    signed = headers(read_secret(SECRET), "ntc_1", int(time.time()) + at_s, body)  # it allows five minutes from now
    as_text = {name.decode(): value.decode() for name, value in signed}
    assert Webhook(SECRET.decode()).verify(body, as_text) == {"text": text}


def test_a_body_is_a_cloud_event() -> None:
    event = json.loads(cloud_event(NOTICE, "https://gateway.acme.example"))
    assert event.pop("time").endswith("Z")
    assert event == {
        "specversion": "1.0",
        "id": "ntc_1",
        "source": "https://gateway.acme.example",
        "type": "comptroller.budget.threshold",
        "subject": "search-month",
        "severity": "warning",
        "datacontenttype": "application/json",
        "data": {"a": 1, "about": {"team": "search", "budget": "search-month"}},
    }


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (b"hunter2", "does not begin with whsec_"),
        (b"whsec_hunter2!", "is not base64"),
        (b"whsec_" + base64.b64encode(bytes(23)), "23 bytes"),
        (b"whsec_" + base64.b64encode(bytes(65)), "65 bytes"),
        (b"whsec_\xff", "is not base64"),
    ],
)
def test_a_secret_that_is_none_is_refused_without_being_repeated(written: bytes, words: str) -> None:
    with pytest.raises(Fault, match=words) as fault:
        read_secret(written)
    assert "hunter2" not in fault.value.sentence + fault.value.hint


def test_the_page_has_every_kind() -> None:
    """docs/notices.md, row by row."""
    page = (Path(__file__).parents[2] / "docs" / "notices.md").read_text()
    rows = re.findall(r"^\| `([a-z_.]+)` \| (\w+) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(name, kind.severity, kind.says) for name, kind in KINDS.items()]


def tries(schedule: Schedule, chance: float) -> list[int]:
    """The instants of all tries at a receiver that never answers, from 0 on."""
    now_ns, found = 0, [0]
    while (following := schedule.next_ns(0, now_ns, len(found), chance)) is not None:
        now_ns = following
        found.append(now_ns)
    return found


@given(chance=st.floats(0, 1))
def test_a_day_of_tries_is_few_and_ends_at_its_end(chance: float) -> None:
    found = tries(DAY, chance)
    assert 8 <= len(found) <= 16
    assert found[-1] == DAY.lasts_ns
    pauses = [after - before for before, after in pairwise(found[:-1])]
    assert all(before < after or after >= 0.8 * LONGEST_NS for before, after in pairwise(pauses))
    assert 4 * NANOS_PER_SECOND <= pauses[0] <= 6 * NANOS_PER_SECOND


@given(
    tried=st.integers(1, 1_000),
    chance=st.floats(0, 1),
    wait_ns=st.integers(0, 10**18),
    now_ns=st.integers(0, DAY.lasts_ns - 1),
)
def test_a_receiver_that_says_when_is_heard_within_the_day(
    tried: int, chance: float, wait_ns: int, now_ns: int
) -> None:
    following = DAY.next_ns(0, now_ns, tried, chance, wait_ns)
    assert following is not None
    assert min(now_ns + wait_ns, DAY.lasts_ns) <= following <= DAY.lasts_ns
    assert DAY.quiet_ns(tried, chance) <= 1.2 * QUIET_MOST_NS
    assert min(wait_ns, LONGEST_NS) <= DAY.quiet_ns(tried, chance, wait_ns) <= 1.2 * LONGEST_NS
