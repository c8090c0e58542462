"""A new budget begins with what was already spent, to the last call, whatever happens while it is installed."""

import random
from pathlib import Path
from typing import Any

import pytest

from comptroller.control import correct, tokens
from comptroller.control.problem import ControlProblem
from comptroller.control.sessions import end_session
from comptroller.flow.journal import LedgerUnavailableError
from tests.control.house import House, Interrupted, OpenCall, opened, posted, written
from tests.harness.configuration import budget

ALL = budget("all", "100.00 USD")
RED = budget("red", "50.00 USD", "month", scope={"team": "red"})
EACH = budget("each", "1_000 tokens", "day", per="identity")


async def test_a_new_budget_begins_with_what_was_spent(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[ALL]) as house:
        await house.spend(5)
        await house.spend(7, identity="agent/bee")
        presumed = await house.hold(11)
        presumed.settle(11, end="presumed", outcome="client_gone")
        voided = await house.hold(100)
        voided.settle(0, end="voided", outcome="provider_refused")
        done = await house.apply(budgets=[ALL, RED, EACH, budget("calls", "100 calls")])
        assert done.applied
        assert house.gate.registry.version == done.version == 2
        assert "red begins with 0.000000016 USD already spent" in done.opened
        rows = {(row.name, row.instance): row.posted for row in await rows_of(house)}
        assert rows["red", ""] == "0.000000016"
        assert rows["each", "agent/ant"] == 20
        assert rows["each", "agent/bee"] == 10
        assert rows["calls", ""] == 4
        assert rows["all", ""] == "0.000000023"


async def test_it_is_there_after_a_restart_too(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[ALL]) as house:
        await house.spend(5)
        await house.apply(budgets=[ALL, RED])
        await house.spend(3)
    async with opened(tmp_path) as house:
        assert {row.name: row.posted for row in await rows_of(house)} == {"all": "0.000000008", "red": "0.000000008"}
        await house.spend(1)
        assert posted(house, "red") == {"": 9}


async def test_open_holds_join_and_settle_there(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[ALL]) as house:
        call, other = await house.hold(30), await house.hold(40, identity="agent/bee")
        await house.apply(budgets=[ALL, RED])
        row = next(row for row in await rows_of(house) if row.name == "red")
        assert (row.posted, row.held) == ("0.00", "0.00000003")
        call.settle(20)
        other.settle(40)
        assert posted(house, "red") == {"": 20}
        assert [each.usd for each in (await written(house, "red")).values()] == [20]


async def test_a_limit_may_be_below_what_was_spent(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[ALL]) as house:
        await house.spend(30)
        await house.apply(budgets=[ALL, budget("small", "0.000000020 USD")])
        row = next(row for row in await rows_of(house) if row.name == "small")
        assert row.remaining == "-0.00000001"
        with pytest.raises(AssertionError):  # the hold is refused
            await house.hold(1)


async def test_another_limit_or_mode_keeps_the_count(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[ALL]) as house:
        await house.spend(5)
        done = await house.apply(budgets=[{**ALL, "limit": "7.00 USD", "mode": "shadow"}])
        assert done.opened == []
        assert posted(house, "all") == {"": 5}
        assert next(iter(house.gate.tree.windows())).budget.limit == 7_000_000_000


async def test_a_budget_that_comes_back_has_missed_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[ALL, RED]) as house:
        first = await house.spend(5)
        straddling = await house.hold(100)
        await house.apply(budgets=[ALL])
        await house.spend(7)
        straddling.settle(50)
        await correct.correct(house.office, first, 6, "the invoice", "test")
        await house.apply(budgets=[ALL, RED])
        assert posted(house, "red") == {"": 6 + 50 + 7}
        assert [each.usd for each in (await written(house, "red")).values()] == [63]
        # and once more, after a restart between
        await house.apply(budgets=[ALL])
    async with opened(tmp_path) as house:
        await house.spend(1)
        await house.apply(budgets=[ALL, RED])
        await house.spend(1)
        assert posted(house, "red") == {"": 65}
        assert [each.usd for each in (await written(house, "red")).values()] == [65]


