"""What is read off a process: budgets and holds as they are, and the loop gets its turn in between."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from comptroller.control import stops
from comptroller.core.budget.scope import Facts
from comptroller.gateway.egress import Egress
from comptroller.telemetry import families
from comptroller.telemetry.families import FAMILIES, Family
from comptroller.telemetry.readings import Sources, readings
from comptroller.telemetry.tally import Tally
from tests.control.house import House, opened
from tests.harness.configuration import budget

USD = 1_000_000_000


@pytest.fixture
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    budgets = [
        budget("pool", "10.00 USD"),
        budget("each", "4.00 USD", per="identity"),
        budget("nothing", "0 USD", mode="shadow"),
        budget("asleep", "1.00 USD", scope={"identity": "agent/bee"}),
    ]
    async with opened(tmp_path_factory.mktemp("house"), budgets=budgets) as house:
        yield house


def sources(house: House, most: int = 100) -> Sources:
    return Sources(house.gate, Tally(most), house.store.journal, Egress(), {}, lambda: True, "0")


async def read(house: House, family: Family, most: int = 100) -> list[tuple[dict[str, str], float]]:
    (values,) = [values async for name, values in readings(sources(house, most)) if name is family]
    return values  # type: ignore[return-value]


async def remaining(house: House, most: int = 100) -> dict[str, float]:
    return {labels["budget"]: share for labels, share in await read(house, families.REMAINING, most)}


async def test_a_budget_shows_the_window_with_the_least_left(house: House) -> None:
    assert await remaining(house) == {"pool": 1.0, "each": 1.0, "nothing": 0.0, "asleep": 1.0}
    await house.spend(1 * USD, identity="agent/bee")
    held = await house.hold(3 * USD, identity="agent/ant")
    assert await remaining(house) == {"pool": 0.6, "each": 0.25, "nothing": pytest.approx(0.0), "asleep": 0.0}
    held.settle(5 * USD)
    assert await remaining(house) == {"pool": 0.4, "each": -0.25, "nothing": 0.0, "asleep": 0.0}, "overdrawn is below 0"


async def test_budgets_past_the_cap_are_one_with_the_least_left(house: House) -> None:
    await house.spend(1 * USD, identity="agent/bee")
    assert await remaining(house, most=2) == {"asleep": 0.0, "each": 0.75, "other": 0.0}
    assert await remaining(house, most=3) == {"asleep": 0.0, "each": 0.75, "nothing": 0.0, "other": 0.9}


async def test_holds_are_summed(house: House) -> None:
    first, second = await house.hold(1 * USD), await house.hold(2 * USD)
    assert await read(house, families.HELD) == [({}, 3.0)]
    assert await read(house, families.HOLDS) == [({}, 2)]
    first.settle(0)
    second.settle(0)
    assert await read(house, families.HELD) == [({}, 0.0)]


async def test_every_family_is_read_and_has_the_labels_it_says(house: House) -> None:
    await house.spend(1 * USD)
    found = {family: values async for family, values in readings(sources(house))}
    assert set(found) == set(FAMILIES)
    for family, values in found.items():
        assert all(tuple(labels) == family.labels for labels, _ in values), family.name


async def test_calls_go_on_while_many_windows_are_looked_at(house: House) -> None:
    gate = house.gate
    for number in range(3000):
        node: Any = {"organization": "acme", "identity": f"agent/{number}"}
        gate.tree.drawn_by(Facts((node,), {}), gate.clock.now_ns())
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    assert (await remaining(house))["each"] == 1.0
    task.cancel()
    assert turns >= 6


async def test_stops_are_counted_by_what_they_stop(house: House) -> None:
    for scope, value in (("team", "red"), ("team", "blue"), ("everything", "")):
        await stops.suspend(house.office, scope, value, "a test", "dana")  # type: ignore[arg-type]
    counted = {labels["scope"]: number for labels, number in await read(house, families.STOPS)}
    assert {scope: number for scope, number in counted.items() if number} == {"team": 2, "everything": 1}
    assert counted["identity"] == 0
