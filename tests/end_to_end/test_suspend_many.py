"""Two hundred open streams and one `suspend`: none survives, each is settled once, and nobody else's is touched."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

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
BUDGETS = [budget("all", "1000.00 USD")]
MEMBERS = {"agent/ant": identity("red"), "agent/bee": identity("blue", may_act=["agent/ant"])}
LIMITS = {"finish_after_hangup_s": 1.0}
SHORT = chat(max_tokens=10)
DRIPS: Row = {"output_tokens": 4000, "tokens_per_s": 2}


def requests(gateway: GatewayProcess, credentials: Sequence[str], number: int) -> list[bytes]:
    return [
        chat_stream_request(gateway.port, credentials[each % len(credentials)], "sandbox-large", sandbox=DRIPS)
        for each in range(number)
    ]


class Asked(NamedTuple):
    """What is suspended: the credentials whose streams end with it, and those whose streams do not."""

    scope: str
    value: str
    stopped: Sequence[str]
    others: Sequence[str]
    code: str


def sessions_of_an_identity(gateway: GatewayProcess) -> Asked:
    ants = [mint(gateway)["credential"] for _ in range(SESSIONS)]
    return Asked("identity", "agent/ant", ants, [mint(gateway, "agent/bee")["credential"]], "identity_suspended")


def tree_of_sessions(gateway: GatewayProcess) -> Asked:
    """A root, its children and theirs, one of them of another identity; beside it a run of the same identity."""
    root, beside = mint(gateway), mint(gateway)
    children = [below(gateway, root["credential"], name=f"c{number}") for number in range(3)]
    children.append(below(gateway, root["credential"], identity="agent/bee"))
    leaves = [below(gateway, child) for child in children for _ in range(2)]
    return Asked(
        "session",
        root["session"],
        [root["credential"], *children, *leaves],
        [beside["credential"]],
        "session_suspended",
    )


def below(gateway: GatewayProcess, credential: str, **given: str) -> str:
    """The credential of a session that is opened below that of another."""
    said = ask(gateway, credential, given, path="/comptroller/v1/sessions")
    assert said.status == 201, said.body
    return json.loads(said.body)["credential"]


@pytest.mark.parametrize("prepare", [sessions_of_an_identity, tree_of_sessions])
async def test_no_stream_of_two_hundred_survives_a_suspend(
    sandbox: SandboxProcess, tmp_path: Path, prepare: Callable[[GatewayProcess], Asked]
) -> None:
    with GatewayProcess(tmp_path, process(sandbox.url, limits=LIMITS), registry(BUDGETS, MEMBERS)) as gateway:
        asked = await asyncio.to_thread(prepare, gateway)
        others = await open_streams(gateway.port, requests(gateway, asked.others, OTHERS))
        streams = await open_streams(gateway.port, requests(gateway, asked.stopped, STREAMS))
        sent = {"scope": asked.scope, "value": asked.value, "reason": "runaway"}
        made = await asyncio.to_thread(gateway.admin, "POST", "/stops", sent)
        assert made["cut_calls"] == STREAMS
        _, surviving = await asyncio.wait([each.ended for each in streams], timeout=PATIENCE_S)
        assert not surviving
        for stream in streams:
            assert_cut(stream, asked)
        heard = [len(each.text) for each in others]
        await asyncio.to_thread(eventually, lambda: all(len(o.text) > n for o, n in zip(others, heard, strict=True)))
        assert not any(each.ended.done() for each in others)
        for each in (*others, *streams):
            each.hang_up()
        await asyncio.to_thread(assert_settled_once, gateway, sandbox)
        for credential in asked.stopped:
            assert (await asyncio.to_thread(ask, gateway, credential, SHORT)).code == asked.code
        assert (await asyncio.to_thread(ask, gateway, asked.others[0], SHORT)).status == 200
        assert "Traceback" not in gateway.log()


def assert_cut(stream: OpenStream, asked: Asked) -> None:
    """It began, it ended as HTTP and as its dialect know it, and its last word says who, when and why."""
    *words, last = stream.events
    assert (stream.status, stream.whole, bool(words)) == (200, True, True)
    assert not any("error" in each for each in words)
    assert last["error"]["code"] == asked.code
    assert f"The {asked.scope} {asked.value} was suspended by bootstrap at 20" in last["error"]["message"]
    assert "runaway" in last["error"]["message"]


def assert_settled_once(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    """One row, one settlement and one line of the bill for each, and the budgets have the sum of the rows."""
    rows = {row["id"]: row for row in gateway.admin("GET", "/calls?outcome=stopped&limit=1000")}
    assert len(rows) == STREAMS
    billed = {line["client_request_id"].removesuffix(".1"): line for line in sandbox.requests()}
    assert rows.keys() <= billed.keys()
    assert len(billed) == len(sandbox.requests()) == STREAMS + OTHERS
    for call_id, row in rows.items():
        assert 0 < int(billed[call_id]["charge_nanos"]) <= nanos(row["charge_usd"]) <= nanos(row["held_usd"])
    charged = sum(nanos(row["charge_usd"]) for row in rows.values())
    settled = eventually(lambda: settled_rows(gateway))
    assert sum(nanos(row["charge_usd"]) for row in settled) == nanos(budget_of(gateway, "all")["posted"])
    assert charged == sum(nanos(row["charge_usd"]) for row in settled if row["outcome"] == "stopped")
    assert budget_of(gateway, "all")["held"] == "0.00"


def settled_rows(gateway: GatewayProcess) -> list[Row] | None:
    """Every call, once none is open: callers who hung up are read on for a while."""
    rows = gateway.admin("GET", "/calls?limit=1000")
    return None if any(row["outcome"] == "open" for row in rows) else rows
