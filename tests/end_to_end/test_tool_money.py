"""What tools cost: held before they run, charged to the nano, and never more often than a budget allows.

The MCP server's own bill judges: it counts a tool when it has run, and knows nothing of our books.
"""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.end_to_end.caller import Row, ask, budget_of, chat, eventually, nanos
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.mcp import McpClient, Said
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

CENT = 10_000_000
PERMIT = "permit (principal, action, resource);"
PRICES = [
    {"tool": "*/search", "from": date(2026, 1, 1), "request": "0.01"},
    {"tool": "crash/*", "from": date(2026, 1, 1), "request": "0.002"},
    {"tool": "counted/search", "from": date(2026, 1, 1), "request": "0.01", "result_unit": "0.001"},
]
TOOLS = {
    "run/*": {"risk": ["read"]},
    "ten/*": {"risk": ["read"]},
    "crash/*": {"risk": ["read"], "result_bytes": 2_000},
    "bytes/*": {"risk": ["read"], "result_bytes": 8_000},
    "counted/search": {"risk": ["read"], "unit": "item"},
    "shop/pay": {"risk": ["spends_money"]},
}
BUDGETS = [
    budget("all", "50.00 USD"),
    budget("ten", "10 tool_calls", scope={"server": "ten"}),
    budget("crash", "50 tool_calls", scope={"server": "crash"}),
    budget("bytes", "20_000 result_bytes", scope={"server": "bytes"}, visible="caller"),
]
SHORT = {"max_tokens": 20, "sandbox": {"output_tokens": 20}}


def files(sandbox: SandboxProcess, folder: Path) -> tuple[Row, Row]:
    """Both files of a gateway; every server is the sandbox under a name of its own."""
    names = {tool.partition("/")[0] for tool in TOOLS}
    servers = {name: {"url": f"{sandbox.url}/mcp/{name}", "timeout_s": 2.0} for name in sorted(names)}
    table = registry(BUDGETS, {"agent/ant": identity("red"), "agent/bee": identity("blue")}, tools=TOOLS)
    table["prices"] = [*table["prices"], *PRICES]
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "all.cedar").write_text(f'@id("all") {PERMIT}')
    return process(sandbox.url, servers=servers, policies="policies"), table


