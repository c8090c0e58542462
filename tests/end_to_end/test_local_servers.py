"""MCP servers that the gateway runs, through the whole gateway: both eras, and what becomes of all of it in the end."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.caller import eventually, settled_row
from tests.gateway.stdio.world import SOURCE
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.mcp import LEGACY, McpClient, Said
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

ROOT = os.geteuid() == 0
PYTHON = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or sys.executable
# Another user where we may be one. Else ourselves: what an own user may not read of the gateway is the same system's.
WHO: dict[str, Any] = {"run_as": "nobody"} if ROOT else {"allow_same_user": True}
TOKEN = "a-token-of-the-server-s-own"


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("local-servers")
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text('@id("all") permit (principal, action, resource);')
    command = [PYTHON, "-I", "-S", "-c", SOURCE]
    servers = {
        "small": {"command": command, "variables": {"TOKEN": "env:SMALL_TOKEN"}, "timeout_s": 20, **WHO},
        "old": {"command": [*command, "legacy"], **WHO},
        "broken": {"command": [*command, "dies"], **WHO},
    }
    table = registry([budget("all", "1.00 USD")], tools={f"{name}/*": {"risk": ["read"]} for name in servers})
    settings = process(sandbox_process.url, servers=servers, policies="policies")
    with GatewayProcess(folder, settings, table, env={"SMALL_TOKEN": TOKEN}) as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture
def small(gateway: GatewayProcess) -> McpClient:
    return of(gateway)


def of(gateway: GatewayProcess, server: str = "small") -> McpClient:
    client = McpClient(gateway.url, server, gateway.token("agent/ant"))
    if server == "small":
        client.tools()
    return client


def legacy(client: McpClient, method: str, session: str = "", **params: Any) -> Said:
    headers = {"mcp-session-id": session, "mcp-protocol-version": LEGACY} if session else {}
    return client.send({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}, **headers)


def handshake(client: McpClient) -> str:
    client_info = {"name": "test", "version": "1"}
    said = legacy(client, "initialize", protocolVersion=LEGACY, capabilities={}, clientInfo=client_info)
    assert said.result["serverInfo"]["name"] == "small"
    return said.headers["mcp-session-id"]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_tool_of_a_local_server_is_called_and_on_record(gateway: GatewayProcess, small: McpClient) -> None:
    said = small.call("echo", a=1)
    assert json.loads(said.text) == {"a": 1}
    row = settled_row(gateway, said.headers["x-comptroller-call-id"])
    assert (row["outcome"], row["provider"], row["dialect"]) == ("completed", "mcp/small", "mcp")


def test_the_older_era_has_sessions(gateway: GatewayProcess) -> None:
    client = of(gateway, "old")
    assert client.ask("server/discover").error["code"] == -32601
    assert client.ask("tools/list").error["code"] == -32022
    session = handshake(client)
    assert "echo" in [tool["name"] for tool in legacy(client, "tools/list", session).result["tools"]]
    said = legacy(client, "tools/call", session, name="echo", arguments={"b": 2})
    assert json.loads(said.text) == {"b": 2}
    assert client.http("DELETE", **{"mcp-session-id": session}).status == 200
    assert legacy(client, "tools/list", session).status == 404


def test_the_server_knows_nothing_of_the_gateway(gateway: GatewayProcess, small: McpClient) -> None:
    found = json.loads(small.call("whoami").text)
    assert found["environ"]["TOKEN"] != TOKEN, "what it was told is masked in what it says"
    assert {"PATH", "LANG", "HOME", "TOKEN"} <= set(found["environ"]) <= {"PATH", "LANG", "HOME", "TOKEN", "LC_CTYPE"}
    # A gateway that may be anybody runs it as nobody. One that may not is not dumpable, and that is as good.
    paths = [
        f"/proc/{gateway.pid}/environ",
        *([str(gateway.state), str(gateway.state / "admin-token")] if ROOT else []),
    ]
    assert json.loads(small.call("look", paths=paths).text) == ["PermissionError"] * len(paths)
    assert small.call("trace", pid=gateway.pid).text == "refused"


LOOK = """
import os, signal, sys
from pathlib import Path
from comptroller.app import serve

async def ready(house):
    names = {"SANDBOX_KEY", "SMALL_TOKEN"}
    print("environment:", sorted(names & set(os.environ)), house.gate.providers["sandbox"].key is not None, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

sys.exit(serve(Path(sys.argv[-1]), on_ready=ready))
"""


def test_what_settings_name_is_no_longer_in_the_environment(tmp_path: Path) -> None:
    """So nothing that is ever started inherits it."""
    server = {"command": [PYTHON], "variables": {"TOKEN": "env:SMALL_TOKEN"}, "allow_same_user": True}
    settings = process("http://127.0.0.1:9", servers={"small": server})
    gateway = GatewayProcess(tmp_path, settings, registry(), env={"SMALL_TOKEN": TOKEN}, program=("-c", LOOK))
    gateway.spawn()
    assert gateway.wait_exit() == 0, gateway.log()
    assert "environment: [] True" in gateway.log(), "the keys were read, and are gone"


def test_a_server_that_dies_under_a_call_is_told_of_and_started_anew(gateway: GatewayProcess, small: McpClient) -> None:
    said = small.call("die")
    assert said.refusal in {"upstream_failed", "upstream_incomplete"} or said.status >= 500, said
    assert settled_row(gateway, said.headers["x-comptroller-call-id"])["outcome"] != "completed"
    eventually(lambda: "my last words" in gateway.log())
    assert gateway.ready()
    assert json.loads(small.call("echo", again=1).text) == {"again": 1}


def test_a_server_that_cannot_start_is_a_refusal_and_costs_nothing(gateway: GatewayProcess) -> None:
    client = of(gateway, "broken")
    for _ in range(3):
        said = client.ask("tools/list")
        assert said.refusal == "upstream_failed", gateway.log()[-3000:]
    eventually(lambda: "there is no configuration" in gateway.log())
    assert gateway.ready()


def test_processes_end_with_the_gateway_however_it_ends(gateway: GatewayProcess) -> None:
    for end in (gateway.sigterm, gateway.kill9):
        client = of(gateway)
        session = handshake(client)
        pids = [
            json.loads(client.call("whoami").text)["pid"],
            json.loads(legacy(client, "tools/call", session, name="whoami").text)["pid"],
        ]
        assert all(map(runs, pids))
        end()
        for pid in pids:
            eventually(lambda pid=pid: not runs(pid))
        gateway.start()
