"""Reports and sums for new budgets, against the same added up by hand."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.control.interfaces import SpendDimension, SpendFilter, Spending
from comptroller.core.budget.hold import Amounts
from comptroller.core.instant import DAY_NS, QUARTER_HOUR_NS
from comptroller.flow.records import Event
from comptroller.store import spend
from comptroller.store.folder import Folder
from comptroller.store.store import Store
from tests.store.folding import DAY_START_NS, Fresh, write
from tests.store.samples import CHARGE, USAGE, corrected, held, refused, settled

FOUR_DAYS_NS = 4 * DAY_NS
ALL = Spending(scope={}, per=None, start_ns=0, end_ns=None)


class Made(NamedTuple):
    """A call as the tests know it."""

    at_ns: int
    team: str
    session: str
    model: str
    end: str
    usd: int


made_calls = st.lists(
    st.builds(
        Made,
        st.integers(0, FOUR_DAYS_NS).map(lambda after_ns: DAY_START_NS + after_ns),
        st.sampled_from(["search", "ads"]),
        st.sampled_from(["ses_1", "ses_2", "ses_3"]),
        st.sampled_from(["large", "small"]),
        st.sampled_from(["posted", "presumed", "voided", "refused"]),
        st.integers(1, 10**9),
    ),
    max_size=20,
)
# Edges as people choose them: at any instant, on quarters of an hour, at midnight in UTC and in a zone 5:45 ahead.
instants = st.one_of(
    st.integers(0, FOUR_DAYS_NS),
    st.integers(0, 4 * 96).map(lambda quarters: quarters * QUARTER_HOUR_NS),
    st.integers(0, 4).map(lambda days: days * DAY_NS),
    st.integers(0, 4).map(lambda days: days * DAY_NS - 23 * QUARTER_HOUR_NS),
).map(lambda after_ns: DAY_START_NS + after_ns)


def events_of(number: int, call: Made) -> list[Event]:
    about: dict[str, Any] = call._asdict()
    end, usd = about.pop("end"), about.pop("usd")
    if end == "refused":
        return [refused(number, **about)]
    posted = Amounts() if end == "voided" else Amounts(usd, 700, 1)
    return [held(number, **about), settled(number, end=end, posted=posted, usage=None if end == "voided" else USAGE)]


def counted_as(call: Made, name: str) -> str | None:
    """A model's name counts once something was billed for it."""
    return None if name == "model" and call.end in {"voided", "refused"} else getattr(call, name)


def asked(by: SpendDimension, since_ns: int = 0, until_ns: int = 2**62, limit: int = 1000, **only: str) -> SpendFilter:
    return SpendFilter(by=by, since_ns=since_ns, until_ns=until_ns, only=only, limit=limit)  # type: ignore[arg-type]


@settings(max_examples=60)
@given(
    made=made_calls,
    edges=st.tuples(instants, instants).map(sorted).filter(lambda pair: pair[0] < pair[1]),
    by=st.sampled_from(["team", "session", "model"]),
    only=st.sampled_from([{}, {"team": "ads"}, {"session": "ses_1"}, {"model": "small", "team": "search"}]),
)
def test_a_report_is_the_sum_over_its_calls(
    template: Path, tmp_path_factory: pytest.TempPathFactory, made: Any, edges: Any, by: Any, only: dict[str, str]
) -> None:
    fresh = Fresh(template, tmp_path_factory.mktemp("report"))
    database = fresh()
    write(database, 1, [event for number, call in enumerate(made) for event in events_of(number, call)])
    Folder(database).all_of(1)
    report = spend.report(database.connection, asked(by, *edges, **only))
    fresh.close()
    assert edges[0] - QUARTER_HOUR_NS < report.since_ns <= edges[0]
    assert edges[1] <= report.until_ns < edges[1] + QUARTER_HOUR_NS
    expected: dict[str | None, list[int]] = {}
    for call in made:
        counts = report.since_ns <= call.at_ns < report.until_ns
        if counts and all(counted_as(call, name) == value for name, value in only.items()):
            sums = expected.setdefault(counted_as(call, by), [0, 0, 0, 0])
            sums[0] += call.end != "refused"
            sums[1] += call.end == "refused"
            sums[2] += call.usd if call.end == "posted" else 0
            sums[3] += call.usd if call.end == "presumed" else 0
    found = {line.key: [line.calls, line.refused, line.charge_nanos, line.presumed_nanos] for line in report.lines}
    assert found == expected
    total = [report.total.calls, report.total.refused, report.total.charge_nanos, report.total.presumed_nanos]
    assert total == [sum(column) for column in zip(*expected.values(), strict=True)] if expected else [0, 0, 0, 0]
    spent = [line.charge_nanos + line.presumed_nanos for line in report.lines]
    assert spent == sorted(spent, reverse=True)


