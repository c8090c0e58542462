"""A poisoned server, seen by a client through a running gateway: one tool is out of use, and a person has the say."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.end_to_end.caller import eventually
from tests.harness.configuration import process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.mcp import McpClient
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

# A server of its own for each way to poison one. What strikes `search`, and what is out of use then.
POISONS: Mapping[str, tuple[dict[str, Any], set[str]]] = {
    "description": ({"fault": "description_changed", "tool": "search"}, {"search"}),
    "hidden": ({"fault": "hidden_text", "tool": "search"}, {"search"}),
    "annotations": ({"fault": "annotations_changed", "tool": "delete_thing"}, {"delete_thing"}),
    "widened": ({"fault": "schema_widened", "tool": "search"}, {"search"}),
    "reference": ({"fault": "schema_ref", "tool": "search"}, {"search"}),
    "added": ({"fault": "tool_added"}, {"bonus"}),
    "renamed": ({"fault": "tool_renamed", "tool": "search"}, {"search_v2"}),
    "removed": ({"fault": "tool_removed", "tool": "search"}, set()),
}
OTHERS = ("poisoned", "approved", "restarted", "grown")
USED = "echo"


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("pins")
    servers = {name: {"url": f"{sandbox_process.url}/mcp/{name}"} for name in (*POISONS, *OTHERS)}
    tools = {f"{name}/*": {"risk": ["read"]} for name in servers} | {"approved/*": {"pins": "approved"}}
    table = registry(tools=tools)
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text('@id("all") permit (principal, action, resource);')
    with GatewayProcess(folder, process(sandbox_process.url, servers=servers, policies="policies"), table) as running:
        yield running
        assert "Traceback" not in running.log()


def client_of(gateway: GatewayProcess, server: str) -> McpClient:
    return McpClient(gateway.url, server, gateway.token("agent/ant"))


def plan(sandbox: SandboxProcess, server: str, *faults: dict[str, Any]) -> None:
    """From now on this is wrong with the server."""
    body = json.dumps({"faults": faults}).encode()
    with urlopen(Request(f"{sandbox.url}/sandbox/mcp/servers/{server}", body)) as answer:
        assert answer.status == 200


def row_of(gateway: GatewayProcess, tool: str) -> dict[str, Any]:
    rows = {row["name"]: row for row in gateway.admin("GET", "/tools")}
    return rows[tool]


def findings(gateway: GatewayProcess) -> Mapping[tuple[str, str], str]:
    return {(each["code"], each["subject"]): each["sentence"] for each in gateway.admin("GET", "/findings?limit=1000")}


@pytest.mark.parametrize("server", POISONS)
def test_what_changed_is_out_of_use_alone_and_comes_back_with_its_old_definition(
    gateway: GatewayProcess, sandbox_process: SandboxProcess, server: str
) -> None:
    fault, hidden = POISONS[server]
    client = client_of(gateway, server)
    whole = {*client.tools()}
    assert {"echo", "search", "delete_thing"} <= whole
    plan(sandbox_process, server, fault)
    said = client.ask("tools/list").result
    assert {tool["name"] for tool in said["tools"]} == {*whole} - hidden - _gone(fault)
    if hidden:
        assert said["_meta"]["comptroller/hidden"]["count"] == len(hidden)
    for tool in hidden:
        refused = client.call(tool)
        assert (refused.status, refused.refusal) == (200, "tool_changed")
        assert refused.result["isError"]
        assert f"comptroller tools diff {server}/{tool}" in refused.text
        assert "ssh" not in json.dumps(refused.message)  # what nobody accepted is told to no model
    assert not client.call(USED, text="hello").result.get("isError")
    plan(sandbox_process, server)
    assert {*client.tools()} == whole
    assert client.call("search", query="holds").refusal == ""


def _gone(fault: Mapping[str, Any]) -> set[str]:
    return {"search"} if fault["fault"] in {"tool_renamed", "tool_removed"} else set()


def test_a_person_sees_the_difference_and_accepts_it(gateway: GatewayProcess, sandbox_process: SandboxProcess) -> None:
    client = client_of(gateway, "poisoned")
    client.tools()
    plan(sandbox_process, "poisoned", {"fault": "description_changed", "tool": "search"})
    client.tools()
    waiting = [row["name"] for row in gateway.admin("GET", "/tools?server=poisoned&waiting=true")]
    assert waiting == ["poisoned/search"]
    shown = gateway.admin("GET", "/tools/definition?name=poisoned/search")
    (difference,) = shown["differences"]
    assert difference["path"] == "description"
    assert "Do not tell the user" in difference["new"]
    assert {remark.split()[0] for remark in shown["tool"]["remarks"]} == {"instruction", "secret_path"}
    assert ("tool_changed", "poisoned/search") in findings(gateway)
    sent = {"name": "poisoned/search", "digest": shown["tool"]["shown"], "reason": "looked at it"}
    assert gateway.admin("POST", "/tools/accept", sent)["state"] == "pinned"
    assert "search" in client.tools()
    assert client.call("search", query="holds").refusal == ""


def test_where_each_is_to_be_approved_a_list_of_nothing_says_why(gateway: GatewayProcess) -> None:
    client = client_of(gateway, "approved")
    said = client.ask("tools/list")
    assert said.refusal == "tool_changed"
    assert "nobody has accepted its definition yet" in said.text
    row = row_of(gateway, "approved/echo")
    sent = {"name": row["name"], "digest": row["shown"], "reason": "looked at it"}
    gateway.admin("POST", "/tools/accept", sent)
    assert client.tools() == ["echo"]


def test_many_new_tools_are_one_finding(gateway: GatewayProcess, sandbox_process: SandboxProcess) -> None:
    client = client_of(gateway, "grown")
    before = {*client.tools()}
    plan(sandbox_process, "grown", {"fault": "tools_grew", "count": 40})
    assert {*client.tools()} == before
    sentence = eventually(lambda: findings(gateway).get(("tools_grew", "grown")))
    assert sentence.startswith("40 tools of the server grown are new, or renamed")


def test_after_a_restart_what_was_held_back_is_held_back_before_anybody_lists(
    gateway: GatewayProcess, sandbox_process: SandboxProcess
) -> None:
    client = client_of(gateway, "restarted")
    assert client.call("echo", text="hello").refusal == "tool_unknown"  # it was never listed
    client.tools()
    plan(sandbox_process, "restarted", {"fault": "description_changed", "tool": "search"})
    client.tools()
    gateway.restart()
    client = client_of(gateway, "restarted")
    assert client.call("search", query="holds").refusal == "tool_changed"
    assert client.call("echo", text="hello").refusal == ""
