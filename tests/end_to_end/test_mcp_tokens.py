"""Tokens that the gateway issues to MCP servers: anybody can verify them, and they are worth nothing here."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from comptroller.control.exchange import ACCESS_TOKEN
from tests.end_to_end.caller import ask, chat, mint
from tests.end_to_end.test_token_exchange import below, opened, session_of
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.mcp import McpClient
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

PERMIT = '@id("all") permit (principal, action, resource);'


class Server(ThreadingHTTPServer):
    """An MCP server that remembers what it was sent to know its callers by."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bearers: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/mcp"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.bearers.append(self.headers["authorization"].removeprefix("Bearer "))
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        tool = {"name": "look", "inputSchema": {"type": "object"}}
        result: dict[str, Any] = {"content": [{"type": "text", "text": "seen"}]}
        if asked["method"] == "tools/list":
            result = {"tools": [tool]}
        body = json.dumps(
            {"jsonrpc": "2.0", "id": asked["id"], "result": {"resultType": "complete", **result}}
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture(scope="module")
def gateway(
    server: Server, sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("mcp-tokens")
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text(PERMIT)
    servers = {"eye": {"url": server.url, "token": "identity", "identity": "tool/eye"}}
    identities = {
        "agent/ant": identity("red"),
        "agent/bee": identity("blue"),
        "tool/eye": identity("blue", kind="tool"),
    }
    table = registry([budget("all", "10.00 USD")], identities, tools={"eye/*": {"risk": ["read"]}})
    with GatewayProcess(folder, process(sandbox_process.url, servers=servers, policies="policies"), table) as running:
        yield running
        assert "Traceback" not in running.log()


def token_of(gateway: GatewayProcess, server: Server, credential: str) -> str:
    """What the server was sent for a call of this caller."""
    client = McpClient(gateway.url, "eye", credential)
    client.tools()
    assert client.call("look").text == "seen"
    return server.bearers[-1]


def test_a_server_learns_who_acts_and_can_verify_it(gateway: GatewayProcess, server: Server) -> None:
    ant = mint(gateway, "agent/ant")
    token = token_of(gateway, server, ant["credential"])
    assert not token.startswith("cptr_")
    assert ant["credential"] not in server.bearers
    status, keys = gateway.get("/.well-known/jwks.json")
    assert status == 200
    read = jwt.decode(token, KeySet.import_key_set(json.loads(keys)), algorithms=["Ed25519"])
    assert read.header["typ"] == "at+jwt"
    assert read.claims["aud"] == server.url
    assert read.claims["sub"] == read.claims["client_id"] == "spiffe://acme.example/agent/ant"
    assert read.claims["sid"] == ant["session"]
    assert 0 < read.claims["exp"] - read.claims["iat"] <= 300
    child = opened(below(gateway, ant["credential"], {"name": "reader"}))
    nested = jwt.decode(
        token_of(gateway, server, child["access_token"]),
        KeySet.import_key_set(json.loads(keys)), algorithms=["Ed25519"],
    ).claims  # fmt: skip
    assert nested["sub"] == "spiffe://acme.example/agent/ant"
    assert nested["act"]["name"] == "agent/ant/~reader"


def test_it_is_no_credential_of_ours(gateway: GatewayProcess, server: Server) -> None:
    token = token_of(gateway, server, gateway.token("agent/ant"))
    assert ask(gateway, token, chat()).status == 401
    assert ask(gateway, f"cptr_{token}", chat()).status == 401
    assert McpClient(gateway.url, "eye", token).ask("tools/list").status == 401


def test_its_server_goes_on_below_the_caller(gateway: GatewayProcess, server: Server) -> None:
    ant = mint(gateway, "agent/ant")
    token = token_of(gateway, server, ant["credential"])
    eye = gateway.token("tool/eye")
    actor = {"actor_token": eye, "actor_token_type": ACCESS_TOKEN}
    child = opened(below(gateway, token, **actor))
    row = session_of(gateway, child)
    assert (row["identity"], row["parent"], row["depth"]) == ("tool/eye", ant["session"], 1)
    assert ask(gateway, child["access_token"], chat()).status == 200
    tree = gateway.command("tree", ant["session"]).stdout
    assert "tool/eye" in tree
    below_it = token_of(gateway, server, child["access_token"])
    refused = below(gateway, below_it, **actor)
    assert refused.status == 400
    assert b"is in this chain already" in refused.body, "a tool that calls itself goes round in a circle"


def test_nobody_else_can_go_on_with_it(gateway: GatewayProcess, server: Server) -> None:
    ant = mint(gateway, "agent/ant")
    token = token_of(gateway, server, ant["credential"])
    assert below(gateway, token).status == 400, "without an actor"
    stolen = below(gateway, token, actor_token=gateway.token("agent/bee"), actor_token_type=ACCESS_TOKEN)
    assert stolen.status == 400
    assert b"only tool/eye may go on with it" in stolen.body
    gateway.command("sessions", "end", ant["session"], "--reason", "a test")
    actor = {"actor_token": gateway.token("tool/eye"), "actor_token_type": ACCESS_TOKEN}
    assert b"session_ended" in below(gateway, token, **actor).body
