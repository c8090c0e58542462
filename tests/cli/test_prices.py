"""`prices` and `reprice` as a user types them."""

from typing import Any

import pytest

from tests.cli.world import Typed, chat
from tests.harness.gateway import GatewayProcess

pytestmark = pytest.mark.processes


def test_a_table_of_meters_by_tier(typed: Typed, gateway: GatewayProcess) -> None:
    head, *lines = typed.about(gateway, "prices", "sandbox-large").splitlines()
    meters = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "audio_input")
    assert head.split() == ["provider", "tier", "prompt", "over", *meters, "since", "source"]
    assert [line.split()[1] for line in lines] == ["default", "batch", "flex", "priority"]
    usd = ("3.00", "15.00", "0.30", "3.75", "6.00", "3.00")
    assert lines[0].split()[2:] == [*usd, "2026-01-01", "registry:", "sandbox-large*"]
    sheet: Any = typed.rows(gateway, "prices", "sandbox-large", "--provider", "sandbox", "--at", "2026-06-01")
    assert (sheet["day"], len(sheet["prices"])) == ("2026-06-01", 4)


def test_no_price_is_said_with_its_reason(typed: Typed, gateway: GatewayProcess) -> None:
    assert "gpt-99 has no price on" in typed.about(gateway, "prices", "gpt-99")
    done = typed("prices", "gpt-99", "--config", str(gateway.config))
    assert "No price on sandbox: no line of the registry is for it" in done.stderr


def test_prices_that_are_as_they_were_make_no_difference(typed: Typed, gateway: GatewayProcess) -> None:
    credential = typed.about(gateway, "token", "agent/ant").strip()
    assert chat(gateway, credential)[0] == 200
    found: Any = typed.rows(gateway, "reprice", "--since", "1h", "--identity", "agent/ant")
    assert found["total"]["calls"] >= 1
    assert found["total"]["difference_usd"] == "0.00"
    assert found["total"]["recorded_usd"] == found["total"]["repriced_usd"]
    assert "difference USD" in typed.about(gateway, "reprice")
