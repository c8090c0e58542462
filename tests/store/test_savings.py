"""What routing saved, against the same added up by hand; and what the books do not know."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.control.savings_books import SavingsDimension
from comptroller.core.budget.hold import Amounts
from comptroller.flow.records import Event
from comptroller.store import savings
from comptroller.store.folder import Folder
from comptroller.store.store import Store
from tests.store.folding import Fresh, write
from tests.store.samples import NOW_NS, corrected, held, refused, settled

ALWAYS = (0, 2**62)


class Made(NamedTuple):
    """A call as the test knows it."""

    team: str
    identity: str
    asked_model: str | None
    routed_by: str | None
    end: str
    usd: int
    unrouted: int | None


made_calls = st.lists(
    st.builds(
        Made,
        st.sampled_from(["search", "ads"]),
        st.sampled_from(["agent/a", "agent/b"]),
        st.sampled_from([None, "large", "fast"]),
        st.sampled_from([None, "route:simple", "budget:month 80%", "a-policy"]),
        st.sampled_from(["posted", "presumed", "voided", "refused"]),
        st.integers(1, 10**9),
        st.none() | st.integers(0, 10**10),
    ),
    max_size=15,
)


def events_of(number: int, call: Made) -> list[Event]:
    about: dict[str, Any] = {name: getattr(call, name) for name in ("team", "identity", "asked_model", "routed_by")}
    if call.end == "refused":
        return [refused(number, **about)]
    posted = Amounts() if call.end == "voided" else Amounts(call.usd, 700, 1)
    end = settled(number, end=call.end, posted=posted, counterfactual_nanos=unrouted(call))
    return [held(number, **about), end]


def unrouted(call: Made) -> int | None:
    """Only what is exact has one."""
    return call.unrouted if call.end == "posted" and call.routed_by is not None else None


def key_of(call: Made, by: str) -> str | None:
    match by:
        case "route":
            return call.routed_by
        case "model":
            return call.asked_model or "sandbox-large"
        case "task_type":
            return None
        case _:
            return getattr(call, by)


@settings(max_examples=60)
@given(made=made_calls, by=st.sampled_from(["team", "identity", "route", "model", "task_type"]))
def test_savings_are_the_sum_over_routed_calls(
    template: Path, tmp_path_factory: pytest.TempPathFactory, made: list[Made], by: SavingsDimension
) -> None:
    fresh = Fresh(template, tmp_path_factory.mktemp("savings"))
    database = fresh()
    write(database, 1, [event for number, call in enumerate(made) for event in events_of(number, call)])
    Folder(database).all_of(1)
    found = savings.savings(database.connection, by, *ALWAYS)
    fresh.close()
    expected: dict[str | None, list[int]] = {}
    for call in made:
        if call.routed_by is None or call.end in {"voided", "refused"}:
            continue
        sums = expected.setdefault(key_of(call, by), [0, 0, 0, 0, 0])
        would = unrouted(call)
        more = [0, 0, 0, 1, call.usd] if would is None else [1, call.usd, would, 0, 0]
        sums[:] = [one + other for one, other in zip(sums, more, strict=True)]
    assert {
        each.key: [
            each.calls,
            each.charge_nanos,
            each.counterfactual_nanos,
            each.unknown_calls,
            each.unknown_nanos,
        ]
        for each in found
    } == expected
    saved = [each.counterfactual_nanos - each.charge_nanos for each in found]
    assert saved == sorted(saved, reverse=True)


async def test_a_corrected_charge_is_what_counts(store: Store) -> None:
    store.journal.append(held(1, routed_by="route:simple"))
    store.journal.append(settled(1, posted=Amounts(100, 700, 1), counterfactual_nanos=900))
    store.journal.append(corrected(1, was=100, now=250))
    await store.fold()
    (found,) = await store.savings("route", *ALWAYS)
    assert (found.calls, found.charge_nanos, found.counterfactual_nanos) == (1, 250, 900)


async def test_what_several_attempts_cost_is_compared_with_what_the_answered_one_would_have(store: Store) -> None:
    store.journal.append(held(1, routed_by="route:simple"))
    store.journal.append(settled(1, end="presumed", posted=Amounts(40, 700, 1), outcome="provider_cut", usage=None))
    store.journal.append(held(1, attempt=2, routed_by="route:simple"))
    store.journal.append(settled(1, attempt=2, posted=Amounts(60, 700, 1), counterfactual_nanos=500))
    await store.fold()
    (found,) = await store.savings("route", *ALWAYS)
    assert (found.calls, found.charge_nanos, found.counterfactual_nanos) == (1, 100, 500)


async def test_only_the_stretch_that_is_asked_for_counts(store: Store) -> None:
    for number in range(3):
        store.journal.append(held(number, routed_by="route:simple"))
        store.journal.append(settled(number, posted=Amounts(1, 700, 1), counterfactual_nanos=2))
    await store.fold()
    (found,) = await store.savings("route", NOW_NS + 1, NOW_NS + 2)
    assert found.calls == 1
