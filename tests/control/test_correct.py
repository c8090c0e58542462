"""Corrections: in the right windows, durable, and never ahead of the disk."""

from pathlib import Path
from typing import Any

import pytest

from comptroller.control import correct
from comptroller.control.problem import ControlProblem
from comptroller.core.refusal import Refusal
from comptroller.flow.journal import LedgerUnavailableError
from tests.control.house import Broken, House, Unfoldable, opened, posted, written
from tests.harness.configuration import budget

ALL = budget("all", "100.00 USD")
COUNTS = [ALL, budget("tokens", "1_000 tokens"), budget("ants", "1.00 USD", scope={"identity": "agent/ant"})]


async def put_right(house: House, call_id: str, usd: int) -> Any:
    return await correct.correct(house.office, call_id, usd, "invoice, line 17", "finops")


async def test_the_difference_is_posted_where_the_call_was_settled(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=COUNTS) as house:
        call = await house.hold(50)
        call.settle(40, end="presumed", outcome="client_gone")
        await house.spend(1, identity="agent/bee")
        done = await put_right(house, call.facts.call_id, 15)
        assert (done.charge_before_usd, done.charge_usd, done.delta_usd) == (
            "0.00000004",
            "0.000000015",
            "-0.000000025",
        )
        assert (posted(house, "all"), posted(house, "ants")) == ({"": 16}, {"": 15})
        assert posted(house, "tokens") == {"": 20}, "tokens were counted, not billed"
        await house.store.fold()
        record = await house.store.call(call.facts.call_id)
        assert record is not None
        assert (record.charge.usd if record.charge else None, record.corrected) == (15, 1)
        await put_right(house, call.facts.call_id, 60)
        assert posted(house, "ants") == {"": 60}
        assert [each.usd for each in (await written(house, "ants")).values()] == [60]
    async with opened(tmp_path) as house:
        assert [each.usd for each in (await written(house, "all")).values()] == [61]


async def test_a_voided_call_can_turn_out_to_cost_something(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[ALL]) as house:
        call = await house.hold(50)
        call.settle(0, end="voided", outcome="provider_refused")
        await put_right(house, call.facts.call_id, 7)
        assert posted(house, "all") == {"": 7}


async def test_what_has_no_charge_cannot_be_corrected(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[ALL]) as house:
        call = await house.hold(50)
        with pytest.raises(ControlProblem, match="still in flight"):
            await put_right(house, call.facts.call_id, 7)
        call.settle(1)
        refused = await house.refuse(Refusal(code="model_unknown", sentence="No.", hint="Ask."))
        with pytest.raises(ControlProblem, match="was refused"):
            await put_right(house, refused, 7)
        with pytest.raises(ControlProblem, match="There is no call"):
            await put_right(house, "call_nope", 7)
        with pytest.raises(ControlProblem, match="below zero"):
            await put_right(house, call.facts.call_id, -1)
        assert posted(house, "all") == {"": 1}


@pytest.mark.parametrize("usd", [10, 90])
async def test_what_cannot_be_written_changes_nothing(tmp_path: Path, usd: int) -> None:
    async with opened(tmp_path, budgets=[ALL]) as house:
        call_id = await house.spend(50)
        journal = house.gate.journal
        house.gate.journal = Broken(journal, LedgerUnavailableError("disk full"))
        with pytest.raises(ControlProblem, match="nothing has changed: disk full"):
            await put_right(house, call_id, usd)
        house.gate.journal = journal
        assert posted(house, "all") == {"": 50}


@pytest.mark.parametrize("usd", [10**15 + 1, 10**21])
async def test_a_charge_that_nobody_believes_changes_nothing(tmp_path: Path, usd: int) -> None:
    """The books count nano-USD in 64 bits: an amount that they cannot hold must not reach the budgets either."""
    async with opened(tmp_path, budgets=[ALL]) as house:
        call_id = await house.spend(40)
        with pytest.raises(ControlProblem, match="not believed"):
            await put_right(house, call_id, usd)
        assert posted(house, "all") == {"": 40}


async def test_a_fault_on_the_way_to_the_books_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[ALL]) as house:
        call_id = await house.spend(40)
        house.gate.journal = Broken(house.gate.journal, ZeroDivisionError("a fault of ours"))
        with pytest.raises(ZeroDivisionError):
            await put_right(house, call_id, 50)
        assert posted(house, "all") == {"": 40}


async def test_a_correction_after_a_restart_reaches_a_window_that_sleeps(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[ALL]) as house:
        call_id = await house.spend(50)
    async with opened(tmp_path) as house:
        await put_right(house, call_id, 20)
        await house.spend(1)
        assert posted(house, "all") == {"": 21}


async def test_nothing_is_corrected_on_stale_books(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=[ALL]) as house:
        call_id = await house.spend(50)
        await house.store.fold()
        house.office.ledger = Unfoldable(house.store)
        with pytest.raises(ControlProblem, match="disk full") as caught:
            await put_right(house, call_id, 20)
        assert (caught.value.status, caught.value.code) == (503, "ledger_unavailable")
        assert posted(house, "all") == {"": 50}
        house.office.ledger = house.store
        await put_right(house, call_id, 20)
        assert posted(house, "all") == {"": 20}
