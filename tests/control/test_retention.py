"""Retention: what is too old goes, nothing that anybody counts with changes, and it is said what is gone."""

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from comptroller.control import calls, changes, correct, explain, reprice, retention, spend
from comptroller.control.budgets import list_budgets
from comptroller.control.interfaces import CallFilter, SpendDimension
from comptroller.control.problem import ControlProblem
from comptroller.core.ids import make_id
from comptroller.core.instant import DAY_NS, format_instant
from comptroller.core.work.stored import StoredObject
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Finding, ObjectChanged
from comptroller.settings import RetentionSettings
from tests.control.house import House, Interrupted, opened
from tests.harness.configuration import budget
from tests.store.samples import held, settled

LIFE = budget("life", "100.00 USD")
EACH = budget("each", "9_000_000 tokens", per="identity")
DAYS = RetentionSettings(calls_days=30, presumed_days=100, findings_days=20, sessions_days=30, spend_recent_days=35)
AGES = (0, 1, 29, 31, 34, 36, 40, 200)


def make(house: House, days_ago: int, end: str = "posted") -> str:
    """A call of that time, as the journal of then told it; returns its id."""
    at_ns = house.gate.clock.now_ns() - days_ago * DAY_NS
    call_id = make_id("call", at_ns, days_ago)
    hold = held(1, windows=(), call_id=call_id, at_ns=at_ns, identity=f"agent/{days_ago % 2}")
    house.store.journal.append(hold)
    house.store.journal.append(
        settled(1, windows=(), attempt_id=hold.attempt_id, call_id=call_id, at_ns=at_ns + 5, end=end, usage=None)
    )
    return call_id


async def reports(house: House) -> list[Any]:
    """By names and over days: what retention must not change."""
    asked: list[SpendDimension] = ["team", "identity", "model", "owner"]
    return [msgspec.to_builtins(await spend.show_spend(house.office, by, 0, None, 100, {})) for by in asked]


async def prune(house: House, days: RetentionSettings = DAYS) -> Any:
    return await retention.prune(house.office, days)


async def test_nothing_that_counts_changes(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[LIFE]) as house:
        made = {age: make(house, age) for age in AGES}
        await house.spend(5)
        before = await reports(house), await list_budgets(house.office)
        deleted = await prune(house)
        others = dict.fromkeys(("presumed", "findings", "sessions", "objects", "tickets", "grants", "tool_sets"), 0)
        assert deleted == {"calls": 5, "spend_recent": 3} | others
        assert (await reports(house), await list_budgets(house.office)) == before
        left = {record.facts.call_id for record in await house.store.calls(CallFilter())}
        assert {age for age, call_id in made.items() if call_id in left} == {0, 1, 29}
        assert set((await prune(house)).values()) == {0}
    async with opened(tmp_path) as house:
        assert (await reports(house))[0]["rows"] == before[0][0]["rows"]


async def test_a_new_budget_begins_with_calls_that_are_long_gone(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[]) as house:
        for age in AGES:
            make(house, age)
        await prune(house)
        await house.apply(budgets=[LIFE, EACH])
        rows = {(row.name, row.instance): row.posted for row in await list_budgets(house.office)}
        assert rows["life", ""] == "0.016", "eight calls of 0.002 USD, three of them still there"
        assert rows["each", "agent/0"] == 5 * 700
        assert rows["each", "agent/1"] == 3 * 700


