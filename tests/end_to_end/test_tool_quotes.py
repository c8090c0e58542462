"""Prices that only the owner of an MCP server knows: asked before the hold, charged as quoted; no price is no call."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.caller import Row, eventually, nanos, settled_row
from tests.end_to_end.test_tool_money import bill, client, opened
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.mcp import McpClient
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

POLICY = """
@id("models") permit (principal, action == Action::"model.call", resource);
@id("reds") permit (principal in Team::"red", action == Action::"tool.call", resource);
"""


class Owner:
    """Whoever knows the prices: the amount that is to be paid, unless it is told to say something else."""

    def __init__(self) -> None:
        self.asked: list[Row] = []
        self.says: tuple[int, bytes] | None = None
        self.held_back: threading.Event | None = None  # it says nothing until then
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                question = json.loads(self.rfile.read(int(self.headers["content-length"])))
                owner.asked.append({**question, "headers": {name.lower() for name in self.headers}})
                if owner.held_back is not None:
                    owner.held_back.wait(60)
                status, body = owner.says or (200, json.dumps({"usd": question["arguments"]["amount_usd"]}).encode())
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its own name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/price"


@pytest.fixture(scope="module")
def owner() -> Iterator[Owner]:
    found = Owner()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture(scope="module")
def gateway(
    sandbox_process: SandboxProcess, owner: Owner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("quotes")
    servers = {"shop": {"url": f"{sandbox_process.url}/mcp/shop", "price_callback": owner.url}}
    members = {"agent/ant": identity("red"), "agent/bee": identity("blue")}
    tools = {"shop/*": {"risk": ["write", "spends_money"]}}
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text(POLICY)
    rule = {
        "name": "no-cars",
        "scope": {"tool": "shop/pay"},
        "schema": {"properties": {"to": {"not": {"const": "car"}}}},
    }
    files = registry([budget("all", "5.00 USD")], members, tools=tools, arguments=[rule])
    with GatewayProcess(folder, process(sandbox_process.url, servers=servers, policies="policies"), files) as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture(autouse=True)
def quiet(owner: Owner) -> None:
    owner.asked.clear()
    owner.says = owner.held_back = None


def test_what_is_quoted_is_held_and_charged(gateway: GatewayProcess, sandbox: SandboxProcess, owner: Owner) -> None:
    was = int(bill(sandbox, "shop")["charge_nanos"])
    session = opened(gateway)
    tools = client(gateway, "shop", session)
    for amount in ("1.25", "0.000000001"):
        said = tools.call("pay", to="bakery", amount_usd=amount)
        row = settled_row(gateway, said.headers["x-comptroller-call-id"])
        assert (row["held_usd"], row["charge_usd"], row["presumed"]) == (amount, amount, False)
    assert int(bill(sandbox, "shop")["charge_nanos"]) - was == nanos("1.250000001")
    first = owner.asked[0]
    assert (first["tool"], first["identity"], first["session"]) == ("shop/pay", "agent/ant", session["session"])
    assert first["arguments"] == {"to": "bakery", "amount_usd": "1.25"}
    assert first["arguments_digest"]
    assert "authorization" not in first["headers"]


def test_a_quote_beyond_the_budget_buys_nothing(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    tools = client(gateway, "shop", opened(gateway))
    was = bill(sandbox, "shop")["calls"]
    assert tools.call("pay", to="car dealer", amount_usd="9000.00").refusal == "budget_exhausted"
    assert bill(sandbox, "shop")["calls"] == was


def test_nobody_is_told_arguments_that_a_rule_forbids(gateway: GatewayProcess, owner: Owner) -> None:
    said = client(gateway, "shop", opened(gateway)).call("pay", to="car", amount_usd="1.00")
    assert said.refusal == "arguments_forbidden"
    assert owner.asked == []


@pytest.mark.parametrize(
    "says",
    [
        (500, b'{"usd": "0.01"}'),
        (200, b"{}"),
        (200, b'{"usd": 0.01}'),
        (200, b'{"usd": "-1.00"}'),
        (200, b'{"usd": "2000000.00"}'),
        (200, b'{"usd": "' + b"0" * 10_000 + b'"}'),
        (302, b""),
    ],
    ids=["500", "nothing", "a float", "below zero", "too much", "too long", "elsewhere"],
)
def test_no_price_is_no_call(
    gateway: GatewayProcess, sandbox: SandboxProcess, owner: Owner, says: tuple[int, bytes]
) -> None:
    session = opened(gateway)
    tools = client(gateway, "shop", session)
    was = bill(sandbox, "shop")["calls"]
    owner.says = says
    said = tools.call("pay", to="bakery", amount_usd="0.01")
    assert said.refusal == "price_unknown"
    row = eventually(lambda: next(iter(gateway.cli("calls", "--session", session["session"])), None))
    assert (row["tool"], row["server"]) == ("shop/pay", "shop")
    assert "price_callback" in said.text
    assert bill(sandbox, "shop")["calls"] == was


def test_who_says_nothing_is_not_waited_for(gateway: GatewayProcess, sandbox: SandboxProcess, owner: Owner) -> None:
    tools = client(gateway, "shop", opened(gateway))
    was = bill(sandbox, "shop")["calls"]
    owner.held_back = threading.Event()
    try:
        assert tools.call("pay", to="bakery", amount_usd="0.01").refusal == "price_unknown"
    finally:
        owner.held_back.set()
    assert bill(sandbox, "shop")["calls"] == was


def test_nobody_is_asked_about_a_call_that_may_not_be(gateway: GatewayProcess, owner: Owner) -> None:
    bee = McpClient(gateway.url, "shop", gateway.token("agent/bee"))
    assert bee.call("pay", to="bakery", amount_usd="0.01").refusal == "no_permit"
    assert owner.asked == []
