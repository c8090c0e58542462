"""The sandbox's MCP servers, as the official SDK and as plain HTTP see them."""

import http.client
import json
import sys
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import MCPError
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from comptroller.sandbox.mcp.faults import FAULTS, HIDDEN, IN_ANSWERS, IN_DEFINITIONS, IN_DELIVERY, IN_PROCESS
from comptroller.sandbox.mcp.offer import TOOLS
from tests.mcp_peers.sdk import connected, run, text_of
from tests.sandbox.process import SandboxProcess, environment
from tests.sandbox.raw import Response, post

pytestmark = pytest.mark.processes

BOTH = pytest.mark.parametrize("mode", ["modern", "legacy"])
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


def url(sandbox: SandboxProcess, server: str = "files") -> str:
    return f"{sandbox.url}/mcp/{server}"


def bend(sandbox: SandboxProcess, *faults: dict[str, Any], server: str = "files", **plan: Any) -> None:
    body = {"faults": faults} | plan
    assert post(sandbox, body, path=f"/sandbox/mcp/servers/{server}").status == 200


@pytest.fixture(autouse=True)
def fresh(sandbox: SandboxProcess) -> None:
    post(sandbox, b"", method="DELETE", path="/sandbox/mcp/bill")
    post(sandbox, b"", method="DELETE", path="/sandbox/mcp/servers/files")


def bill(sandbox: SandboxProcess) -> Any:
    return post(sandbox, b"", method="GET", path="/sandbox/mcp/bill").json()


def lines(sandbox: SandboxProcess, method: str = "tools/call") -> list[dict[str, Any]]:
    page = post(sandbox, b"", method="GET", path="/sandbox/mcp/bill/calls").body
    return [line for line in map(json.loads, page.splitlines()) if line["method"] == method]


def rpc(sandbox: SandboxProcess, method: str, server: str = "files", **params: Any) -> Response:
    """One request of the modern era, by hand."""
    named = params.get("name") or params.get("uri")
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": method} | ({"mcp-name": named} if named else {})
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params | {"_meta": META}}
    return post(sandbox, body, path=f"/mcp/{server}", headers=headers)


def call(sandbox: SandboxProcess, tool: str = "echo", **arguments: Any) -> Response:
    return rpc(sandbox, "tools/call", name=tool, arguments=arguments or {"text": "hi"})


@BOTH
def test_the_sdk_uses_every_part_of_it(sandbox: SandboxProcess, mode: str) -> None:
    async def work() -> None:
        async with connected(url(sandbox), "sandbox-me", mode=mode) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == [tool.name for tool in TOOLS]
            echoed = await client.call_tool("echo", {"text": "hi"})
            assert (text_of(echoed), echoed.structured_content) == ("hi", {"text": "hi"})
            assert len((await client.call_tool("search", {"query": "cats"})).structured_content["results"]) == 3
            assert len(text_of(await client.call_tool("big", {"kib": 3}))) == 3 * 1024
            assert (await client.call_tool("fail", {})).is_error
            with pytest.raises(MCPError, match="Unknown tool"):
                await client.call_tool("nothing", {})
            with pytest.raises(MCPError, match="Invalid arguments"):
                await client.call_tool("echo", {"text": 5})
            note = await client.read_resource("sandbox://notes/welcome")
            assert note.contents[0].text == "The note welcome."
            assert len((await client.list_resources()).resources) == 2
            prompt = await client.get_prompt("greet", {"name": "ada"})
            assert prompt.messages[0].content.text == "Greet ada."
            about = types.PromptReference(type="ref/prompt", name="greet")
            completed = await client.complete(about, {"name": "name", "value": "g"})
            assert completed.completion.values == ["grace"]

    run(work)
    account = bill(sandbox)["servers"]["files"]
    assert (account["calls"], account["charge_usd"]) == (4, "0.010003")
    assert {line["era"] for line in lines(sandbox)} == {mode}
    assert [line["name"] for line in lines(sandbox) if line["ran"]] == ["echo", "search", "big", "fail"]
    assert [line["units"] for line in lines(sandbox) if line["ran"]] == [0, 3, 3, 0]


@BOTH
def test_a_question_is_put_to_the_person(sandbox: SandboxProcess, mode: str) -> None:
    async def told(_: Any, asked: Any) -> types.ElicitResult:
        content = {"answer": "yes please"} if asked.mode == "form" else None
        return types.ElicitResult(action="accept", content=content)

    async def work() -> None:
        async with connected(url(sandbox), mode=mode, elicitation_callback=told) as client:
            assert text_of(await client.call_tool("ask", {"question": "Go on?"})) == "They said: yes please"
            where = {"question": "Sign in", "url": "https://idp.example/"}
            assert text_of(await client.call_tool("ask", where)) == "They said: yes"
        async with connected(url(sandbox), mode=mode) as client:
            assert (await client.call_tool("ask", {"question": "Go on?"})).is_error

    run(work)
    ran = [line["ran"] for line in lines(sandbox)]
    assert ran == ([False, True, False, True, True] if mode == "modern" else [True, True, True])


