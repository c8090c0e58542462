"""Which tools: nothing that nobody allowed, by whom, for what, with which arguments and after what; on real sockets."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.mcp import McpClient, Said
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

POLICIES = """
@id("models") permit (principal, action == Action::"model.call", resource);

@id("reds-read")
permit (principal in Team::"red", action == Action::"tool.call", resource in RiskClass::"read");

@id("cleaning-deletes") @reason("things are deleted in cleaning sessions")
permit (principal in Team::"red", action == Action::"tool.call", resource in RiskClass::"destructive")
when { context.profile == "cleaner" };

@id("paying-pays")
permit (principal in Team::"red", action == Action::"tool.call", resource == Tool::"desk/pay")
when { context.task_type == "invoice" };

@id("no-secrets-outside") @reason("what looks like a key does not leave")
forbid (principal, action == Action::"tool.call", resource in RiskClass::"open_world")
when { context.arguments.contains("secret") };

@id("large-payments") @remedy("approval:finops") @reason("over 1000 USD finops is asked")
forbid (principal, action == Action::"tool.call", resource == Tool::"desk/pay")
when { context.arguments.contains("over_1000") };

@id("nothing-out-after-the-vault") @reason("what was read from the vault does not leave")
forbid (principal, action == Action::"tool.call", resource in RiskClass::"open_world")
when { context.tools_used.contains("vault/echo") };

@id("no-models-after-the-vault") @reason("the vault is not for prompts")
forbid (principal, action == Action::"model.call", resource == Model::"sandbox-large")
when { context.tools_used.contains("vault/echo") };

