"""The official SDK through the gateway, in both eras: everything that a client does, and every refusal it can meet."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import mcp_types as types
import pytest
from mcp import MCPError

from tests.harness import configuration
from tests.harness.gateway import GatewayProcess
from tests.harness.mcp import McpClient
from tests.mcp_peers.places import ROOT
from tests.mcp_peers.poison import Upstream
from tests.mcp_peers.sdk import connected, run, text_of
from tests.mcp_peers.world import ENOUGH, IDENTITY, gateway
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

BOTH = pytest.mark.parametrize("mode", ["modern", "legacy"])
POOR, STRANGER = "agent/poor", "agent/stranger"
FORBIDDEN = """
@id("nobody-deletes") @reason("nothing is deleted here")
forbid (principal, action == Action::"tool.call", resource in RiskClass::"destructive");
@id("strangers-stay-out")
forbid (principal in Team::"blue", action == Action::"tool.call", resource);
"""


@pytest.fixture(scope="module")
def governed(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("sdk")
    tools = {
        "desk/*": {"risk": ["read"]},
        "desk/delete_thing": {"risk": ["destructive"]},
        "desk/big": {"risk": ["read"], "result_bytes": 65_536, "on_large": "refuse"},
    }
    books = {
        "tools": tools,
        "prices": [
            {"tool": "desk/search", "from": date(2026, 1, 1), "request": "0.01"},
            {"tool": "desk/echo", "from": date(2026, 1, 1), "request": "0"},
        ],
        "identities": {
            IDENTITY: configuration.identity("red"),
            POOR: configuration.identity("red"),
            STRANGER: configuration.identity("blue"),
        },
        "owners": {f"{team}-lead@acme.example": {"team": team} for team in ("red", "blue")},
        "teams": {"red": {"cost_center": "CC-1"}, "blue": {"cost_center": "CC-2"}},
        "budgets": [
            configuration.budget("all", ENOUGH, visible="caller"),
            configuration.budget("poor", "0.005 USD", scope={"identity": [POOR]}, visible="caller"),
        ],
        "rates": [{"name": "one-slow", "scope": {"tool": ["desk/slow"]}, "limit": "1 calls at once"}],
    }
    servers = {
        "desk": {"url": f"{sandbox_process.url}/mcp/desk", "timeout_s": 5.0},
        "gone": {"url": "http://127.0.0.1:9/mcp"},
    }
    with gateway(folder, servers, registry=books, policy=FORBIDDEN) as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture(scope="module")
def credentials(governed: GatewayProcess) -> dict[str, str]:
    return {name: governed.token(name) for name in (IDENTITY, POOR, STRANGER)}


@pytest.fixture
def desk(sandbox_process: SandboxProcess) -> Upstream:
    upstream = Upstream(sandbox_process, "desk")
    upstream.heal()
    return upstream


@BOTH
def test_everything_that_a_client_does(
    governed: GatewayProcess, credentials: dict[str, str], desk: Upstream, mode: str
) -> None:
    before = len(desk.calls())
    seen: list[float] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        del total, message
        seen.append(done)

    async def told(_: Any, asked: Any) -> types.ElicitResult:
        del asked
        return types.ElicitResult(action="accept", content={"answer": "yes please"})

    async def work() -> None:
        url = f"{governed.url}/mcp/desk"
        async with connected(url, credentials[IDENTITY], mode=mode, elicitation_callback=told) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert "echo" in names
            assert "delete_thing" not in names
            echoed = await client.call_tool("echo", {"text": "hi"})
            assert (text_of(echoed), echoed.structured_content) == ("hi", {"text": "hi"})
            assert len((await client.call_tool("search", {"query": "cats"})).structured_content["results"]) == 3
            await client.call_tool("slow", {"delay_s": 0}, progress_callback=progress)
            assert text_of(await client.call_tool("ask", {"question": "Go on?"})) == "They said: yes please"
            assert (await client.call_tool("fail", {})).is_error
            note = await client.read_resource("sandbox://notes/welcome")
            assert note.contents[0].text == "The note welcome."
            assert len((await client.list_resources()).resources) == 2
            prompt = await client.get_prompt("greet", {"name": "ada"})
            assert prompt.messages[0].content.text == "Greet ada."
            about = types.PromptReference(type="ref/prompt", name="greet")
            assert (await client.complete(about, {"name": "name", "value": "g"})).completion.values == ["grace"]

    run(work)
    assert seen == [0, 1, 2]
    ran = desk.calls()[before:]
    assert [line["name"] for line in ran] == ["echo", "search", "slow", "ask", "fail"]
    assert {line["era"] for line in ran} == {mode}
    assert not [line for line in ran if line["key"]]  # no credential of ours went on, and this server wants none


def test_our_books_are_the_servers_bill(
    governed: GatewayProcess, credentials: dict[str, str], sandbox_process: SandboxProcess
) -> None:
    """Every tool that ran is a call that is on record, with what the server took for it."""
    desk = Upstream(sandbox_process, "desk")
    caller = McpClient(governed.url, "desk", credentials[IDENTITY])
    caller.tools()
    for _ in range(3):
        assert caller.call("search", query="dogs").headers["x-comptroller-charge-usd"] == "0.01"
    rows = [row for row in governed.calls() if row["provider"] == "mcp/desk" and row["outcome"] == "completed"]
    tools = [row for row in rows if Decimal(row["charge_usd"])]
    ran = [line for line in desk.calls() if line["charge_nanos"] != "0"]
    assert len(tools) == len(ran)
    assert sum(Decimal(row["charge_usd"]) for row in tools) == sum(int(line["charge_nanos"]) for line in ran) / Decimal(
        10**9
    )


@BOTH
def test_a_model_reads_why_its_tool_was_refused(
    governed: GatewayProcess, credentials: dict[str, str], desk: Upstream, mode: str
) -> None:
    before = len(desk.calls())

    async def work() -> None:
        url = f"{governed.url}/mcp/desk"
        async with connected(url, credentials[IDENTITY], mode=mode) as client:
            await client.list_tools()
            said = await client.call_tool("delete_thing", {"name": "x"})
            assert said.is_error
            assert "nothing is deleted here" in text_of(said)
            said = await client.call_tool("no_such_tool", {})
            assert said.is_error
            assert "no_such_tool" in text_of(said)
        async with connected(url, credentials[POOR], mode=mode) as client:
            await client.list_tools()
            said = await client.call_tool("search", {"query": "cats"})
            assert said.is_error
            assert "poor" in text_of(said)

    run(work)
    assert len(desk.calls()) == before


@BOTH
def test_who_may_call_nothing_hears_it_at_the_list(
    governed: GatewayProcess, credentials: dict[str, str], desk: Upstream, mode: str
) -> None:
    del desk

    async def work() -> None:
        async with connected(f"{governed.url}/mcp/desk", credentials[STRANGER], mode=mode) as client:
            with pytest.raises(MCPError, match="may call"):
                await client.list_tools()

    run(work)


def test_a_server_that_lost_its_sessions_is_begun_anew(
    governed: GatewayProcess, credentials: dict[str, str], desk: Upstream
) -> None:
    async def work() -> None:
        url = f"{governed.url}/mcp/desk"
        async with connected(url, credentials[IDENTITY], mode="legacy") as client:
            desk.forget_sessions()
            with pytest.raises(MCPError, match=r"[Ss]ession"):
                await client.call_tool("echo", {"text": "hi"})
        async with connected(url, credentials[IDENTITY], mode="legacy") as client:
            assert text_of(await client.call_tool("echo", {"text": "hi"})) == "hi"

    run(work)


def test_a_session_is_good_for_nobody_else(
    governed: GatewayProcess, credentials: dict[str, str], desk: Upstream
) -> None:
    first = McpClient(governed.url, "desk", credentials[IDENTITY])
    capabilities = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    begun = first.send({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": capabilities})
    session = {"mcp-session-id": begun.headers["mcp-session-id"]}
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    assert first.send(ping, **session).status == 200
    assert McpClient(governed.url, "desk", credentials[POOR]).send(ping, **session).status == 404
    assert first.http("DELETE", **session).status == 200
    assert first.send(ping, **session).status == 404
    del desk


def test_a_page_of_another_site_speaks_to_no_server(governed: GatewayProcess, credentials: dict[str, str]) -> None:
    caller = McpClient(governed.url, "desk", credentials[IDENTITY], origin="http://evil.example")
    assert caller.ask("tools/list").status == 403
    near = McpClient(governed.url, "desk", credentials[IDENTITY], origin=governed.url)
    assert near.ask("tools/list").status == 200


def test_the_table_of_refusals(governed: GatewayProcess, credentials: dict[str, str], desk: Upstream) -> None:
    """docs/mcp-clients.md has this table: what is refused, as which code, over which status, in which shape."""
    caller = McpClient(governed.url, "desk", credentials[IDENTITY])
    caller.tools()
    poor = McpClient(governed.url, "desk", credentials[POOR])
    stranger = McpClient(governed.url, "desk", credentials[STRANGER])
    found = [
        ("no credential", McpClient(governed.url, "desk", "").ask("tools/list")),
        ("a credential of nobody", McpClient(governed.url, "desk", "cptr_nothing").ask("tools/list")),
        ("a server that is not there", McpClient(governed.url, "nowhere", credentials[IDENTITY]).ask("tools/list")),
        ("a server that does not answer", McpClient(governed.url, "gone", credentials[IDENTITY]).ask("tools/list")),
        ("a list of which nothing is permitted", stranger.ask("tools/list")),
        ("a tool that nobody listed", caller.call("no_such_tool")),
        ("a policy forbids it", caller.call("delete_thing", name="x")),
        ("no money is left", poor.call("search", query="cats")),
        ("a result that is too large", caller.call("big", kib=100)),
    ]
    desk.bend("description_changed", tool="pay")
    caller.tools()
    found.append(("a tool that changed", caller.call("pay", to="x", amount_usd="1")))
    desk.bend("hang", tool="echo")
    found.append(("a server that hangs", caller.call("echo", text="hi")))
    shown = [
        f"| {name} | `{said.refusal}` | {said.status} | {'error' if 'error' in said.message else 'result'} |"
        for name, said in found
    ]
    page = (ROOT / "docs" / "mcp-clients.md").read_text(encoding="utf-8")
    assert [line for line in shown if line not in page] == [], "\n".join(shown)
