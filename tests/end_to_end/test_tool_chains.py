"""Tools inside model calls meet the tools of servers: what may be offered, and which answer asked for a tool call."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.end_to_end.caller import Row, Said, ask, chat, eventually, mint, row_of, settled_row
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.mcp import McpClient
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

POLICIES = """
@id("models") permit (principal, action == Action::"model.call", resource);
@id("reds-use-desk") permit (principal in Team::"red", action == Action::"tool.call", resource in Server::"desk");
@id("nobody-deletes") @reason("nothing is deleted here")
forbid (principal, action == Action::"tool.call", resource in RiskClass::"destructive");
@id("reds-search")
permit (principal in Team::"red", action == Action::"tool.call", resource == Tool::"openai/web_search");
"""
TOOLS: dict[str, Row] = {
    "desk/*": {"risk": ["read"]},
    "desk/delete_thing": {"risk": ["destructive"]},
    "openai/web_search": {"risk": ["open_world", "spends_money"]},
}
MEMBERS = {"agent/ant": identity("red"), "agent/bee": identity("blue")}
ECHO, DELETE, OWN = "mcp__desk__echo", "mcp__desk__delete_thing", "lookup"
SCHEMA = {"type": "object", "properties": {"text": {"type": "string", "const": "hello  there"}}}


def functions(*names: str) -> Any:
    return [{"type": "function", "function": {"name": each, "parameters": SCHEMA}} for each in names]


def started(folder: Path, sandbox: SandboxProcess, **organization: Any) -> GatewayProcess:
    servers = {"desk": {"url": f"{sandbox.url}/mcp/desk"}}
    table = registry([budget("all", "100.00 USD")], MEMBERS, tools=TOOLS)
    table["organization"] |= organization
    table["models"]["sandbox-*"] |= {"max_tool_calls": 2}
    table["prices"] = [each | {"web_search": "10.00"} for each in table["prices"]]
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text(POLICIES)
    return GatewayProcess(folder, process(sandbox.url, servers=servers, policies="policies"), table)


@pytest.fixture(scope="module")
def own(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with started(tmp_path_factory.mktemp("chains"), sandbox_process) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


# --- which answer asked for it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_tool_call_names_the_answer_that_asked_for_it(own: GatewayProcess, stream: bool) -> None:
    key = mint(own)["credential"]
    desk = McpClient(own.url, "desk", key)
    desk.tools()
    with openai.OpenAI(base_url=f"{own.url}/v1", api_key=key) as client:
        given: Any = {
            "model": "sandbox-small",
            "messages": [{"role": "user", "content": "say it"}],
            "tools": functions(ECHO, OWN),
            "tool_choice": "required",
            "stream": stream,
        }
        with client.chat.completions.with_streaming_response.create(**given) as answer:
            model_call = answer.headers["x-comptroller-call-id"]
            answer.read()
    assert desk.call("echo", text="hello").status == 200
    said = desk.call("echo", text="hello  there")
    settled_row(own, model_call)
    row = row_of(own, said.headers["x-comptroller-call-id"])
    assert row["cause"] == model_call
    assert row["arguments_digest"] == row_of(own, model_call)["called"][0]["arguments_digest"]
    assert f"The answer of the call {model_call} to a model asked for it." in own.command("explain", row["id"]).stdout
    others = [each for each in own.calls() if each["session"] == row["session"] and each["tool"] and each is not row]
    assert [each["cause"] for each in others if each["id"] != row["id"]] == [None], "with other arguments"


def test_nobody_elses_answer_asked_for_it(own: GatewayProcess) -> None:
    body = chat("say it", tools=functions(ECHO), tool_choice="required")
    assert ask(own, mint(own)["credential"], body).status == 200
    desk = McpClient(own.url, "desk", mint(own)["credential"])
    desk.tools()
    said = desk.call("echo", text="hello  there")
    row = eventually(lambda: row_of(own, said.headers["x-comptroller-call-id"]))
    assert row["cause"] is None


# --- what may be offered ---------------------------------------------------------------------------------------------


def scoped(gateway: GatewayProcess, who: str, tools: list[str] | None) -> str:
    """A credential; with `tools`, that of a child session which may use no others."""
    key = mint(gateway, who)["credential"]
    if tools is None:
        return key
    body = json.dumps({"name": "k1", "tools": tools}).encode()
    return json.loads(ask(gateway, key, body, path="/comptroller/v1/sessions").body)["credential"]


def offered(gateway: GatewayProcess, *names: str, who: str = "agent/ant", tools: list[str] | None = None) -> Said:
    key = scoped(gateway, who, tools)
    return ask(gateway, key, chat("go", tools=functions(*names), tool_choice="required"))


def test_what_may_not_be_called_is_on_record_when_it_is_offered(own: GatewayProcess) -> None:
    said = offered(own, ECHO, DELETE, OWN)
    assert said.status == 200
    effect = f'warned;rule="offered_tools";detail="1 of 3 functions: {DELETE} (no_permit)"'
    assert said.headers["x-comptroller-effects"] == effect
    assert settled_row(own, said.call_id)["effects"][0]["rule"] == "offered_tools"
    assert "x-comptroller-effects" not in offered(own, ECHO, OWN).headers
    assert "3 of 3" in offered(own, ECHO, DELETE, "desk__search", who="agent/bee").headers["x-comptroller-effects"]


def test_the_allow_list_of_a_session_counts(own: GatewayProcess) -> None:
    said = offered(own, ECHO, OWN, tools=["desk/search"])
    assert f"{ECHO} (tool_forbidden)" in said.headers["x-comptroller-effects"]


def test_it_is_left_out_of_the_request(sandbox_process: SandboxProcess, tmp_path: Path) -> None:
    with started(tmp_path, sandbox_process, offered_tools="strip") as gateway:
        said = offered(gateway, DELETE, ECHO)
        assert said.status == 200
        assert said.headers["x-comptroller-effects"].startswith('trimmed;rule="offered_tools"')
        row = settled_row(gateway, said.call_id)
        assert [each["name"] for each in row["called"]] == [ECHO], "the sandbox calls the first that it is offered"
        told = gateway.admin("GET", f"/calls/{said.call_id}/explanation")
        assert told["tools"] == [DELETE, ECHO], "on record is what came"
        alone = ask(gateway, mint(gateway)["credential"], chat("go", tools=functions(DELETE)))
        assert (alone.status, settled_row(gateway, alone.call_id)["called"]) == (200, [])
        with anthropic.Anthropic(base_url=gateway.url, api_key=mint(gateway)["credential"]) as client:
            tools: Any = [{"name": each, "input_schema": SCHEMA} for each in (DELETE, ECHO)]
            message = client.messages.create(
                model="sandbox-small",
                max_tokens=200,
                messages=[{"role": "user", "content": "go"}],
                tools=tools,
                tool_choice={"type": "any"},
            )
        assert [each.name for each in message.content if each.type == "tool_use"] == [ECHO]


def test_it_is_refused(sandbox_process: SandboxProcess, sandbox: SandboxProcess, tmp_path: Path) -> None:
    with started(tmp_path, sandbox_process, offered_tools="refuse") as gateway:
        before = len(sandbox.requests())
        said = offered(gateway, DELETE, ECHO)
        assert (said.status, said.code) == (402, "tool_forbidden")
        assert DELETE in said.error["message"]
        assert len(sandbox.requests()) == before
        assert row_of(gateway, said.call_id)["refusal"] == "tool_forbidden"
        assert offered(gateway, ECHO, OWN).status == 200


# --- tools that the API defines itself -------------------------------------------------------------------------------


def searching(
    gateway: GatewayProcess, who: str = "agent/ant", tool: str = "web_search", tools: list[str] | None = None
) -> Said:
    key = scoped(gateway, who, tools)
    body = {"model": "sandbox-small", "input": "look it up", "tools": [{"type": tool}], "store": False}
    return ask(gateway, key, body, path="/v1/responses")


def test_a_tool_of_the_api_is_governed_where_the_registry_has_it(own: GatewayProcess) -> None:
    assert searching(own).status == 200
    refused = searching(own, "agent/bee")
    assert (refused.status, refused.code) == (402, "no_permit")
    assert "'openai/web_search'" in refused.error["message"]
    assert searching(own, "agent/bee", "file_search").code != "no_permit", "nobody has said anything about this one"


def test_the_allow_list_of_a_session_is_about_tools_of_the_api_too(own: GatewayProcess) -> None:
    refused = searching(own, tools=["desk/*"])
    assert (refused.status, refused.code) == (402, "tool_forbidden")
    assert "'openai/web_search'" in refused.error["message"]
    assert searching(own, tools=["openai/web_*"]).status == 200
