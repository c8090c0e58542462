"""Two hundred open streams and one `suspend`: none survives, each is settled once, and nobody else's is touched."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.end_to_end.caller import Row, ask, budget_of, chat, eventually, mint, nanos
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.open_streams import OpenStream, chat_stream_request, open_streams
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

STREAMS = 200
SESSIONS = 8
OTHERS = 4
PATIENCE_S = 60.0
BUDGETS = [budget("all", "1000.00 USD"), budget("each", "1000.00 USD", per="session")]
MEMBERS = {"agent/ant": identity("red"), "agent/bee": identity("blue")}
DRIPS: Row = {"output_tokens": 4000, "tokens_per_s": 2}


def requests(gateway: GatewayProcess, credentials: Sequence[str], number: int) -> list[bytes]:
    return [
        chat_stream_request(gateway.port, credentials[each % len(credentials)], "sandbox-large", sandbox=DRIPS)
        for each in range(number)
    ]


async def test_no_stream_of_two_hundred_survives_a_suspend(sandbox: SandboxProcess, tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS, MEMBERS)) as gateway:
        ants = [mint(gateway)["credential"] for _ in range(SESSIONS)]
        bee = mint(gateway, "agent/bee")["credential"]
        others = await open_streams(gateway.port, requests(gateway, [bee], OTHERS))
        streams = await open_streams(gateway.port, requests(gateway, ants, STREAMS))
        asked = {"scope": "identity", "value": "agent/ant", "reason": "runaway"}
        made = await asyncio.to_thread(gateway.admin, "POST", "/stops", asked)
        assert made["cut_calls"] == STREAMS
        _, surviving = await asyncio.wait([each.ended for each in streams], timeout=PATIENCE_S)
        assert not surviving
        for stream in streams:
            assert_cut(stream)
        heard = [len(each.text) for each in others]
        await asyncio.to_thread(eventually, lambda: all(len(o.text) > n for o, n in zip(others, heard, strict=True)))
        assert not any(each.ended.done() for each in others)
        for each in (*others, *streams):
            each.hang_up()
        await asyncio.to_thread(assert_settled_once, gateway, sandbox)
        assert (await asyncio.to_thread(ask, gateway, ants[0], chat(max_tokens=10))).code == "identity_suspended"
        assert "Traceback" not in gateway.log()


def assert_cut(stream: OpenStream) -> None:
    """It began, it ended as HTTP and as its dialect know it, and its last word says who, when and why."""
    *words, last = stream.events
    assert (stream.status, stream.whole, bool(words)) == (200, True, True)
    assert not any("error" in each for each in words)
    assert last["error"]["code"] == "identity_suspended"
    assert "The identity agent/ant was suspended by bootstrap at 20" in last["error"]["message"]
    assert "runaway" in last["error"]["message"]


def assert_settled_once(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    """One row, one settlement and one line of the bill for each, and the budgets have the sum of the rows."""
    rows = {row["id"]: row for row in gateway.admin("GET", "/calls?identity=agent/ant&limit=1000")}
    assert len(rows) == STREAMS
    assert {row["outcome"] for row in rows.values()} == {"stopped"}
    billed = {line["client_request_id"].removesuffix(".1"): line for line in sandbox.requests()}
    assert rows.keys() <= billed.keys()
    assert len(billed) == len(sandbox.requests()) == STREAMS + OTHERS
    for call_id, row in rows.items():
        assert 0 < int(billed[call_id]["charge_nanos"]) <= nanos(row["charge_usd"]) <= nanos(row["held_usd"])
    charged = sum(nanos(row["charge_usd"]) for row in rows.values())
    each = [row for row in gateway.admin("GET", "/budgets") if row["name"] == "each"]
    ended = [row for row in each if row["held"] == "0.00"]
    assert sum(nanos(row["posted"]) for row in ended) == charged
    assert nanos(budget_of(gateway, "all")["posted"]) >= charged