async def test_what_is_gone_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        ids = {age: make(house, age) for age in AGES}
        await house.store.fold()
        with pytest.raises(ControlProblem) as unknown:
            await calls.find_call(house.office, make_id("call", house.gate.clock.now_ns() - 200 * DAY_NS, 1))
        assert unknown.value.code == "not_found", "nothing was pruned yet"
        await prune(house, RetentionSettings(calls_days=100))
        await prune(house)
        asked: list[Any] = [
            explain.explain(house.office, ids[200]),
            correct.correct(house.office, ids[200], 5, "the invoice", "test"),
        ]
        for question in asked:
            with pytest.raises(ControlProblem) as gone:
                await question
            assert (gone.value.status, gone.value.code) == (410, "pruned")
            assert "retention.calls_days = 100" in gone.value.message, "by what it was pruned then"
        with pytest.raises(ControlProblem, match="calls_days = 30"):
            await calls.find_call(house.office, ids[31])
        assert (await calls.find_call(house.office, ids[29])).facts.call_id == ids[29]
        for never in ("call_nobody", make_id("call", house.gate.clock.now_ns(), 7)):
            with pytest.raises(ControlProblem) as unknown:
                await calls.find_call(house.office, never)
            assert unknown.value.code == "not_found"
        repriced = await reprice.reprice(house.office, 0, None, None)
        kept = (house.gate.clock.now_ns() // DAY_NS - 30) * DAY_NS
        assert repriced.since == format_instant(kept), "it says that it does not know of more"


async def test_pruning_is_on_record(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        make(house, 50)
        house.store.journal.append(Finding(house.gate.clock.now_ns() - 21 * DAY_NS, "overrun", None, "gateway", "x"))
        await house.store.fold()
        await prune(house)
        rows = {row.key: row for row in await changes.list_changes(house.office) if row.noun == "records"}
        assert rows.keys() == {"calls", "findings", "spend_recent"}, "sessions had none that were too old"
        row = rows["calls"]
        kept = format_instant((house.gate.clock.now_ns() // DAY_NS - 30) * DAY_NS)
        assert (row.actor, row.verb, row.reason) == ("gateway", "prune", "retention.calls_days = 30")
        assert json.loads(row.before) == {"kept_since": None}
        assert json.loads(row.after) == {"kept_since": kept}
        await prune(house)
        assert len([row for row in await changes.list_changes(house.office) if row.noun == "records"]) == 3


async def test_many_go_in_small_steps_between_which_calls_are_made(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[LIFE]) as house:
        for number in range(120):
            at_ns = house.gate.clock.now_ns() - 60 * DAY_NS
            hold = held(number, windows=(), call_id=make_id("call", at_ns, number), at_ns=at_ns)
            house.store.journal.append(hold)
            ended = {"attempt_id": hold.attempt_id, "call_id": hold.facts.call_id, "at_ns": at_ns}
            house.store.journal.append(settled(number, windows=(), **ended))
        await house.store.fold()
        steps = 0

        async def spend_and_correct(point: str) -> None:
            nonlocal steps
            if point == "before prune":
                assert house.office.changing.locked(), "a correction could lose its call"
                steps += 1
                await house.spend(1)

        ledger = house.office.ledger
        house.office.ledger = Interrupted(ledger, spend_and_correct)
        assert (await prune(house))["calls"] == 120
        house.office.ledger = ledger
        assert steps >= 5
        row = next(row for row in await list_budgets(house.office) if row.name == "life")
        assert row.posted == f"0.{steps:09d}".rstrip("0")


async def test_an_interrupted_pruning_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        ids = [make(house, age) for age in (50, 60, 70)]
        await house.store.fold()

        async def full(point: str) -> None:
            if point == "before prune":
                raise LedgerUnavailableError("disk full")

        ledger = house.office.ledger
        house.office.ledger = Interrupted(ledger, full)
        with pytest.raises(LedgerUnavailableError):
            await prune(house)
        house.office.ledger = ledger
        assert await house.store.call(ids[0]) is not None, "it was said, and not done yet"
    async with opened(tmp_path) as house:
        assert (await prune(house))["calls"] == 3
        assert len([row for row in await changes.list_changes(house.office) if row.key == "calls"]) == 1


async def test_a_store_that_cannot_be_written_makes_pruning_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "FIRST_S", 0.0)
    monkeypatch.setattr(retention, "EVERY_S", 0.0)
    async with opened(tmp_path) as house:
        make(house, 50)
        await house.store.fold()
        tries = 0
        done = asyncio.Event()

        async def full_twice(point: str) -> None:
            nonlocal tries
            if point == "before keep_since" and tries < 2:
                tries += 1
                raise LedgerUnavailableError("disk full")
            if point == "after prune":
                done.set()

        house.office.ledger = Interrupted(house.store, full_twice)
        keeping = asyncio.create_task(retention.keep(house.office, DAYS))
        async with asyncio.timeout(20):
            await done.wait()
        keeping.cancel()
        assert house.warnings == [("retention_waits", {"message": "disk full"})] * 2


async def test_what_went_is_said_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FIRST_S", 0.0)
    monkeypatch.setattr(retention, "EVERY_S", 0.0)
    async with opened(tmp_path) as house:
        for age in AGES:
            make(house, age)
        await house.store.fold()
        rounds = asyncio.Event()

        async def second_round(point: str) -> None:
            if point == "before has_older" and house.warnings:
                rounds.set()

        house.office.ledger = Interrupted(house.store, second_round)
        keeping = asyncio.create_task(retention.keep(house.office, DAYS))
        async with asyncio.timeout(20):
            await rounds.wait()
        keeping.cancel()
        fields = {"comptroller.records.calls": "5", "comptroller.records.spend_recent": "3"}
        assert house.warnings == [("records_pruned", fields)], "and nothing of a round that found nothing"


async def test_every_kind_has_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many old calls do not make old sessions and findings wait."""
    monkeypatch.setattr(retention, "MOST", retention.FEWEST)
    async with opened(tmp_path) as house:
        for number in range(60):
            make(house, 50 + number)
        await house.store.fold()
        turns: list[str] = []

        class Watched:
            def __getattr__(self, name: str) -> Any:
                if name == "prune":
                    return self.watched
                return getattr(house.store, name)

            async def watched(self, what: Any, after: Any, most: int) -> Any:
                turns.append(what)
                return await house.store.prune(what, after, most)

        house.office.ledger = Watched()  # type: ignore[assignment]
        await prune(house)
        kinds = [
            "calls",
            "presumed",
            "findings",
            "sessions",
            "objects",
            "spend_recent",
            "tickets",
            "grants",
            "tool_sets",
        ]
        assert turns[:9] == kinds
        assert turns[9:] == ["calls", "spend_recent"] * 5 + turns[19:], "those that are over are not asked again"


@pytest.mark.parametrize(
    ("size", "took_ms", "then"),
    [
        (100, 5, 100),  # as long as it should
        (100, 4, 125),
        (100, 1, 200),  # it grows slowly: the next ones may be in other places of the disk
        (100, 50, 10),  # and shrinks at once
        (100, 10**6, retention.FEWEST),  # never so far that it does not come to an end
        (retention.MOST, 0, retention.MOST),
    ],
)
def test_a_step_takes_as_long_as_it_should(size: int, took_ms: int, then: int) -> None:
    assert retention.next_size(size, took_ms * 1_000_000, 5_000_000) == then


async def test_calls_in_flight_slow_it_down(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[LIFE]) as house:
        assert retention.pace_now(house.office) == retention.IDLE
        call = await house.hold(5)
        assert retention.pace_now(house.office) == retention.BUSY
        call.settle(5)
        assert retention.pace_now(house.office) == retention.IDLE


async def test_a_presumed_call_can_still_be_corrected_when_others_of_its_day_are_gone(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        ids = {age: make(house, age, end="presumed") for age in (50, 101)}
        gone = make(house, 51)
        await prune(house)
        assert (await correct.correct(house.office, ids[50], 5, "the invoice", "test")).charge_usd == "0.000000005"
        assert (await explain.explain(house.office, ids[50])).call.corrected
        await prune(house)
        assert (await explain.explain(house.office, ids[50])).call.corrected, "and it stays as long as before"
        for call_id in (gone, ids[101]):
            with pytest.raises(ControlProblem, match=r"not kept any more since 20.*calls_days = 30"):
                await explain.explain(house.office, call_id)


async def test_presumed_calls_stay_at_least_as_long_as_others(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        call_id = make(house, 150, end="presumed")
        await prune(house, RetentionSettings(calls_days=200, presumed_days=100))
        assert await house.store.call(call_id) is not None
        await prune(house, RetentionSettings(calls_days=140, presumed_days=100))
        assert await house.store.call(call_id) is None
        (row,) = [row for row in await changes.list_changes(house.office) if row.key == "presumed"]
        assert row.reason == "retention.calls_days = 140"


async def test_responses_that_no_provider_has_any_more_go_and_files_stay_until_they_are_deleted(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        now_ns = house.gate.clock.now_ns()
        for kind, days, deleted in (
            ("response", 59, None),
            ("response", 61, None),
            ("file", 200, None),
            ("file", 99, 1),
        ):
            made = StoredObject(
                f"{kind}_{days}", cast("Any", kind), "sandbox", "m", "agent/ant", "ses", "ses", "", "call_1",
                now_ns - days * DAY_NS, deleted_at_ns=deleted,
            )  # fmt: skip
            await house.store.journal.commit(ObjectChanged(now_ns, made))
        await house.store.fold()
        assert (await prune(house))["objects"] == 2
        assert [each.id for each in await house.store.live_objects(0, 10)] == ["response_59", "file_200"]
        assert (await prune(house))["objects"] == 0
