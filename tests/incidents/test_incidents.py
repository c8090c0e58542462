"""Incidents are stopped before a tenth of their cost, with the reason on record; normal work goes on beside them."""

import re
from collections.abc import Mapping

import pytest

from tests.incidents.replay import Replay, Replayed, replay
from tests.incidents.scripts import SCRIPTS, STOPPED_BY
from tests.incidents.world import PAGE, registry_of_the_page, without_limits

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    return replay(tmp_path_factory.mktemp("incidents"))


@pytest.fixture
def by_name(replayed: Replay) -> Mapping[str, Replayed]:
    return {each.name: each for each in replayed.incidents}


def test_the_page_shows_every_incident() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [\d,]+ \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == list(SCRIPTS)


def test_without_limits_nothing_is_limited() -> None:
    free = without_limits(registry_of_the_page())
    assert {entry["mode"] for name in ("budgets", "contexts", "loops", "retries") for entry in free[name]} == {"shadow"}
    assert set(free["profiles"]["conductor"].values()) == {"unbounded"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_incident_is_stopped_before_a_tenth_of_its_cost(by_name: Mapping[str, Replayed], name: str) -> None:
    found = by_name[name]
    assert found.cost_nanos > 0
    assert found.leaked < 0.10, found


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_reason_is_on_record(by_name: Mapping[str, Replayed], name: str) -> None:
    found, wanted = by_name[name].refused, STOPPED_BY[name]
    assert wanted[0] in found
    assert set(found) <= set(wanted)
    assert sum(found.values()) + by_name[name].attempts >= by_name[name].calls, "every call went out or was refused"


def test_normal_work_beside_them_goes_on(replayed: Replay) -> None:
    assert replayed.normal_calls > 1_000
    assert replayed.false_share < 0.005, replayed.false_stops
    assert replayed.normal_heard["200"] > 0.95 * replayed.normal_calls
