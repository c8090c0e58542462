"""A server of tools that lies, floods, breaks off or sends people astray: what its client sees, and what is charged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.end_to_end.caller import row_of, settled_row
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.mcp import META, MODERN, McpClient, Said
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

POLICIES = '@id("all") permit (principal, action == Action::"tool.call", resource);'
TOOLS = {
    "desk/*": {"risk": ["read"]},
    "desk/big": {"risk": ["read"], "result_bytes": 4_096},
    "desk/fetch": {"risk": ["read"], "result_bytes": 4_096, "on_large": "refuse"},
}
PRICES = [{"tool": "desk/search", "from": date(2026, 1, 1), "request": "0.01"}]


class Desk:
    """The gateway, and the server behind it."""

    def __init__(self, sandbox: SandboxProcess, gateway: GatewayProcess) -> None:
        self.sandbox = sandbox
        self.gateway = gateway
        self.client = McpClient(gateway.url, "desk", gateway.token("agent/ant"))

    def is_now(self, *faults: str, stream: bool = False, **options: Any) -> None:
        """From now on these befall every call."""
        said = {"faults": [{"fault": fault, **options} for fault in faults], "stream": stream}
        with urlopen(Request(f"{self.sandbox.url}/sandbox/mcp/servers/desk", json.dumps(said).encode())):
            pass

    def row(self, said: Said) -> dict[str, Any]:
        """The call as it is on record."""
        return row_of(self.gateway, said.headers["x-comptroller-call-id"])


@pytest.fixture(scope="module")
def running(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder: Path = tmp_path_factory.mktemp("poisoned")
    table = registry([budget("all", "10.00 USD")], tools=TOOLS)
    table["prices"] = [*table["prices"], *PRICES]
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text(POLICIES)
    servers = {"desk": {"url": f"{sandbox_process.url}/mcp/desk", "timeout_s": 2}}
    with GatewayProcess(folder, process(sandbox_process.url, servers=servers, policies="policies"), table) as gateway:
        desk = Desk(sandbox_process, gateway)
        desk.is_now()
        desk.client.tools()
        yield desk
        assert "Traceback" not in gateway.log()


@pytest.fixture
def desk(running: Desk) -> Iterator[Desk]:
    yield running
    running.is_now()
    assert running.client.call("echo", text="still here").text == "still here"


MALFORMED = ("upstream_failed", "provider_malformed", "0.01", True)
CUT = ("upstream_failed", "provider_cut", "0.01", True)
LATE = ("upstream_timeout", "provider_timeout", "0.01", True)


@pytest.mark.parametrize(
    ("fault", "stream", "ends"),
    [
        ("malformed_json", False, MALFORMED),
        ("malformed_json", True, MALFORMED),
        ("not_jsonrpc", False, MALFORMED),
        ("result_and_error", True, MALFORMED),
        ("wrong_id", False, MALFORMED),
        ("wrong_id", True, CUT),  # an answer to somebody else: ours never came
        ("no_id", False, MALFORMED),
        ("cut", False, CUT),
        ("cut", True, CUT),
        ("not_http", False, MALFORMED),
        ("hang", False, LATE),
        ("hang", True, LATE),
        ("unauthorized", False, ("provider_credential_rejected", "provider_refused", "0.00", False)),
    ],
)
def test_an_answer_that_is_none_is_told_to_the_model_and_charged_once(
    desk: Desk, fault: str, stream: bool, ends: tuple[str, str, str, bool]
) -> None:
    desk.is_now(fault, stream=stream)
    said = desk.client.call("search", query="holds")
    row = desk.row(said)
    assert (said.status, said.result["isError"]) == (200, True)
    assert (said.refusal, row["outcome"], row["charge_usd"], row["presumed"]) == ends


def test_who_does_not_know_whether_a_tool_ran_says_so(desk: Desk) -> None:
    desk.is_now("cut")
    text = desk.client.call("search", query="holds").text
    assert "The server desk broke off its answer" in text
    assert "It may have run" in text


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_large_result_is_cut_to_its_bytes(desk: Desk, stream: bool) -> None:
    desk.is_now(stream=stream)
    said = desk.client.call("big", kib=64)
    assert "Cut by the gateway" in said.text
    assert said.result["_meta"]["comptroller/cut"]["limit"] == 4_096
    row = desk.row(said)
    assert row["outcome"] == "completed"
    assert 0 < row["result_bytes"] <= 4_096


def test_a_large_result_is_refused_where_the_entry_says_so(desk: Desk) -> None:
    desk.is_now("huge", kib=64)
    said = desk.client.call("fetch", url="https://docs.example/")
    assert said.refusal == "result_too_large"
    assert "has run" in said.text
    assert desk.row(said)["result_bytes"] <= 4_096


def test_a_message_that_nobody_keeps_ends_the_call(desk: Desk) -> None:
    desk.is_now("huge", stream=True, kib=10_240)
    said = desk.client.call("search", query="holds")
    assert said.refusal == "result_too_large"
    assert desk.row(said)["charge_usd"] == "0.01"


def test_notifications_without_end_do_not_keep_the_answer(desk: Desk) -> None:
    desk.is_now("flood", stream=True)
    assert "holds 1" in desk.client.call("search", query="holds").text


def test_nobody_is_sent_to_an_address_inside(desk: Desk) -> None:
    desk.is_now("bad_elicitation")
    desk.client.meta = META | {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}, "form": {}}}}
    try:
        said = desk.client.call("search", query="holds")
    finally:
        desk.client.meta = META
    assert said.result["isError"]
    assert said.result["_meta"]["comptroller/withheld"]["what"] == "elicitation"
    assert "inputRequests" not in said.result


def test_a_tool_that_fails_has_been_called(desk: Desk) -> None:
    desk.is_now("error")
    said = desk.client.call("search", query="holds")
    assert said.error["code"] == -32603
    assert desk.row(said)["charge_usd"] == "0.01"


def test_who_hangs_up_has_cancelled(desk: Desk) -> None:
    """In the modern era nothing else says so: the tool is not left to run on for nobody."""
    desk.is_now(stream=True)
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "slow", "arguments": {"delay_s": 100, "steps": 1000}, "_meta": META | {"progressToken": 1}},
    }
    about = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "slow"}
    accept = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    with urlopen(
        Request(desk.client.url, json.dumps(body).encode(), {**desk.client.headers, **about, **accept})
    ) as said:
        call_id = said.headers["x-comptroller-call-id"]
        assert b"event" in said.readline()
    ended = settled_row(desk.gateway, call_id)
    assert (ended["outcome"], ended["presumed"]) == ("client_gone", True)


def test_pages_of_other_sites_may_not_ask(desk: Desk) -> None:
    said = desk.client.ask("tools/list", origin="http://evil.example")
    assert said.status == 403
    assert desk.client.ask("tools/list", origin="http://localhost:6274").status == 200
