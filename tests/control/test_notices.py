"""Who is told of what, and what a full outbox, a start and other settings make of it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from comptroller.control import correct, notices, notify
from comptroller.core.budget.window import span_at
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.flow.findings import report
from comptroller.flow.records import Finding
from comptroller.settings import KeySource, NotifySettings
from comptroller.settings.schema import NotifyScope
from comptroller.settings.values import Values, WebhookUrl
from tests.control.house import House, opened
from tests.control.test_approvals import ROLES
from tests.harness.configuration import budget

MILLI = 10**6
STEPS = ["50% notify", "80% notify", "90% approval:finops"]
BUDGETS = [budget("pool", "1.00 USD", "day", soft=STEPS, owner_role="finops")]


def receiver(name: str = "ops", **changes: Any) -> NotifySettings:
    """One that nobody answers for: what it would get is seen before it leaves."""
    url, secret = WebhookUrl("http", "127.0.0.1", 9, "/"), KeySource("env", "HOOK_SECRET")
    return NotifySettings(name=name, url=url, secret=secret, **changes)


def outbox(house: House) -> notices.Outbox:
    assert house.office.notifying is not None
    return house.office.notifying.outbox


def events(house: House, name: str = "ops") -> list[dict[str, Any]]:
    return [json.loads(each.body) for each in outbox(house).receivers[name].waiting.values()]


def told(house: House) -> list[str]:
    return [event["type"].removeprefix("comptroller.") for event in events(house)]


async def look(house: House) -> None:
    assert house.office.notifying is not None
    await house.office.notifying.watch.look()


def at(house: House, monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Go to this part of the day."""
    span = span_at("day", ZoneInfo("UTC"), house.gate.clock.now_ns())
    assert span.end_ns is not None
    now_ns = span.start_ns + int(share * (span.end_ns - span.start_ns))
    monkeypatch.setattr(house.gate.clock, "now_ns", lambda: now_ns)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path, budgets=BUDGETS, approvals=ROLES) as house:
        await notify.begin(house.office, [receiver()], {})
        yield house


async def test_each_step_is_told_once_by_what_is_posted(house: House) -> None:
    call = await house.hold(900 * MILLI)
    await look(house)
    assert told(house) == [], "what is only held may still be given back"
    call.settle(500 * MILLI)
    await look(house)
    await look(house)
    assert [event["data"]["threshold"] for event in events(house)] == ["50%"]
    await house.spend(350 * MILLI)
    await look(house)
    assert [event["data"]["threshold"] for event in events(house)] == ["50%", "80%"]
    data = events(house)[-1]["data"]
    assert (data["posted"], data["held"], data["remaining"], data["limit"]) == ("0.85", "0.00", "0.15", "1.00")


async def test_another_limit_has_steps_of_its_own_and_a_correction_passes_them_too(house: House) -> None:
    call = await house.spend(500 * MILLI)
    await look(house)
    await house.apply(budgets=[{**BUDGETS[0], "limit": "2.00 USD"}], approvals=ROLES)
    await look(house)
    assert [event["data"]["limit"] for event in events(house)] == ["1.00"]
    await correct.correct(house.office, call, 1_000 * MILLI, "line 7 of the invoice", "olga")
    await look(house)
    assert [event["data"]["limit"] for event in events(house)] == ["1.00", "2.00"]


async def test_what_was_told_once_is_not_told_again_after_a_start(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=BUDGETS, approvals=ROLES) as house:
        await notify.begin(house.office, [receiver()], {})
        await house.spend(850 * MILLI)
        await look(house)
        assert told(house) == ["budget.threshold"] * 2
    async with opened(tmp_path) as house:
        await notify.begin(house.office, [receiver(), receiver("late")], {})
        assert told(house) == ["budget.threshold"] * 2, "what waited goes on waiting"
        await house.spend(1 * MILLI)
        await look(house)
        assert told(house) == ["budget.threshold"] * 2
        assert events(house, "late") == []


async def test_a_forecast_comes_with_a_quarter_of_the_window_and_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(house, monkeypatch, 0.1)
    await house.spend(300 * MILLI)
    for share in (0.1, 0.2):
        at(house, monkeypatch, share)
        await look(house)
    assert told(house) == []
    at(house, monkeypatch, 0.26)
    await house.spend(1 * MILLI)
    await look(house)
    await look(house)
    assert told(house) == [], "nothing was spent lately, so it lasts"
    at(house, monkeypatch, 0.3)
    await house.spend(190 * MILLI)
    await look(house)
    at(house, monkeypatch, 0.31)
    await look(house)
    assert told(house) == ["budget.forecast"]
    data = events(house)[0]["data"]
    assert data["window_start"] < data["runs_out_at"] < data["resets_at"]


async def test_a_filter_keeps_notices_from_those_who_do_not_want_them(tmp_path: Path) -> None:
    async with opened(
        tmp_path, budgets=[budget("red", "1.00 USD", scope={"team": "red"}, soft=["1% notify"])]
    ) as house:
        settings = [
            receiver("red", scope=NotifyScope(team=Values(["red"]))),
            receiver("blue", scope=NotifyScope(team=Values(["blue"]))),
            receiver("grave", min_severity="error"),
        ]
        await notify.begin(house.office, settings, {})
        await house.spend(100 * MILLI)
        await look(house)
        assert [len(events(house, each.name)) for each in settings] == [1, 0, 0]


async def test_a_full_outbox_drops_what_is_new_and_says_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "WAITING_MOST", 3)
    for number in range(5):
        house.gate.notices.emit("stop.suspended", f"team {number}", {})
    assert len(told(house)) == 3
    [row] = notify.list_receivers(house.office)
    assert (row.waiting, row.dropped) == (3, 2)
    assert [event for event, _ in house.warnings] == ["notice_dropped"] * 2


async def test_what_waits_for_a_receiver_that_is_gone_from_the_file_is_a_dead_letter(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await notify.begin(house.office, [receiver()], {})
        house.gate.notices.emit("stop.suspended", "team red", {})
    async with opened(tmp_path) as house:
        await notify.begin(house.office, [], {})
        [row] = await notify.list_failed(house.office)
        assert (row.receiver, row.name, row.tries) == ("ops", "stop.suspended", 0)
        assert not house.gate.notices.heard
    async with opened(tmp_path) as house:
        await notify.begin(house.office, [receiver()], {})
        assert await notify.retry(house.office, None, None) == notify.Retried(1, 0)
        assert told(house) == ["stop.suspended"]
        assert await notify.list_failed(house.office) == []


async def test_a_finding_that_comes_again_and_again_is_told_now_and_then(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = (await house.hold(1)).facts

    def find(number: int) -> None:
        now_ns = house.gate.clock.now_ns()
        report(house.gate, Finding(now_ns, "usage_missing", f"call_{number}", "sandbox-large", "no usage"), facts)

    for number in range(10):
        find(number)
    assert len(told(house)) <= 2, "at most one in ten minutes"
    told_before = len(told(house))
    now_ns = house.gate.clock.now_ns() + 600 * NANOS_PER_SECOND
    monkeypatch.setattr(house.gate.clock, "now_ns", lambda: now_ns)
    find(11)
    assert len(told(house)) == told_before + 1
    assert set(told(house)) == {"finding.usage_missing"}
    await house.store.fold()
    assert len(await house.store.findings(100)) == 11, "the books have every one"
