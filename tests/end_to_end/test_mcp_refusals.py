"""Every refusal that only calls of tools meet, and a server that turns bad: what its callers get of each fault."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.end_to_end.caller import eventually
from tests.end_to_end.refused import OF_TOOLS
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.mcp import META, McpClient, Said
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

PERMIT = '@id("all") permit (principal, action, resource);'
TOOLS = {
    "*/echo": {"risk": ["read"]},
    "*/search": {"risk": ["read"]},
    "*/fetch": {"risk": ["open_world"]},
    "*/slow": {"risk": ["read"]},
    "*/ask": {"risk": ["read"]},
    "*/big": {"risk": ["read"], "result_bytes": 2048, "on_large": "refuse"},
    "*/bonus*": {"risk": ["read"]},
    "*/echo_v2": {"risk": ["read"]},
}
ARGUMENTS = [
    {
        "name": "known-hosts",
        "scope": {"tool": "desk/fetch"},
        "schema": {"properties": {"url": {"pattern": "^https://docs[.]example/"}}, "required": ["url"]},
    }
]
FAULTS = ("bad", "late", "torn", "grown", "moved", "wide", "pointing", "luring", "noisy", "locked", "broken")


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("mcp-refusals")
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text(PERMIT)
    servers = {name: {"url": f"{sandbox_process.url}/mcp/{name}", "timeout_s": 2.0} for name in ("desk", *FAULTS)}
    budgets = [budget("all", "10.00 USD"), budget("desk-calls", "500 tool_calls", scope={"server": "desk"})]
    table = registry(budgets, tools=TOOLS, arguments=ARGUMENTS)
    with GatewayProcess(folder, process(sandbox_process.url, servers=servers, policies="policies"), table) as running:
        yield running
        assert "Traceback" not in running.log()
        assert '"fault"' not in running.log()


def client(gateway: GatewayProcess, server: str, credential: str = "") -> McpClient:
    return McpClient(gateway.url, server, credential or gateway.token("agent/ant"))


def turn(sandbox: SandboxProcess, server: str, *faults: dict[str, Any]) -> None:
    """The server is bad from now on."""
    body = json.dumps({"faults": list(faults)}).encode()
    with urlopen(Request(f"{sandbox.url}/sandbox/mcp/servers/{server}", body, method="POST")) as said:
        assert said.status == 200


def ran(sandbox: SandboxProcess, server: str) -> int:
    """How many calls of its tools the server itself counts."""
    with urlopen(f"{sandbox.url}/sandbox/mcp/bill") as said:
        return json.loads(said.read())["servers"].get(server, {}).get("calls", 0)


def narrow(gateway: GatewayProcess) -> McpClient:
    asked = {"identity": "agent/ant", "tools": ["desk/echo"]}
    return client(gateway, "desk", gateway.admin("POST", "/sessions/open", asked)["credential"])


def changed(gateway: GatewayProcess, sandbox: SandboxProcess) -> Said:
    asking = client(gateway, "bad")
    asking.tools()
    turn(sandbox, "bad", {"fault": "description_changed", "tool": "search", "method": "tools/list"})
    asking.ask("tools/list")
    return asking.call("search", query="holds")


def test_every_code_is_met(gateway: GatewayProcess, sandbox_process: SandboxProcess) -> None:
    desk = client(gateway, "desk")
    desk.tools()
    met = {
        "server_unknown": client(gateway, "nowhere").call("echo", text="hello"),
        "tool_unknown": desk.call("no_such_tool"),
        "tool_forbidden": narrow(gateway).call("search", query="holds"),
        "tool_changed": changed(gateway, sandbox_process),
        "arguments_forbidden": desk.call("fetch", url="https://evil.example/"),
        "result_too_large": desk.call("big", kib=16),
    }
    assert met.keys() == OF_TOOLS
    assert {code: said.refusal for code, said in met.items()} == {code: code for code in met}
    for code, said in met.items():
        assert said.status == (404 if code == "server_unknown" else 200), code
        assert said.text, code
    rows = {row["id"]: row for row in gateway.calls()}
    named = {code: rows[said.headers["x-comptroller-call-id"]]["tool"] for code, said in met.items()}
    assert named["tool_unknown"] == "desk/no_such_tool", "what was wanted is on record"
    assert named["tool_forbidden"] == "desk/search"
    about = met["arguments_forbidden"].result["_meta"]["comptroller/refusal"]["allowance"]
    assert {"all", "desk-calls"} <= {limit["name"] for limit in about}, "what is left for this very tool"
    assert "known-hosts" in met["arguments_forbidden"].text
    assert "tools diff" in met["tool_changed"].text
    assert not desk.call("fetch", url="https://docs.example/a").result.get("isError")


CHANGES = [
    ("description_changed", {"tool": "echo"}, {"echo"}),
    ("hidden_text", {"tool": "echo"}, {"echo"}),
    ("annotations_changed", {"tool": "echo"}, {"echo"}),
    ("schema_widened", {"tool": "echo"}, {"echo"}),
    ("schema_ref", {"tool": "echo"}, {"echo"}),
    ("tool_added", {}, {"bonus"}),
    ("tool_renamed", {"tool": "echo"}, {"echo_v2"}),
]


@pytest.mark.parametrize(("fault", "options", "held_back"), CHANGES)
def test_a_tool_that_changes_is_held_back_alone(
    gateway: GatewayProcess, sandbox_process: SandboxProcess, fault: str, options: dict[str, Any], held_back: set[str]
) -> None:
    turn(sandbox_process, "moved")
    asking = client(gateway, "moved")
    before = set(asking.tools())
    turn(sandbox_process, "moved", {"fault": fault, "method": "tools/list", **options})
    after = set(asking.tools())
    assert not held_back & after
    assert before - after <= {"echo"}, "the others stay"
    counted = ran(sandbox_process, "moved")
    for tool in held_back:
        assert asking.call(tool, text="hello").refusal == "tool_changed"
    assert ran(sandbox_process, "moved") == counted, "nothing was sent to the server"
    assert not asking.call("search", query="holds").result.get("isError")
    turn(sandbox_process, "moved")
    assert set(asking.tools()) == before, "as it was accepted, it is good again"


BROKEN = ["malformed_json", "not_jsonrpc", "wrong_id", "no_id", "result_and_error", "cut", "cut_before_headers", "hang"]


@pytest.mark.parametrize("fault", [*BROKEN, "not_http", "server_error"])
def test_an_answer_that_is_none_ends_its_call(
    gateway: GatewayProcess, sandbox_process: SandboxProcess, fault: str
) -> None:
    asking = client(gateway, "broken")
    turn(sandbox_process, "broken")
    asking.tools()
    turn(sandbox_process, "broken", {"fault": fault, "tool": "echo"})
    said = asking.call("echo", text="hello")
    turn(sandbox_process, "broken")
    assert said.status == 200 or "error" in said.message
    if fault != "server_error":
        assert said.refusal in {"upstream_failed", "upstream_timeout"}, said
    call = said.headers["x-comptroller-call-id"]
    row = eventually(lambda: next((each for each in gateway.calls() if each["id"] == call), None))
    assert row["outcome"] not in {"completed", "open", "fault"}
    assert gateway.ready()


def test_a_flood_and_a_slow_answer_are_bounded(gateway: GatewayProcess, sandbox_process: SandboxProcess) -> None:
    asking = client(gateway, "noisy")
    asking.tools()
    turn(sandbox_process, "noisy", {"fault": "flood", "tool": "echo"})
    assert "hello" in asking.call("echo", text="hello").text
    turn(sandbox_process, "noisy", {"fault": "huge", "tool": "echo"})
    said = asking.call("echo", text="hello")
    assert len(json.dumps(said.message)) < 600_000
    turn(sandbox_process, "noisy", {"fault": "slow", "tool": "echo", "delay_s": 30})
    assert asking.call("echo", text="hello").refusal == "upstream_timeout"


def test_a_person_is_sent_nowhere_bad(gateway: GatewayProcess, sandbox_process: SandboxProcess) -> None:
    asking = client(gateway, "luring")
    asking.meta = {**META, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}, "form": {}}}}
    asking.tools()
    turn(sandbox_process, "luring", {"fault": "bad_elicitation", "tool": "ask"})
    said = asking.call("ask", question="Where to?", url="https://example.com/a")
    assert "169.254" not in json.dumps(said.message)
    assert "comptroller/withheld" in json.dumps(said.message)


def test_our_credential_is_our_matter(gateway: GatewayProcess, sandbox_process: SandboxProcess) -> None:
    asking = client(gateway, "locked")
    asking.tools()
    turn(sandbox_process, "locked", {"fault": "unauthorized", "tool": "echo"})
    assert asking.call("echo", text="hello").refusal == "provider_credential_rejected"