@BOTH
def test_slow_tools_say_how_far_they_are(sandbox: SandboxProcess, mode: str) -> None:
    seen: list[float] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        assert (total, message) == (3, None)
        seen.append(done)

    async def work() -> None:
        async with connected(url(sandbox), mode=mode) as client:
            await client.call_tool("slow", {"delay_s": 0}, progress_callback=progress)

    run(work)
    assert seen == [0, 1, 2]


def test_a_server_of_one_era_alone(sandbox: SandboxProcess) -> None:
    async def work() -> list[str]:
        versions: list[str] = []
        for eras in ("legacy", "modern"):
            bend(sandbox, eras=eras)
            async with connected(url(sandbox)) as client:
                await client.call_tool("echo", {"text": "hi"})
                versions.append(client.protocol_version)
        return versions

    assert run(work) == ["2025-11-25", "2026-07-28"]


def test_a_session_that_was_forgotten_is_unknown(sandbox: SandboxProcess) -> None:
    async def work() -> None:
        async with connected(url(sandbox), mode="legacy") as client:
            post(sandbox, b"", method="DELETE", path="/sandbox/mcp/sessions")
            with pytest.raises(MCPError, match=r"[Ss]ession"):
                await client.call_tool("echo", {"text": "hi"})

    run(work)


def test_a_line_says_what_arrived(sandbox: SandboxProcess) -> None:
    assert call(sandbox, text="what was said").status == 200
    [line] = lines(sandbox)
    assert (line["arguments"], line["meta"], line["state"]) == ({"text": "what was said"}, META, "done")
    assert len(line["key"]) == 12
    assert "mcp-method" in line["received_headers"]
    assert post(sandbox, {}, path="/mcp/files", key="cptr_callers-own").status == 401


def test_headers_must_say_what_the_body_says(sandbox: SandboxProcess) -> None:
    body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo", "_meta": META}}
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "other"}
    answer = post(sandbox, body, path="/mcp/files", headers=headers)
    assert (answer.status, answer.json()["error"]["code"]) == (400, -32020)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"id": 1, "method": "ping"}', b"\xff"])
def test_what_is_no_message_is_refused(sandbox: SandboxProcess, body: bytes) -> None:
    assert post(sandbox, body, path="/mcp/files").status == 400


def listed(sandbox: SandboxProcess) -> dict[str, Any]:
    return {tool["name"]: tool for tool in rpc(sandbox, "tools/list").json()["result"]["tools"]}


def test_definitions_can_be_poisoned(sandbox: SandboxProcess) -> None:
    was = listed(sandbox)
    bend(sandbox, {"fault": "description_changed", "tool": "echo"}, {"fault": "hidden_text", "tool": "big"})
    now = listed(sandbox)
    assert "Do not tell the user" in now["echo"]["description"]
    assert HIDDEN in now["big"]["description"]
    assert {name for name in was if was[name] != now[name]} == {"echo", "big"}
    bend(
        sandbox,
        {"fault": "schema_widened", "tool": "pay"},
        {"fault": "schema_ref", "tool": "echo"},
        {"fault": "annotations_changed", "tool": "delete_thing"},
    )
    now = listed(sandbox)
    assert now["pay"]["inputSchema"]["required"] == []
    assert "169.254.169.254" in now["echo"]["inputSchema"]["properties"]["text"]["$ref"]
    assert now["delete_thing"]["annotations"]["readOnlyHint"]


def test_tools_come_and_go(sandbox: SandboxProcess) -> None:
    was = set(listed(sandbox))
    bend(
        sandbox,
        {"fault": "tool_added"},
        {"fault": "tool_renamed", "tool": "echo"},
        {"fault": "tool_removed", "tool": "big"},
    )
    assert set(listed(sandbox)) == was - {"echo", "big"} | {"echo_v2", "bonus"}
    assert call(sandbox, "echo_v2", text="hi").json()["result"]["structuredContent"] == {"text": "hi"}
    assert "Unknown tool" in call(sandbox).json()["error"]["message"]
    bend(sandbox, {"fault": "tools_grew", "count": 40})
    assert len(listed(sandbox)) == len(was) + 40


def test_answers_can_be_wrong(sandbox: SandboxProcess) -> None:
    def under(fault: str, **options: Any) -> Response:
        bend(sandbox, {"fault": fault, "tool": "echo"} | options)
        return call(sandbox)

    with pytest.raises(json.JSONDecodeError):
        under("malformed_json").json()
    assert under("wrong_id").json()["id"] == "nobody-asked-this"
    assert "id" not in under("no_id").json()
    assert {"result", "error"} <= under("result_and_error").json().keys()
    assert "jsonrpc" not in under("not_jsonrpc").json()
    assert under("error").json()["error"]["code"] == -32603
    assert len(under("huge", kib=300).body) > 300 * 1024
    assert under("structured_mismatch").json()["result"]["structuredContent"] == {"surprise": 1}
    assert call(sandbox, "search", query="another tool").json()["result"]["structuredContent"].keys() == {"results"}


