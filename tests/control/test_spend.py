"""Reports as the admin plane gives them: what is asked, what is answered, and the days of people far from Greenwich."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest

from comptroller.control import api, tokens
from comptroller.control.door import Outside
from comptroller.control.tokens import OpenRequest
from comptroller.core.instant import from_datetime
from comptroller.flow.caller import Caller
from comptroller.flow.identify import identify
from tests.control.asgi import Admin, Said, ask
from tests.control.house import House, opened, posted
from tests.harness.configuration import budget, identity
from tests.store.samples import CHARGE, held, refused, settled


async def spend(house: House, **query: Any) -> Said:
    return await ask(api.build(house.office, Outside(Admin())), "GET", f"/api/v1/spend?{urlencode(query)}")


def make(house: House, number: int, at: datetime, **facts: Any) -> None:
    house.store.journal.append(held(number, at_ns=from_datetime(at), **facts))
    house.store.journal.append(settled(number, at_ns=from_datetime(at) + 5))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"])
async def test_a_day_ends_at_midnight_in_any_zone(tmp_path: Path, zone: str) -> None:
    """Kathmandu is 5:45 ahead; Lord Howe moves its clocks by half an hour."""
    midnight = datetime(2026, 11, 20, tzinfo=ZoneInfo(zone))
    async with opened(tmp_path) as house:
        for number, away in enumerate([-1, 0, 86_399, 86_400]):
            make(house, number, midnight + timedelta(seconds=away))
        day = await spend(
            house, since=midnight.isoformat(), until=(midnight + timedelta(days=1)).isoformat(), by="identity"
        )
        assert [(row["key"], row["calls"]) for row in day.body["rows"]] == [("agent/scout", 2)]
        assert datetime.fromisoformat(day.body["since"]) == midnight
        assert datetime.fromisoformat(day.body["until"]) == midnight + timedelta(days=1)


async def test_rows_and_total(tmp_path: Path) -> None:
    at = datetime.now(ZoneInfo("UTC")) - timedelta(hours=1)
    async with opened(tmp_path) as house:
        make(house, 1, at)
        make(house, 2, at, team="ads", identity="agent/ad")
        house.store.journal.append(held(3, at_ns=from_datetime(at)))
        house.store.journal.append(settled(3, at_ns=from_datetime(at), end="presumed", usage=None, overrun=True))
        house.store.journal.offer(refused(4, at_ns=from_datetime(at)))
        said = await spend(house, by="team")
        assert said.body["rows"] == [
            {
                "key": "search",
                "calls": 2,
                "refused": 1,
                "input_tokens": 500,
                "output_tokens": 200,
                "charge_usd": "0.002",
                "presumed_usd": "0.002",
                "posted_usd": "0.004",
                "overruns": 1,
                "posted_calls": 2,
                "posted_tool_calls": 0,
                "posted_result_bytes": 0,
            },
            {
                "key": "ads",
                "calls": 1,
                "refused": 0,
                "input_tokens": 500,
                "output_tokens": 200,
                "charge_usd": "0.002",
                "presumed_usd": "0.00",
                "posted_usd": "0.002",
                "overruns": 0,
                "posted_calls": 1,
                "posted_tool_calls": 0,
                "posted_result_bytes": 0,
            },
        ]
        assert (said.body["by"], said.body["total"]["posted_usd"], said.body["left_out"]) == ("team", "0.006", 0)
        assert CHARGE.usd == 2_000_000
        one = await spend(house, by="team", limit=1)
        assert (len(one.body["rows"]), one.body["left_out"], one.body["total"]["calls"]) == (1, 1, 3)
        ads = await spend(house, by="identity", team="ads")
        assert [row["key"] for row in ads.body["rows"]] == ["agent/ad"]


async def test_what_cannot_be_asked(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        wrong = {
            "`by` is 'colour', and not one of team, owner": {"by": "colour"},
            "ends": {"since": "2026-11-02T00:00:00Z", "until": "2026-11-02T00:00:00Z"},
            "not an instant": {"since": "yesterday"},
            "Expected `int` >= 1": {"limit": 0},
            "unknown field": {"colour": "red"},
            "unknown field `task`": {"task": "t-1"},
        }
        for words, query in wrong.items():
            said = await spend(house, **query)
            assert said.status in {400, 422}
            assert words in said.body["detail"], query
        assert (await spend(house)).body["rows"] == []


@pytest.mark.parametrize(("bill_to", "payer"), [("self", "blue"), ("root", "red")])
async def test_one_team_pays_and_every_team_of_the_chain_counts(tmp_path: Path, bill_to: str, payer: str) -> None:
    organization = {"name": "acme", "trust_domain": "acme.example", "bill_to": bill_to}
    identities = {"agent/ant": identity("red"), "agent/bee": identity("blue", may_act=["agent/ant"])}
    budgets = [budget(team, "9 USD", scope={"team": team}) for team in ("red", "blue")]
    async with opened(tmp_path, organization=organization, identities=identities, budgets=budgets) as house:
        top = await tokens.open_session(house.office, OpenRequest(identity="agent/ant"), "test")
        below = await tokens.open_session(house.office, OpenRequest(identity="agent/bee", parent=top.session), "test")
        for minted in (top, below):
            caller = identify(house.gate, [minted.credential])
            assert isinstance(caller, Caller)
            await house.spend(1 if minted is top else 10, caller=caller)
        assert (posted(house, "red"), posted(house, "blue")) == ({"": 11}, {"": 10})
        hour_ago = (datetime.now(ZoneInfo("UTC")) - timedelta(hours=1)).isoformat()
        said = await spend(house, by="team", since=hour_ago)
        paid = {row["key"]: row["charge_usd"] for row in said.body["rows"]}
        both = {"red": "0.000000011"} if payer == "red" else {"red": "0.000000001", "blue": "0.00000001"}
        assert paid == both
        owners = await spend(house, by="owner", since=hour_ago, team=payer)
        assert owners.body["rows"][0]["key"] == "blue-lead@acme.example"
        row = (await ask(api.build(house.office, Outside(Admin())), "GET", "/api/v1/calls")).body[0]
        assert (row["identity"], row["team"], row["billed_team"]) == ("agent/bee", "blue", payer)
        assert row["chain"] == ["agent/bee", "agent/ant"]