@id("twenty-is-enough")
forbid (principal == Identity::"agent/counted", action, resource) when { context.calls >= 2 };
"""
TOOLS = {
    "desk/*": {"risk": ["read"]},
    "desk/search": {"risk": ["read", "open_world"]},
    "desk/fetch": {"risk": ["read", "open_world"]},
    "desk/delete_thing": {"risk": ["destructive"]},
    "desk/pay": {"risk": ["spends_money"]},
    "vault/echo": {"risk": ["read"]},
}
ARGUMENTS = [
    {
        "name": "our-hosts",
        "scope": {"team": "red", "tool": "desk/fetch"},
        "schema": {"properties": {"url": {"hosts": ["docs.acme.example", "*.acme.test"]}}, "required": ["url"]},
    },
    {
        "name": "few-results",
        "scope": {"identity": "agent/ant", "tool": "desk/*"},
        "schema": {"properties": {"limit": {"maximum": 10, "minimum": 1}}},
    },
    {
        "name": "notes-only",
        "scope": {"team": "red", "tool": "desk/@resources/read"},
        "schema": {"properties": {"uri": {"under": ["sandbox://notes"]}}, "required": ["uri"]},
    },
    {
        "name": "own-things",
        "scope": {"organization": "acme", "tool": "desk/delete_thing"},
        "schema": {"properties": {"name": {"under": ["/things/of/ours"]}}, "required": ["name"]},
    },
]
IDENTITIES = {
    "agent/ant": identity("red"),
    "agent/counted": identity("red"),
    "agent/bee": identity("blue"),
}
SECRET = "ghp_" + "a1b2c3d4" * 4


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("scopes")
    servers = {name: {"url": f"{sandbox_process.url}/mcp/{name}"} for name in ("desk", "vault")}
    table = registry(
        [budget("all", "100.00 USD")],
        IDENTITIES,
        tools=TOOLS,
        arguments=ARGUMENTS,
        profiles={"cleaner": {"tool_calls": 5}},
    )
    free = [{"tool": f"{name}/*", "from": date(2026, 1, 1), "request": "0"} for name in servers]
    table["prices"] = [*table["prices"], *free]
    (folder / "policies").mkdir()
    (folder / "policies" / "scopes.cedar").write_text(POLICIES)
    with GatewayProcess(folder, process(sandbox_process.url, servers=servers, policies="policies"), table) as running:
        yield running
        assert "Traceback" not in running.log()


def opened(gateway: GatewayProcess, name: str = "agent/ant", **given: Any) -> str:
    return gateway.admin("POST", "/sessions/open", {"identity": name, **given})["credential"]


def at(gateway: GatewayProcess, credential: str, server: str = "desk") -> McpClient:
    client = McpClient(gateway.url, server, credential)
    client.tools()
    return client


@pytest.fixture
def ant(gateway: GatewayProcess) -> McpClient:
    return at(gateway, opened(gateway))


def test_what_no_entry_lists_and_no_policy_permits_is_refused(gateway: GatewayProcess, ant: McpClient) -> None:
    assert ant.tools() == ["echo", "search", "fetch", "big", "slow", "fail", "ask"]
    assert ant.call("echo", text="hello").text == "hello"
    assert ant.call("delete_thing", name="/things/of/ours/a").refusal == "no_permit"
    vault = at(gateway, opened(gateway), "vault")
    assert vault.tools() == ["echo"]
    assert vault.call("search", query="x").refusal == "tool_unknown"
    bee = McpClient(gateway.url, "desk", opened(gateway, "agent/bee"))
    nothing = bee.ask("tools/list")
    assert nothing.refusal == "no_permit"
    assert "agent/bee" in nothing.text
    assert bee.call("echo", text="hello").refusal == "no_permit"


def test_a_session_uses_the_tools_that_its_credential_lists(gateway: GatewayProcess) -> None:
    narrow = at(gateway, opened(gateway, tools=["desk/e*", "vault/*"]))
    assert narrow.tools() == ["echo"]
    assert narrow.call("echo", text="hello").text == "hello"
    refused = narrow.call("search", query="x")
    assert refused.refusal == "tool_forbidden"
    assert "desk/e*" in refused.text
    assert McpClient(gateway.url, "desk", opened(gateway, tools=[])).ask("tools/list").refusal == "tool_forbidden"


def test_a_mission_profile_and_a_task_decide(gateway: GatewayProcess) -> None:
    cleaner = at(gateway, opened(gateway, profile="cleaner"))
    assert "delete_thing" in cleaner.tools()
    assert not cleaner.call("delete_thing", name="/things/of/ours/a").result.get("isError")
    clerk = at(gateway, opened(gateway, task_type="invoice"))
    assert "pay" in clerk.tools()
    assert "delete_thing" not in clerk.tools()
    assert not clerk.call("pay", to="ann", amount_usd="5").result.get("isError")
    assert clerk.call("pay", to="ann", amount_usd="5000").refusal == "approval_required"


@pytest.mark.parametrize(
    ("tool", "arguments", "rule"),
    [
        ("fetch", {"url": "https://docs.acme.example/a"}, None),
        ("fetch", {"url": "https://a.acme.test"}, None),
        ("fetch", {"url": "https://evil.example/a"}, "our-hosts"),
        ("fetch", {"url": "https://docs.acme.example@evil.example/a"}, "our-hosts"),
        ("fetch", {"url": ["https://docs.acme.example"]}, "our-hosts"),
        ("search", {"query": "x", "limit": 10}, None),
        ("search", {"query": "x", "limit": 11}, "few-results"),
        ("search", {"query": "x", "limit": "11"}, "few-results"),
    ],
)
def test_arguments_are_what_every_rule_allows(
    ant: McpClient, tool: str, arguments: dict[str, Any], rule: str | None
) -> None:
    said = ant.call(tool, **arguments)
    if rule is None:
        assert said.refusal == ""
        return
    assert said.refusal == "arguments_forbidden"
    assert f"The rule {rule!r} does not allow these arguments of desk/{tool}: " in said.text
    assert "evil" not in said.text


@pytest.mark.parametrize("name", ["/etc/passwd", "/things/of/ours/../theirs", "things"])
def test_a_path_is_under_its_folder(gateway: GatewayProcess, name: str) -> None:
    cleaner = at(gateway, opened(gateway, profile="cleaner"))
    assert cleaner.call("delete_thing", name=name).refusal == "arguments_forbidden"


def test_a_resource_is_read_by_the_same_rules(ant: McpClient) -> None:
    def read(uri: str) -> Said:
        return ant.ask("resources/read", {"uri": uri}, uri)

    assert read("sandbox://notes/welcome").result["contents"]
    assert read("sandbox://picture").refusal == "arguments_forbidden"
    assert read("sandbox://notes/%2e%2e/picture").refusal == "arguments_forbidden"


def test_a_secret_does_not_leave_and_is_not_written_down(gateway: GatewayProcess, ant: McpClient) -> None:
    said = ant.call("search", query=f"what opens {SECRET}?")
    assert said.refusal == "policy_forbidden"
    assert "what looks like a key does not leave" in said.text
    assert ant.call("echo", text=SECRET).text == SECRET  # inside, it may be said
    assert SECRET not in json.dumps(gateway.calls())
    assert SECRET not in gateway.log()


def test_a_dangerous_chain_is_forbidden_in_the_whole_run_and_after_a_restart(gateway: GatewayProcess) -> None:
    top = gateway.admin("POST", "/sessions/open", {"identity": "agent/ant"})
    below = {"identity": "agent/counted", "parent": top["session"]}
    child = gateway.admin("POST", "/sessions/open", below)["credential"]
    other = opened(gateway)
    assert at(gateway, top["credential"]).call("search", query="before").refusal == ""
    assert at(gateway, child, "vault").call("echo", text="what is in it").refusal == ""
    for credential in (top["credential"], child):
        refused = at(gateway, credential).call("search", query="after")
        assert refused.refusal == "policy_forbidden"
        assert "what was read from the vault does not leave" in refused.text
    assert at(gateway, other).call("search", query="another run").refusal == ""
    with pytest.raises(openai.APIStatusError) as raised:
        ask(gateway, top["credential"], "sandbox-large")
    assert "the vault is not for prompts" in raised.value.message
    ask(gateway, top["credential"], "sandbox-small")
    gateway.kill9()
    gateway.start()
    assert at(gateway, top["credential"]).call("search", query="after a crash").refusal == "policy_forbidden"
    assert at(gateway, other).call("search", query="another run").refusal == ""


def test_calls_of_both_kinds_count(gateway: GatewayProcess) -> None:
    credential = opened(gateway, "agent/counted")
    client = at(gateway, credential)
    ask(gateway, credential, "sandbox-small")
    assert client.call("echo", text="two").refusal == ""
    assert client.call("echo", text="three").refusal == "policy_forbidden"


def test_a_session_has_so_many_calls_of_tools(gateway: GatewayProcess) -> None:
    credential = opened(gateway, bounds={"tool_calls": 2})
    client = at(gateway, credential)
    ask(gateway, credential, "sandbox-small")
    assert [client.call("echo", text="again").refusal for _ in range(3)] == ["", "", "session_limit"]


def ask(gateway: GatewayProcess, credential: str, model: str) -> None:
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=credential, max_retries=0)
    client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}], max_tokens=8)


def test_a_person_is_told_who_may_call_what(gateway: GatewayProcess) -> None:
    may = gateway.cli("policy", "explain", "agent/ant", "desk/search")
    assert (may["allowed"], may["determining"], may["server"]) == (True, ["reds-read"], "desk")
    assert may["risks"] == ["read", "open_world"]
    not_so = gateway.cli("policy", "explain", "agent/bee", "desk/search")
    assert (not_so["allowed"], not_so["refusal"]) == (False, "no_permit")
    chain = gateway.cli("policy", "explain", "agent/ant", "desk/search", "--used", "vault/echo")
    assert chain["determining"] == ["nothing-out-after-the-vault"]
    clerk = ("policy", "explain", "agent/ant", "desk/pay", "--task-type", "invoice")
    assert gateway.cli(*clerk, "--arguments", '{"to":"ann","amount_usd":"2000"}')["remedy"] == "approval:finops"
    rule = gateway.cli("policy", "explain", "agent/ant", "desk/fetch", "--arguments", '{"url":"https://evil.example"}')
    assert (rule["allowed"], rule["refusal"], rule["rule"]) == (False, "arguments_forbidden", "our-hosts")
    assert rule["arguments"] == ["url"]
    words = gateway.command("policy", "explain", "agent/bee", "desk/search").stdout
    assert "agent/bee may not call desk/search: no policy permits it" in words
    unknown = gateway.command("policy", "explain", "agent/ant", "nowhere/search", check=False)
    assert unknown.returncode != 0
    assert "No entry is for a model or a tool 'nowhere/search'" in unknown.stderr