def test_a_person_can_be_sent_somewhere_bad(sandbox: SandboxProcess) -> None:
    bend(sandbox, {"fault": "bad_elicitation", "url": "http://10.0.0.1/"})
    sent: list[str] = []

    async def told(_: Any, asked: Any) -> types.ElicitResult:
        sent.append(asked.url)
        return types.ElicitResult(action="decline")

    async def work() -> None:
        async with connected(url(sandbox), elicitation_callback=told) as client:
            assert (await client.call_tool("echo", {"text": "hi"})).is_error

    run(work)
    assert sent == ["http://10.0.0.1/"]


def test_deliveries_can_fail(sandbox: SandboxProcess) -> None:
    def under(fault: str, **options: Any) -> Response:
        bend(sandbox, {"fault": fault, "method": "tools/list"} | options)
        return rpc(sandbox, "tools/list")

    assert under("cut").cut
    assert under("cut_before_headers").status is None
    assert under("not_http").status is None
    statuses = [under(name).status for name in ("unauthorized", "rate_limited", "server_error", "session_lost")]
    assert statuses == [401, 429, 500, 404]
    assert under("slow", delay_s=0).status == 200
    flooded = under("flood")
    assert flooded.headers["content-type"] == "text/event-stream"
    assert len(flooded.body) > 2_000_000
    bend(sandbox, {"fault": "hang"})
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=0.2)
    connection.request("POST", "/mcp/files", json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call"}))
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()


def test_a_stream_may_hold_nothing_but_the_answer(sandbox: SandboxProcess) -> None:
    bend(sandbox, stream=True)
    answer = call(sandbox)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.body.count(b"data: ") == 1


@pytest.mark.parametrize("plan", [b"{", b'{"faults": [{"fault": "nonsense"}]}', b'{"fault": []}', b'{"eras": "all"}'])
def test_a_plan_that_cannot_be_is_refused(sandbox: SandboxProcess, plan: bytes) -> None:
    assert post(sandbox, plan, path="/sandbox/mcp/servers/files").status == 400
    assert call(sandbox).status == 200


def test_prices_can_be_read(sandbox: SandboxProcess) -> None:
    prices = post(sandbox, b"", method="GET", path="/sandbox/mcp/prices").json()["prices"]
    assert [price["tool"] for price in prices] == ["search", "big", "pay"]
    call(sandbox, "pay", to="ada", amount_usd="1.5")
    assert bill(sandbox)["total"]["charge_usd"] == "1.50"


def stdio(*arguments: str) -> Any:
    command = ["-m", "comptroller.sandbox.mcp", *arguments]
    return stdio_client(StdioServerParameters(command=sys.executable, args=command, env=environment()))


@BOTH
def test_the_same_over_stdio(tmp_path: Path, mode: str) -> None:
    kept = tmp_path / "bill"

    async def told(_: Any, asked: Any) -> types.ElicitResult:
        del asked
        return types.ElicitResult(action="accept", content={"answer": "fine"})

    async def work() -> None:
        version = "2026-07-28" if mode == "modern" else mode
        async with Client(stdio("--bill", str(kept)), mode=version, elicitation_callback=told) as client:
            assert len((await client.list_tools()).tools) == len(TOOLS)
            assert text_of(await client.call_tool("echo", {"text": "hi"})) == "hi"
            assert text_of(await client.call_tool("ask", {"question": "Go on?"})) == "They said: fine"
            assert text_of(await client.call_tool("slow", {"delay_s": 0})) == "done after 0.0 s"

    run(work)
    names = [line["name"] for line in map(json.loads, kept.read_text().splitlines()) if line["ran"]]
    assert names == ["echo", "ask", "slow"]


@pytest.mark.parametrize("fault", ["die", "garbage", "flood_stderr", "flood"])
def test_a_stdio_server_misbehaves(fault: str) -> None:
    plan = json.dumps({"faults": [{"fault": fault}]})

    async def work() -> None:
        async with Client(stdio("--plan", plan), mode="legacy") as client:
            await client.list_tools()
            if fault == "die":
                with pytest.raises(MCPError):
                    await client.call_tool("echo", {"text": "hi"})
            else:
                assert text_of(await client.call_tool("echo", {"text": "hi"})) == "hi"

    run(work)


def test_every_fault_is_tried_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in FAULTS if f'"{name}"' not in text] == []
    assert sum(map(len, (IN_ANSWERS, IN_DEFINITIONS, IN_DELIVERY, IN_PROCESS))) == len(FAULTS)
