"""The story of a call says what the books say, for every way a call can end."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from comptroller.control import correct
from comptroller.control.explain import Explanation, explain
from comptroller.control.problem import ControlProblem
from comptroller.control.spend import show_spend
from comptroller.core.budget.hold import Amounts
from comptroller.core.money import parse_usd
from comptroller.core.pricing.charge import charge_nanos
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.flow.outcome import OUTCOMES
from comptroller.flow.records import Finding, Settled
from comptroller.wire.anthropic_messages.batch_calls import AnthropicBatches
from comptroller.wire.gemini.batch_calls import GeminiBatches
from comptroller.wire.openai_batches.calls import OpenAIBatches
from tests.control.house import House, OpenCall, opened, written
from tests.harness.configuration import SANDBOX_PRICES, budget

LIMITS = [budget("all", "100.00 USD"), budget("each", "9.00 USD", "day", per="identity")]
BATCHES = {"anthropic_batches", "openai_batches", "gemini_batches"}
USAGE = Usage(1_000, 500, cached_tokens=400, reasoning_tokens=100)


async def story(house: House, call_id: str) -> tuple[Explanation, str]:
    found = await explain(house.office, call_id)
    return found, "\n".join(found.sentences)


def exact(house: House, usage: Usage = USAGE) -> int:
    rates = house.gate.registry.prices.rates("sandbox", "sandbox-large", datetime.now(UTC).date())
    return charge_nanos(usage, rates["default"])


async def test_a_completed_call(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=LIMITS) as house:
        call = await house.hold(50_000_000, tokens=5_000)
        charge = exact(house)
        call.settle(charge, usage=USAGE)
        found, told = await story(house, call.facts.call_id)
        assert "the agent agent/ant called (team red, testing); red-lead@acme.example answers for it." in told
        assert "It asked for the model sandbox-large" in told
        assert "0.05 USD, 5000 tokens and 1 call were held for at most 4 input tokens" in told
        assert "on each of the budgets all and each[agent/ant]" in told
        assert "the gateway wrote 6 tokens into the request" in told
        assert OUTCOMES["completed"] in told
        assert "1000 input tokens (400 read from its cache) and 500 output tokens (100 of them reasoning)" in told
        assert "exactly what the reported usage costs (600 input at 3.00, 400 cached input at 0.30" in told
        total = sum(line.tokens * parse_usd(line.usd_per_million) for line in found.price_lines)
        assert -(-total // 1_000_000) == charge
        assert [each.name for each in found.budgets] == ["all", "each"]
        assert all(each.in_force and each.now is not None for each in found.budgets)


async def test_a_batch_is_told_as_one(tmp_path: Path) -> None:
    assert {each.name for each in (AnthropicBatches, OpenAIBatches, GeminiBatches)} == BATCHES
    for dialect in BATCHES:
        async with opened(tmp_path / dialect, budgets=LIMITS) as house:
            call = await house.hold(50_000_000, tokens=5_000, dialect=dialect, calls=3)
            call.settle(exact(house), usage=USAGE)
            _, told = await story(house, call.facts.call_id)
            assert f"the model sandbox-large as a batch of 3 requests ({dialect})" in told
            assert "3 calls were held for at most 4 input tokens and the output limits of its requests" in told
            assert "Each of its requests has an output limit of its own, of at most 6 tokens" in told
            assert "It asked for no output limit" not in told


async def test_what_has_no_output_has_no_limit_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=LIMITS) as house:
        call = await house.hold(50_000_000, dialect="openai_embeddings", output_limit=0)
        call.settle(exact(house), usage=USAGE)
        _, told = await story(house, call.facts.call_id)
        assert "were held for at most 4 input tokens, on each" in told
        assert "limit of 0" not in told
        assert "wrote 0" not in told


async def test_a_free_call_was_charged_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        call = await house.hold(0, tokens=0, dialect="openai_files", calls=0, output_limit=0)
        call.settle(0, tokens=0)
        _, told = await story(house, call.facts.call_id)
        assert "Providers take nothing for such a call, so nothing was held." in told
        assert "It was charged nothing." in told
        assert "usage costs" not in told


async def test_lines_that_do_not_add_up_are_not_shown(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=LIMITS) as house:
        call = await house.hold(50_000_000)
        call.settle(exact(house) + 1, usage=USAGE)
        found, told = await story(house, call.facts.call_id)
        assert found.price_lines == ()
        assert "per million" not in told


async def test_a_presumed_call_says_why_and_what_to_do(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=LIMITS) as house:
        call = await house.hold(1_000_000)
        call.settle(1_000_000, end="presumed", outcome="client_gone")
        _, told = await story(house, call.facts.call_id)
        assert "charged 0.001 USD as presumed: no usage report came" in told
        assert "the whole hold was posted" in told
        assert f"comptroller correct {call.facts.call_id} --charge USD" in told
        await correct.correct(house.office, call.facts.call_id, 400_000, "invoice, line 3", "finops")
        found, told = await story(house, call.facts.call_id)
        assert "charged 0.001 USD as presumed" in told
        assert "finops corrected the charge from 0.001 to 0.0004 USD: invoice, line 3." in told
        assert "--charge USD" not in told
        assert [(row.before_usd, row.after_usd) for row in found.corrections] == [("0.001", "0.0004")]
        assert not found.call.presumed


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_every_outcome_has_its_words(tmp_path: Path, outcome: Any) -> None:
    async with opened(tmp_path, budgets=LIMITS) as house:
        call = await house.hold(1_000)
        call.settle(0, end="voided", outcome=outcome)
        found, told = await story(house, call.facts.call_id)
        assert OUTCOMES[outcome] in told
        assert found.call.outcome == outcome
        assert "nothing was charged, but it counts as a call" in told


async def test_a_call_in_flight(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=LIMITS) as house:
        call: OpenCall = await house.hold(1_000)
        found, told = await story(house, call.facts.call_id)
        assert found.state == "open"
        assert "on each of the budgets all and each[agent/ant]" in told
        assert "still in flight" in told
        call.settle(0)


async def test_a_refused_call_says_what_is_left_now(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=LIMITS) as house:
        await house.spend(8_000_000_000)
        refusal = Refusal(
            code="budget_exhausted",
            sentence="The budget each[agent/ant] has too little left for this call.",
            hint="You can wait.",
            limit="each[agent/ant]",
            unit="usd",
            remaining="1.00",
            needed="1.25",
            resets_at="2026-11-23T00:00:00.000Z",
            largest_output_tokens=77,
        )
        call_id = await house.refuse(refusal)
        found, told = await story(house, call_id)
        assert "It was refused (budget_exhausted, HTTP 402) before anything was sent" in told
        assert "It needed 1.25 USD and each[agent/ant] had 1.00 left." in told
        assert "With an output limit of 77 tokens it would have fitted." in told
        assert "Now each[agent/ant] has 1.00 USD left of 9.00 (8.00 spent, 0.00 held) and resets at" in told
        assert "What to do: You can wait." in told
        assert found.refusal == refusal


async def test_findings_and_a_budget_that_is_gone(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=LIMITS) as house:
        call_id = await house.spend(5)
        house.gate.journal.append(Finding(house.gate.clock.now_ns(), "overrun", call_id, "m", "Billed above its hold."))
        await house.apply(budgets=LIMITS[:1])
        found, told = await story(house, call_id)
        assert "Finding overrun: Billed above its hold." in told
        assert [(each.name, each.in_force) for each in found.budgets] == [("all", True), ("each", False)]


async def test_an_unknown_call(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        with pytest.raises(ControlProblem, match="There is no call"):
            await explain(house.office, "call_nope")


def test_the_prices_of_the_test_are_the_sandbox_ones() -> None:
    assert SANDBOX_PRICES["sandbox-large"] == ("3.00", "15.00", "0.30", "3.75", "6.00")


async def test_a_settlement_whose_hold_nobody_knows_is_in_every_book(tmp_path: Path) -> None:
    """It can be explained, found, reported and corrected like any call, but for whose it was."""
    async with opened(tmp_path, budgets=LIMITS) as house:
        call = await house.hold(5_000, tokens=10)
        call.settle(5_000, usage=USAGE)
        await house.store.fold()
        stray = Settled(
            attempt_id="call_stray.1",
            call_id="call_stray",
            at_ns=call.facts.at_ns,
            end="posted",
            posted=Amounts(7_000, 20, 1),
            windows=tuple(window.key for window in call.hold.windows),
            outcome="completed",
            detail="",
            status=200,
            usage=USAGE,
            served_model=None,
            service_tier=None,
            priced=True,
            overrun=False,
            first_byte_ns=None,
            duration_ns=1,
        )
        await house.gate.journal.commit(stray)
        found, told = await story(house, "call_stray")
        assert "who made this call, and for what, is not known" in told
        assert "charged 0.000007 USD" in told
        assert "Finding settled_without_hold" in told
        assert (found.call.identity, found.call.charge_usd) == ("", "0.000007")
        assert (await written(house, "all")).popitem()[1].usd == 12_000
        report = await show_spend(house.office, "team", 0, None, 10, {})
        assert {row.key: row.posted_usd for row in report.rows} == {"red": "0.000005", None: "0.000007"}
        await correct.correct(house.office, "call_stray", 6_000, "the invoice", "test")
        assert (await written(house, "all")).popitem()[1].usd == 11_000
        assert (await show_spend(house.office, "team", 0, None, 10, {})).total.posted_usd == "0.000011"
