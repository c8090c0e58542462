"""The older era of MCP: sessions of servers belong to whoever they were given to, and streams end with who may act."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.end_to_end.caller import Row
from tests.harness.configuration import process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.mcp import LEGACY, McpClient, Said
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

PERMIT = '@id("all") permit (principal, action, resource);'


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("mcp-sessions")
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text(PERMIT)
    servers = {"old": {"url": f"{sandbox_process.url}/mcp/old"}, "other": {"url": f"{sandbox_process.url}/mcp/other"}}
    table = registry(tools={"old/*": {"risk": ["read"]}, "other/*": {"risk": ["read"]}})
    with GatewayProcess(folder, process(sandbox_process.url, servers=servers, policies="policies"), table) as running:
        yield running
        assert "Traceback" not in running.log()


class Legacy(McpClient):
    """A client that initializes, and goes on in the session that it is given."""

    session = ""

    def begin(self) -> Said:
        asked = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        said = self.say("initialize", asked)
        self.session = said.headers["mcp-session-id"]
        self.say("notifications/initialized", notification=True)
        return said

    def say(self, method: str, params: Row | None = None, *, notification: bool = False) -> Said:
        body: Row = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        if not notification:
            self._next_id += 1
            body["id"] = self._next_id
        return self.send(body, **self.own())

    def own(self) -> dict[str, str]:
        return {"mcp-session-id": self.session, "mcp-protocol-version": LEGACY} if self.session else {}


def client(gateway: GatewayProcess, identity: str, server: str = "old") -> Legacy:
    return Legacy(gateway.url, server, gateway.token(identity))


def test_a_session_is_begun_used_and_ended(gateway: GatewayProcess) -> None:
    ant = client(gateway, "agent/ant")
    assert ant.begin().result["protocolVersion"] == LEGACY
    assert "echo" in [tool["name"] for tool in ant.say("tools/list").result["tools"]]
    said = ant.say("tools/call", {"name": "echo", "arguments": {"text": "hello"}})
    assert "hello" in said.text
    assert ant.http("DELETE", **ant.own()).status in {200, 204}
    assert ant.say("tools/list").status == 404


def test_another_caller_cannot_go_on_with_it(gateway: GatewayProcess) -> None:
    ant, bee = client(gateway, "agent/ant"), client(gateway, "agent/bee")
    ant.begin()
    bee.session = ant.session
    assert bee.say("tools/list").status == 404
    assert bee.http("DELETE", **bee.own()).status == 404
    elsewhere = client(gateway, "agent/ant", "other")
    elsewhere.session = ant.session
    assert elsewhere.say("tools/list").status == 404, "nor is it a session of another server"
    assert "tools" in ant.say("tools/list").result


def test_after_a_restart_clients_begin_anew(gateway: GatewayProcess) -> None:
    ant = client(gateway, "agent/ant")
    ant.begin()
    gateway.kill9()
    gateway.start()
    assert ant.say("tools/list").status == 404
    ant.session = ""
    ant.url = f"{gateway.url}/mcp/old"
    ant.begin()
    assert "tools" in ant.say("tools/list").result


@contextmanager
def stream(ant: Legacy) -> Iterator[http.client.HTTPResponse]:
    """What the server says by itself."""
    where = urlsplit(ant.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
    try:
        connection.request("GET", where.path, headers={**ant.headers, "accept": "text/event-stream", **ant.own()})
        yield connection.getresponse()
    finally:
        connection.close()


def test_a_stream_of_who_is_suspended_ends(gateway: GatewayProcess) -> None:
    ant = client(gateway, "agent/ant")
    ant.begin()
    with stream(ant) as answer:
        assert answer.status == 200
        gateway.command("suspend", "identity", "agent/ant", "--reason", "a test")
        answer.read()  # to its end, which comes at once
    gateway.command("resume", "identity", "agent/ant", "--reason", "the test is over")


def test_a_gateway_that_ends_waits_for_no_stream(gateway: GatewayProcess) -> None:
    ant = client(gateway, "agent/ant")
    ant.begin()
    with stream(ant) as answer:
        assert answer.status == 200
        assert gateway.sigterm() == 0
        answer.read()
    gateway.start()


def test_methods_that_nobody_knows_are_not_carried(gateway: GatewayProcess) -> None:
    ant = client(gateway, "agent/ant")
    ant.begin()
    assert ant.say("sampling/everything").error["code"] == -32601
    assert ant.http("POST", b"[]", **ant.own()).error["code"] == -32600
    assert ant.http("POST", b"{", **ant.own()).error["code"] == -32700
    assert json.dumps(ant.say("ping").result) == "{}"
