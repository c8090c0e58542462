"""What the price book says, and what other prices would have meant: over the API, as the books have it."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from comptroller.control.api import build
from comptroller.control.door import Outside
from comptroller.control.interfaces import CallFilter
from comptroller.control.prices import show_prices
from comptroller.control.problem import ControlProblem
from comptroller.control.reprice import RepriceRow, joined, reprice
from comptroller.core.instant import from_datetime
from comptroller.core.pricing.charge import charge_nanos
from comptroller.core.pricing.usage import COUNTS, Usage
from comptroller.shipped import ShippedBook
from tests.control.asgi import Admin, ask
from tests.control.house import House, opened
from tests.harness.configuration import model, prices

LONG_AGO = from_datetime(datetime(2026, 1, 1, tzinfo=UTC))
FROM = date(2026, 1, 1)


async def with_shipped(house: House, models: tuple[str, ...] = ("gpt-5.4",), **changes: Any) -> None:
    """As if the sandbox were OpenAI."""
    house.gate.registry.prices.shipped = ShippedBook({"sandbox": "openai"})
    served = {"sandbox-*": model("sandbox"), **{name: model("sandbox") for name in models}}
    await house.apply(models=served, **changes)


# --- prices -------------------------------------------------------------------------------------


async def test_each_meter_and_where_it_is_from(tmp_path: Path) -> None:
    own = {"model": "gpt-*", "from": FROM, "service_tier": "flex", "input": "0.10", "output": "0.20", "web_search": "3"}
    async with opened(tmp_path) as house:
        await with_shipped(house, prices=[*prices(), own])
        sheet = show_prices(house.office, "gpt-5.4", None, date(2026, 11, 1))
        rows = {(row.service_tier, row.over_input_tokens): row for row in sheet.prices}
        assert list(rows) == [
            *(("default", 0), ("default", 272_000), ("batch", 0), ("batch", 272_000)),
            *(("fast", 0), ("flex", 0), ("priority", 0)),
        ]
        assert rows["default", 272_000].usd_per_million == {"input": "5.00", "output": "22.50", "cache_read": "0.50"}
        assert rows["default", 0].usd_per_thousand == {"web_search": "10.00", "file_search": "2.50"}
        assert rows["default", 0].source.startswith("genai-prices ")
        assert rows["default", 0].first_day is None
        assert (rows["flex", 0].source, rows["flex", 0].first_day) == ("registry: gpt-*", "2026-01-01")
        assert rows["flex", 0].usd_per_thousand == {"web_search": "3.00"}
        assert sheet.version == house.gate.registry.prices.version
        assert sheet.notes == []


async def test_what_has_no_price_says_why(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        sheet = show_prices(house.office, "gpt-99", None, None)
        assert sheet.prices == []
        assert "no line of the registry is for it" in sheet.notes[0]
        assert "No entry of the registry serves this model" in sheet.notes[1]
        await with_shipped(house, ("gpt-99", "moderation"))
        assert "does not know the model" in show_prices(house.office, "gpt-99", "sandbox", None).notes[0]
        assert "no price for input tokens" in show_prices(house.office, "moderation", None, None).notes[0]
        assert show_prices(house.office, "sandbox-large", None, date(2025, 12, 31)).prices == []
        with pytest.raises(ControlProblem, match="no provider 'sandbx'"):
            show_prices(house.office, "gpt-99", "sandbx", None)


async def test_an_apply_keeps_the_shipped_prices_and_asks_for_no_line_of_ones_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await with_shipped(house)
        plan = await house.apply(models={"gpt-5.4": model("sandbox"), "gpt-5*": model("sandbox")}, prices=[])
        assert not [row for row in plan.warnings if "No price" in row.sentence]
        plan = await house.apply(models={"gpt-99": model("sandbox")}, prices=[])
        assert [row.where for row in plan.warnings if "No price" in row.sentence] == ["models.gpt-99"]
        assert house.gate.registry.prices.rates("sandbox", "gpt-5.4", date(2026, 11, 1))


# --- reprice ------------------------------------------------------------------------------------

USAGE = Usage(1_000, 500, cached_tokens=400)


def now(house: House, usage: Usage, asked: str = "sandbox-large") -> int:
    rates = house.gate.registry.prices.rates("sandbox", asked, datetime.now(UTC).date())
    return charge_nanos(usage, rates["default"])


def numbers(row: RepriceRow) -> tuple[int, str, str, str]:
    return row.calls, row.recorded_usd, row.repriced_usd, row.difference_usd


async def test_a_corrected_price_shows_what_it_would_have_meant(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        for identity in ("agent/ant", "agent/ant", "agent/bee"):
            call = await house.hold(50_000_000, identity=identity)
            call.settle(now(house, USAGE), usage=USAGE)
        await house.spend(1_000_000, model="sandbox-small")  # without usage
        before = await reprice(house.office, LONG_AGO, None, None)
        assert {row.difference_usd for row in (*before.rows, before.total)} == {"0.00"}
        twice = [line | {"input": "6.00", "output": "30.00", "cache_read": "0.60"} for line in prices()]
        await house.apply(prices=twice)
        found = await reprice(house.office, LONG_AGO, None, None)
        rows = {(row.identity, row.model): row for row in found.rows}
        assert numbers(rows["agent/ant", "sandbox-large"]) == (2, "0.01884", "0.03768", "0.01884")
        assert numbers(rows["agent/bee", "sandbox-large"]) == (1, "0.00942", "0.01884", "0.00942")
        assert (found.total.calls, found.total.difference_usd) == (3, "0.02826")
        assert found.total.presumed_usd == "0.001"
        only = await reprice(house.office, LONG_AGO, "agent/bee", "sandbox-large")
        assert [row.identity for row in only.rows] == ["agent/bee"]
        later = from_datetime(datetime.now(UTC) + timedelta(minutes=1))
        assert (await reprice(house.office, later, None, None)).rows == []
        rows_after = await house.office.ledger.calls(CallFilter())
        assert sum(each.charge.usd for each in rows_after if each.charge is not None) == 29_260_000, (
            "nothing was changed"
        )


async def test_what_cannot_be_compared_stands_apart(tmp_path: Path) -> None:
    from comptroller.control.correct import correct

    async with opened(tmp_path) as house:
        presumed = await house.hold(7_000_000)
        presumed.settle(7_000_000, end="presumed", outcome="client_gone")
        corrected = await house.hold(50_000_000)
        corrected.settle(now(house, USAGE), usage=USAGE)
        await correct(house.office, corrected.facts.call_id, 5_000_000, "the invoice", "admin")
        unpriced = await house.hold(50_000_000, model="sandbox-small")
        unpriced.settle(3_000_000, usage=USAGE)
        voided = await house.hold(50_000_000)
        voided.settle(0, end="voided", outcome="provider_refused")
        await house.apply(prices=[line for line in prices() if not line["model"].startswith("sandbox-small")])
        total = (await reprice(house.office, LONG_AGO, None, None)).total
        assert numbers(total) == (0, "0.00", "0.00", "0.00")
        assert (total.presumed_calls, total.presumed_usd) == (1, "0.007")
        assert (total.kept_calls, total.kept_usd) == (1, "0.005")
        assert (total.unpriced_calls, total.unpriced_usd) == (1, "0.003")


async def test_many_calls_are_several_answers_that_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as house:
        for number in range(7):
            call = await house.hold(50_000_000, identity=("agent/ant", "agent/bee")[number % 2])
            call.settle(now(house, USAGE), usage=USAGE)
        await house.spend(1_000_000)
        whole = await reprice(house.office, LONG_AGO, None, None)
        assert (whole.total.calls, whole.total.presumed_calls, whole.next) == (7, 1, None)
        monkeypatch.setattr("comptroller.control.reprice._PAGE", 2)
        assert await reprice(house.office, LONG_AGO, None, None) == whole, "pages are not seen"
        monkeypatch.setattr("comptroller.control.reprice._MOST_AT_ONCE", 4)
        parts = [await reprice(house.office, LONG_AGO, None, None)]
        while parts[-1].next is not None:
            parts.append(await reprice(house.office, LONG_AGO, None, None, parts[-1].next))
        assert len(parts) == 3
        assert joined(parts) == whole


async def test_rare_meters_survive_the_books(tmp_path: Path) -> None:
    usage = Usage(**{name: 100 + place for place, name in enumerate(COUNTS)}, service_tier="default")
    async with opened(tmp_path) as house:
        call = await house.hold(50_000_000)
        call.settle(1, usage=usage)
        await house.office.catch_up()
        record = await house.office.ledger.call(call.facts.call_id)
        assert record is not None
        assert record.usage == usage


# --- over HTTP ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/prices?model=sandbox-large", 200),
        ("/api/v1/prices?model=openai%2Fgpt-5&at=2026-11-01", 200),
        ("/api/v1/prices", 400),
        ("/api/v1/prices?model=x&at=yesterday", 400),
        ("/api/v1/prices?model=x&provider=nobody", 404),
        ("/api/v1/reprice?since=2026-11-01T00:00:00Z", 200),
        ("/api/v1/reprice?since=2026-11-01T00:00:00Z&identity=agent/ant&model=sandbox-large", 200),
        ("/api/v1/reprice?since=7d", 422),
        ("/api/v1/reprice", 400),
    ],
)
async def test_the_admin_plane_answers(tmp_path: Path, path: str, status: int) -> None:
    async with opened(tmp_path) as house:
        said = await ask(build(house.office, Outside(Admin())), "GET", path)
        assert said.status == status, said.body
        if path.startswith("/api/v1/prices?model=sandbox-large"):
            assert said.body["prices"][0]["usd_per_million"]["input"] == "3.00"