@pytest.fixture(scope="module")
def gateway_process(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("tool-money")
    with GatewayProcess(folder, *files(sandbox_process, folder)) as running:
        yield running
        assert "Traceback" not in running.log()


def bill(sandbox: SandboxProcess, server: str) -> Row:
    """The account of one server."""
    with urlopen(f"{sandbox.url}/sandbox/mcp/bill") as answer:
        accounts = json.load(answer)["servers"]
    return accounts.get(server, {"calls": 0, "charge_nanos": "0", "result_bytes": 0})


def strike(sandbox: SandboxProcess, server: str, *faults: Row) -> None:
    body = json.dumps({"faults": faults}).encode()
    with urlopen(Request(f"{sandbox.url}/sandbox/mcp/servers/{server}", body, method="POST")) as answer:
        assert answer.status == 200


def opened(gateway: GatewayProcess, **given: Any) -> Row:
    return gateway.admin("POST", "/sessions/open", {"identity": "agent/ant", **given})


def below(gateway: GatewayProcess, parent: Row, name: str) -> Row:
    said = ask(gateway, parent["credential"], {"name": name}, path="/comptroller/v1/sessions")
    assert said.status == 201, said.body
    return json.loads(said.body)


def client(gateway: GatewayProcess, server: str, session: Row) -> McpClient:
    found = McpClient(gateway.url, server, session["credential"])
    found.tools()
    return found


def ended(gateway: GatewayProcess, session: str) -> list[Row]:
    """The calls of a session, once all of them have ended."""

    def rows() -> list[Row] | None:
        found: list[Row] = gateway.admin("GET", f"/calls?session={session}&limit=1000")
        return found if found and all(row["outcome"] != "open" for row in found) else None

    return eventually(rows)


def test_one_run_is_told_whole(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    top = opened(gateway, task_type="ticket", task="T-1")
    readers = [below(gateway, top, name) for name in ("reader", "writer")]
    sessions = [top["session"], *(each["session"]["id"] for each in readers)]
    was = int(bill(sandbox, "run")["charge_nanos"])
    for number, session in enumerate([top, *readers], 1):
        tools = client(gateway, "run", session)
        for turn in range(number):
            assert ask(gateway, session["credential"], chat(f"{number} {turn}", **SHORT)).status == 200
            assert tools.call("search", query=f"{number} {turn}").status == 200
        assert tools.call("echo", text="free").status == 200
    by_session = {each: ended(gateway, each) for each in sessions}
    spent_on_tools = int(bill(sandbox, "run")["charge_nanos"]) - was
    assert spent_on_tools == 6 * CENT
    whole = int(sandbox.total()["charge_nanos"]) + spent_on_tools

    rows = [row for each in by_session.values() for row in each]
    assert sum(nanos(row["charge_usd"]) for row in rows) == whole
    assert sum(nanos(row["charge_usd"]) for row in rows if row["tool"]) == spent_on_tools
    tree = gateway.cli("tree", top["session"])
    assert nanos(tree["spent"]["usd"]) == whole
    nodes = [tree, *tree["children"]]
    for node, number in zip(nodes, (1, 2, 3), strict=True):
        own = sum(nanos(row["charge_usd"]) for row in by_session[node["id"]])
        assert nanos(node["own"]["usd"]) == own
        assert (node["own"]["model_calls"], node["own"]["tool_calls"]) == (number, number + 1)
    told = gateway.cli("calls", "--session", sessions[2])
    assert Counter(row["tool"] for row in told) == {None: 3, "run/search": 3, "run/echo": 1}
    assert {tuple(row["chain"]) for row in told} == {("agent/ant/~writer", "agent/ant")}
    shown = gateway.command("calls", "--session", sessions[2]).stdout
    assert "run/search" in shown
    assert "0.01" in shown
    assert "tool calls" in gateway.command("tree", top["session"]).stdout


def test_reports_tell_tools_and_servers_apart(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    session = opened(gateway)
    tools = client(gateway, "run", session)
    said = tools.call("search", query="once")
    ended(gateway, session["session"])
    for by, key in (("tool", "run/search"), ("server", "run"), ("provider", "mcp/run")):
        (row,) = gateway.cli("spend", "--by", by, "--session", session["session"])
        assert (row["key"], row["charge_usd"], row["posted_tool_calls"], row["posted_calls"]) == (key, "0.01", 1, 0)
        assert row["posted_result_bytes"] == len(json.dumps(said.result, separators=(",", ":"), ensure_ascii=False))
    (row,) = gateway.cli("calls", "--session", session["session"], "--tool", "run/search")
    assert row["server"] == "run"
    assert row["arguments_digest"]
    story = gateway.command("explain", row["id"]).stdout
    assert "It called the tool run/search" in story
    assert "0.01 USD, 1 tool call and the most bytes that its result may have were held" in story
    assert "charged 0.01 USD, exactly what a call of this tool costs (1 request at 0.01 USD each)" in story
    assert gateway.cli("calls", "--tool", "run/nothing") == []


def test_a_unit_of_the_result_has_its_price(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    session = opened(gateway)
    said = client(gateway, "counted", session).call("search", query="five", limit=5)
    (row,) = ended(gateway, session["session"])
    items = len(said.result["content"])
    assert nanos(row["charge_usd"]) == CENT + items * 1_000_000
    assert nanos(row["held_usd"]) >= nanos(row["charge_usd"])


def test_fifty_at_once_get_the_ten_that_there_are(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    session = opened(gateway)
    tools = client(gateway, "ten", session)

    def call(number: int) -> Said:
        one = McpClient(gateway.url, "ten", session["credential"])
        return one.call("slow", delay_s=0.2, steps=number % 3 + 1)

    with ThreadPoolExecutor(50) as pool:
        said = list(pool.map(call, range(50)))
    refused = [each for each in said if each.refusal]
    assert Counter(each.refusal for each in refused) == {"budget_exhausted": 40}
    assert bill(sandbox, "ten")["calls"] == 10
    assert budget_of(gateway, "ten")["posted"] == 10
    over = tools.call("echo", text="one more")
    assert over.refusal == "budget_exhausted"
    assert "shorter" not in over.text, "a call is a call, whatever it sends"
    assert ask(gateway, session["credential"], chat(**SHORT)).status == 200, "models are not counted in tool calls"


def test_a_bound_of_a_session_counts_the_tool_calls_below_it(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    top = opened(gateway, bounds={"tool_calls": 3})
    child = below(gateway, top, "helper")
    first, second = client(gateway, "run", top), client(gateway, "run", child)
    was = bill(sandbox, "run")["calls"]
    said = [each.call("echo", text="x").refusal for each in (first, second, first, second, first)]
    assert said == ["", "", "", "session_limit", "session_limit"]
    assert bill(sandbox, "run")["calls"] - was == 3
    assert ask(gateway, top["credential"], chat(**SHORT)).status == 200, "models go on"


def test_what_a_tool_costs_is_shown(gateway: GatewayProcess) -> None:
    (line,) = gateway.cli("prices", "counted/search")["prices"]
    assert (line["provider"], line["usd_per_thousand"]) == ("mcp/counted", {"request": "10.00", "result_unit": "1.00"})


def test_results_draw_on_a_budget_in_bytes(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    tools = client(gateway, "bytes", opened(gateway))
    handed, said = 0, tools.call("big", kib=5)
    while not said.refusal:
        handed += len(json.dumps(said.result, separators=(",", ":"), ensure_ascii=False))
        said = tools.call("big", kib=5)
    assert said.refusal == "budget_exhausted"
    assert "shorter request" not in said.text, "what a result may have is held, whatever is sent"
    row = eventually(lambda: found if int((found := budget_of(gateway, "bytes"))["held"]) == 0 else None)
    assert int(row["posted"]) == handed
    assert 20_000 - 8_000 < handed <= 20_000, "as long as the most that a result may have still fits"


@pytest.mark.parametrize(
    ("fault", "tool", "presumed"),
    [
        ({"fault": "cut"}, "echo", True),
        ({"fault": "hang"}, "echo", True),
        ({"fault": "malformed_json"}, "echo", True),
        ({"fault": "server_error"}, "echo", True),
        ({"fault": "rate_limited"}, "echo", None),
        (None, "fail", False),
    ],
    ids=["cut", "hang", "malformed", "500", "429", "tool-error"],
)
def test_whatever_becomes_of_a_call_it_is_settled_once(
    gateway: GatewayProcess, sandbox: SandboxProcess, fault: Row | None, tool: str, presumed: bool | None
) -> None:
    session = opened(gateway)
    tools = client(gateway, "crash", session)
    before = budget_of(gateway, "crash")
    strike(sandbox, "crash", *([fault] if fault else []))
    try:
        tools.call(tool, **({"text": "x"} if tool == "echo" else {"message": "x"}))
    finally:
        strike(sandbox, "crash")
    (row,) = ended(gateway, session["session"])
    assert row["attempts"] == 1
    assert row["charge_usd"] == ("0.00" if presumed is None else "0.002")
    assert row["presumed"] is bool(presumed)
    after = budget_of(gateway, "crash")
    assert int(after["posted"]) == int(before["posted"]) + 1, "a refused one counts, too"
    assert after["held"] == 0


def test_who_hangs_up_pays_once(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    session = opened(gateway)
    tools = client(gateway, "crash", session)
    body = {
        "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": {"name": "slow", "arguments": {"delay_s": 30}, "_meta": tools.meta},
    }  # fmt: skip
    with tools.unanswered(body):
        eventually(lambda: [row for row in gateway.admin("GET", "/calls?outcome=open") if row["tool"] == "crash/slow"])
    (row,) = ended(gateway, session["session"])
    assert (row["presumed"], row["charge_usd"], row["attempts"]) == (True, "0.002", 1)


def test_what_is_in_flight_at_a_kill_is_presumed(sandbox: SandboxProcess, tmp_path: Path) -> None:
    settings, table = files(sandbox, tmp_path)
    with GatewayProcess(tmp_path, settings, table) as gateway:
        session = opened(gateway)
        tools = client(gateway, "crash", session)
        assert tools.call("echo", text="before").status == 200
        was = bill(sandbox, "crash")["calls"]
        body = {
            "jsonrpc": "2.0", "id": 7, "method": "tools/call",
            "params": {"name": "slow", "arguments": {"delay_s": 1.5}, "_meta": tools.meta},
        }  # fmt: skip
        with tools.unanswered(body), tools.unanswered(body), tools.unanswered(body):
            eventually(lambda: len(gateway.admin("GET", "/calls?outcome=open")) == 3)
            gateway.kill9()
        gateway.start()
        rows = ended(gateway, session["session"])
        assert Counter((row["outcome"], row["presumed"]) for row in rows) == {
            ("crashed", True): 3,
            ("completed", False): 1,
        }
        assert budget_of(gateway, "crash")["posted"] == 4
        assert sum(nanos(row["charge_usd"]) for row in rows) == 4 * 2_000_000
        assert bill(sandbox, "crash")["calls"] - was <= 3, "billed <= recorded"
        table["budgets"] = [*BUDGETS, budget("late", "9 tool_calls", scope={"tool": ["crash/slow", "crash/echo"]})]
        gateway.write_registry(table)
        gateway.command("apply", "--yes")
        assert budget_of(gateway, "late")["posted"] == 4, "a late budget begins with what its scope has used"