async def test_what_is_beyond_the_limit_is_in_the_total(store: Store) -> None:
    for number in range(5):
        store.journal.append(held(number, identity=f"agent/{number}"))
        store.journal.append(settled(number, posted=Amounts(number + 1, 700, 1)))
    await store.fold()
    report = await store.spend(asked("identity", limit=2))
    assert [(line.key, line.charge_nanos) for line in report.lines] == [("agent/4", 5), ("agent/3", 4)]
    assert (report.left_out, report.total.charge_nanos, report.total.calls) == (3, 15, 5)
    assert (report.total.input_tokens, report.total.output_tokens) == (5 * 500, 5 * 200)


async def test_what_nothing_is_known_of_has_no_key(store: Store) -> None:
    store.journal.offer(refused(1, provider=None))
    await store.fold()
    for by in ("provider", "task"):
        (line,) = (await store.spend(asked(by))).lines
        assert (line.key, line.calls, line.refused) == (None, 0, 1)


async def test_nothing_was_spent(store: Store) -> None:
    report = await store.spend(asked("owner"))
    assert (report.lines, report.total.calls, report.left_out) == ([], 0, 0)


def test_a_year_is_days_and_its_two_ends() -> None:
    """So that what a report costs depends on days and names, and not on how many calls there were."""
    since_ns, until_ns = DAY_START_NS + 3 * QUARTER_HOUR_NS, DAY_START_NS + 365 * DAY_NS + QUARTER_HOUR_NS
    parts = [
        (part.table.name, part.start_ns, part.end_ns) for part in spend.stretches(since_ns, until_ns, sessions=False)
    ]
    last_ns = DAY_START_NS + 365 * DAY_NS
    assert parts == [
        ("spend_recent", since_ns, DAY_START_NS + DAY_NS),
        ("spend_daily", DAY_START_NS + DAY_NS, last_ns),
        ("spend_recent", last_ns, until_ns),
    ]


def test_where_quarters_are_pruned_a_report_is_about_whole_days() -> None:
    recent_ns, odd_ns = DAY_START_NS, DAY_START_NS - 5 * DAY_NS + 7
    floor_ns, ceil_ns = DAY_START_NS - 5 * DAY_NS, DAY_START_NS - 4 * DAY_NS
    assert spend.covered(odd_ns, odd_ns + 1, recent_ns, sessions=False) == (floor_ns, ceil_ns)
    assert spend.covered(odd_ns, recent_ns + 1, recent_ns, sessions=False) == (floor_ns, recent_ns + QUARTER_HOUR_NS)
    assert spend.covered(odd_ns, recent_ns + 1, recent_ns, sessions=True) == (recent_ns, recent_ns + QUARTER_HOUR_NS)


async def test_what_a_scope_spent(store: Store) -> None:
    for number in range(8):
        at_ns = DAY_START_NS + number * QUARTER_HOUR_NS
        about = {"team": f"team-{number % 2}", "model_class": None if number == 6 else f"class-{number % 3}"}
        store.journal.append(held(number, at_ns=at_ns, session=f"ses_{number % 4}", **about))
        if number < 7:
            store.journal.append(settled(number))
    store.journal.append(corrected(2, now=CHARGE.usd + 50))

    async def spent(**wanted: Any) -> dict[str, tuple[int, int, int]]:
        known: dict[str, Any] = {"scope": {}, "per": None, "start_ns": DAY_START_NS, "end_ns": None}
        (found,) = await store.posted_so_far([Spending(**(known | wanted))])
        return {instance: (amounts.usd, amounts.tokens, amounts.calls) for instance, amounts in found.items()}

    usd, tokens = CHARGE.usd, CHARGE.tokens
    assert await spent() == {"": (7 * usd + 50, 7 * tokens, 7)}
    assert await spent(per="team") == {
        "team-0": (4 * usd + 50, 4 * tokens, 4),
        "team-1": (3 * usd, 3 * tokens, 3),
    }
    narrow = {"team": ("team-0",), "model_class": ("class-1", "class-2")}
    assert await spent(scope=narrow) == {"": (2 * usd + 50, 2 * tokens, 2)}
    assert (await spent(per="model_class")).keys() == {"class-0", "class-1", "class-2"}
    assert await spent(per="session", scope={"team": ("team-1",)}) == {
        "ses_1": (2 * usd, 2 * tokens, 2),
        "ses_3": (usd, tokens, 1),
    }
    middle = {"start_ns": DAY_START_NS + 2 * QUARTER_HOUR_NS, "end_ns": DAY_START_NS + 4 * QUARTER_HOUR_NS}
    assert await spent(**middle) == {"": (2 * usd + 50, 2 * tokens, 2)}
    assert await spent(scope={"team": ("nobody",)}) == {}


async def test_a_cut_is_where_it_was_asked_for(store: Store) -> None:
    """What was queued before is in it, without anybody having waited for it; what is queued after is not."""
    for number in range(30):
        store.journal.append(held(number))
        store.journal.append(settled(number))
    first = store.posted_so_far([ALL, ALL])
    for number in range(30, 50):
        store.journal.append(held(number))
        store.journal.append(settled(number))
    second = store.posted_so_far([ALL])
    await store.journal.commit(held(50))
    assert [each[""].calls for each in await first] == [30, 30]
    assert [each[""].calls for each in await second] == [50]
