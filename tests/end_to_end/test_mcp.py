"""Tool calls through a running gateway: decided, held, carried out once, settled, and on record like any call."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.end_to_end.caller import Row
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.mcp import META, McpClient
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

POLICIES = {
    "all.cedar": """
@id("models") permit (principal, action == Action::"model.call", resource);
@id("reds-use-desk") permit (principal in Team::"red", action == Action::"tool.call", resource in Server::"desk");
@id("nobody-deletes") @reason("nothing is deleted here")
forbid (principal, action == Action::"tool.call", resource in RiskClass::"destructive");
""",
}
TOOLS = {
    "desk/*": {"risk": ["read"]},
    "desk/delete_thing": {"risk": ["destructive"]},
    "desk/big": {"risk": ["read"], "result_bytes": 4096},
}
PRICES = [{"tool": "desk/search", "from": date(2026, 1, 1), "request": "0.01"}]


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("mcp")
    servers = {"desk": {"url": f"{sandbox_process.url}/mcp/desk"}}
    table = registry([budget("all", "1.00 USD")], tools=TOOLS)
    table["prices"] = [*table["prices"], *PRICES]
    table["rates"] = [
        {"name": f"two-an-hour-{tool}", "scope": {"tool": f"desk/{tool}"}, "limit": "2 calls/hour", "burst": 2}
        for tool in ("fetch", "ask")
    ]
    (folder / "policies").mkdir()
    for name, text in POLICIES.items():
        (folder / "policies" / name).write_text(text)
    with GatewayProcess(folder, process(sandbox_process.url, servers=servers, policies="policies"), table) as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture
def ant(gateway: GatewayProcess) -> McpClient:
    return McpClient(gateway.url, "desk", gateway.token("agent/ant"))


def test_what_is_listed_is_what_may_be_called(ant: McpClient) -> None:
    listed = ant.ask("tools/list").result
    names = {tool["name"] for tool in listed["tools"]}
    assert "echo" in names
    assert "delete_thing" not in names
    assert listed["_meta"]["comptroller/hidden"]["count"] == 1


def test_a_call_is_carried_out_and_on_record(gateway: GatewayProcess, ant: McpClient) -> None:
    ant.tools()
    said = ant.call("search", query="holds")
    assert said.status == 200
    assert not said.result.get("isError")
    assert said.headers["x-comptroller-charge-usd"] == "0.01"
    row: Row = next(each for each in gateway.calls() if each["id"] == said.headers["x-comptroller-call-id"])
    assert (row["outcome"], row["provider"], row["model"], row["charge_usd"]) == ("completed", "mcp/desk", None, "0.01")
    assert (row["dialect"], row["policies"]) == ("mcp", ["reds-use-desk"])


def test_a_policy_says_no_to_the_model_in_words(ant: McpClient) -> None:
    ant.tools()
    said = ant.call("delete_thing", name="x")
    assert said.status == 200
    assert said.refusal == "policy_forbidden"
    assert said.result["isError"]
    assert "nothing is deleted here" in said.text


def test_who_may_call_nothing_is_told_why(gateway: GatewayProcess) -> None:
    bee = McpClient(gateway.url, "desk", gateway.token("agent/bee"))
    assert bee.ask("tools/list").refusal == "no_permit"
    assert bee.call("echo", text="hello").refusal == "no_permit"


def test_no_server_and_no_credential(gateway: GatewayProcess) -> None:
    token = gateway.token("agent/ant")
    assert McpClient(gateway.url, "nowhere", token).ask("tools/list").refusal == "server_unknown"
    assert McpClient(gateway.url, "desk", "nothing").ask("tools/list").status == 401


def test_the_callers_credential_stays_here(
    gateway: GatewayProcess, sandbox_process: SandboxProcess, ant: McpClient
) -> None:
    ant.tools()
    ant.call("echo", text="hello")
    with urlopen(f"{sandbox_process.url}/sandbox/mcp/bill/calls?after=0") as answer:
        lines = answer.read().decode()
    assert "cptr_" not in lines
    assert "echo" in lines


def test_tools_that_were_never_listed_are_not_called(gateway: GatewayProcess, sandbox_process: SandboxProcess) -> None:
    client = McpClient(gateway.url, "desk", gateway.token("agent/ant"))
    assert client.call("no_such_tool").refusal == "tool_unknown"


def test_a_rate_counts_calls_of_tools(gateway: GatewayProcess, ant: McpClient) -> None:
    ant.tools()
    said = [ant.call("fetch", url=f"https://docs.example/{number}") for number in range(3)]
    assert [each.refusal for each in said] == ["", "", "rate_limited"], "what has ended was no less a call"
    assert said[2].status == 200
    assert said[2].result["isError"]


def test_a_rate_counts_rounds_in_which_a_server_only_asks(gateway: GatewayProcess, ant: McpClient) -> None:
    ant.meta = {**META, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
    ant.tools()
    said = [ant.call("ask", question=f"Is it {number}?") for number in range(3)]
    assert [each.result.get("resultType") for each in said[:2]] == ["input_required", "input_required"]
    assert said[2].refusal == "rate_limited", "they cost nothing, and their number is bounded all the same"