@pytest.mark.parametrize("seed", range(12))
async def test_calls_that_go_on_meanwhile_are_counted_once(tmp_path: Path, seed: int) -> None:
    """At every point where the office waits, some calls begin and some end; and a correction asks to come in."""
    chance = random.Random(seed)
    async with opened(tmp_path, budgets=[ALL]) as house:
        open_calls: list[OpenCall] = []
        spent = {"agent/ant": 0, "agent/bee": 0}

        async def traffic(_: str) -> None:
            for _ in range(chance.randrange(4)):
                identity = chance.choice(list(spent))
                open_calls.append(await house.hold(chance.randrange(1, 50), identity=identity))
            chance.shuffle(open_calls)
            while open_calls and chance.random() < 0.7:
                call = open_calls.pop()
                amount = chance.randrange(call.hold.amounts.usd + 1)
                spent[call.facts.identity] += amount
                call.settle(amount)

        ledger = house.office.ledger
        house.office.ledger = Interrupted(ledger, traffic)
        for budgets in ([ALL, RED], [ALL, RED, {**EACH, "limit": "9.00 USD"}], [ALL, EACH], [ALL, RED, EACH], [RED]):
            await traffic("between")
            await house.apply(budgets=budgets)
        house.office.ledger = ledger
        assert posted(house, "red") == {"": spent["agent/ant"]}
        held = {w.budget.name: w.held for w in house.gate.tree.windows()}
        red = [call.hold.amounts.usd for call in open_calls if call.facts.team == "red"]
        assert held["red"] == sum(red)
        for call in open_calls:
            call.settle(1)
            spent[call.facts.identity] += 1
        assert [each.usd for each in (await written(house, "red")).values()] == [spent["agent/ant"]]
        assert posted(house, "red") == {"": spent["agent/ant"]}


async def test_a_budget_for_each_session_begins_with_those_that_go_on(tmp_path: Path) -> None:
    """Of however many there ever were: nothing can be spent in the others any more."""
    async with opened(tmp_path, budgets=[ALL]) as house:
        over, lives = [await tokens.mint(house.office, "agent/ant", None, "test") for _ in range(2)]
        for session, usd in ((over.session, 5), (lives.session, 7), (lives.session, 11)):
            await house.spend(usd, session=session)
        await end_session(house.office, over.session, "done", "test")
        done = await house.apply(budgets=[ALL, budget("each", "1.00 USD", per="session")])
        assert done.opened == [f"each[{lives.session}] begins with 0.000000018 USD already spent"]
        await house.spend(1, session=lives.session)
        assert posted(house, "each") == {lives.session: 19}


@pytest.mark.parametrize("breaks_at", ["fold", "balances", "posted_so_far", "install"])
async def test_what_cannot_be_installed_changes_nothing(tmp_path: Path, breaks_at: str) -> None:
    async with opened(tmp_path, budgets=[ALL]) as house:
        await house.spend(5)
        ledger, before = house.office.ledger, house.gate.registry

        async def breaks(point: str) -> None:
            await house.spend(1)
            if point == f"before {breaks_at}":
                raise LedgerUnavailableError("disk full")

        house.office.ledger = Interrupted(ledger, breaks)
        with pytest.raises(ControlProblem, match="stays at version 1: disk full"):
            await house.apply(budgets=[ALL, RED])
        house.office.ledger = ledger
        assert house.gate.registry is before
        assert [each.name for each in house.gate.tree.budgets] == ["all"]
        spent = posted(house, "all")[""]
        await house.apply(budgets=[ALL, RED])
        await house.spend(1)
        assert posted(house, "red") == {"": spent + 1}
        assert [each.usd for each in (await written(house, "red")).values()] == [spent + 1]


async def test_corrections_wait_for_the_change(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[ALL]) as house:
        call_id = await house.spend(5)
        asked = False

        async def ask(point: str) -> None:
            nonlocal asked
            if point == "before posted_so_far":
                asked = house.office.changing.locked()

        house.office.ledger = Interrupted(house.store, ask)
        await house.apply(budgets=[ALL, RED])
        assert asked, "a correction would have come in between"
        await correct.correct(house.office, call_id, 2, "the invoice", "test")
        # It was settled before the budget came, but the budget began with it.
        for name in ("all", "red"):
            assert next(row.posted for row in await rows_of(house) if row.name == name) == "0.000000002"
            assert [each.usd for each in (await written(house, name)).values()] == [2]


async def rows_of(house: House) -> Any:
    from comptroller.control.budgets import list_budgets

    return await list_budgets(house.office)
