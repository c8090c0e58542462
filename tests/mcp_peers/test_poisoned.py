"""A poisoned server behind the gateway: every way in which it can go wrong ends as it was designed to."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.gateway import GatewayProcess
from tests.harness.mcp import McpClient, Said
from tests.mcp_peers.poison import Upstream
from tests.mcp_peers.world import IDENTITY, gateway
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

SERVERS = [f"s{number}" for number in range(40)]
_unused = iter(SERVERS)


@pytest.fixture(scope="module")
def governed(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    servers = {name: {"url": f"{sandbox_process.url}/mcp/{name}", "timeout_s": 2.0} for name in SERVERS}
    limits = {f"{name}/*": {"risk": ["read"], "result_bytes": 65_536} for name in SERVERS}
    refusing = {f"{name}/big": {"risk": ["read"], "result_bytes": 65_536, "on_large": "refuse"} for name in SERVERS}
    with gateway(tmp_path_factory.mktemp("poisoned"), servers, registry={"tools": limits | refusing}) as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture(scope="module")
def credential(governed: GatewayProcess) -> str:
    return governed.token(IDENTITY)


@pytest.fixture
def upstream(sandbox_process: SandboxProcess) -> Upstream:
    """A server that nobody has listed yet."""
    return Upstream(sandbox_process, next(_unused))


@pytest.fixture
def client(governed: GatewayProcess, upstream: Upstream, credential: str) -> McpClient:
    caller = McpClient(governed.url, upstream.name, credential)
    assert "echo" in caller.tools()
    return caller


def hidden(said: Said) -> dict[str, Any]:
    """What the list says of the tools that it does not have."""
    return said.result["_meta"]["comptroller/hidden"]


@pytest.mark.parametrize(
    "fault", ["description_changed", "hidden_text", "annotations_changed", "schema_widened", "schema_ref"]
)
def test_a_tool_that_changed_stands_aside_alone(client: McpClient, upstream: Upstream, fault: str) -> None:
    before = client.tools()
    upstream.bend(fault, tool="echo")
    listed = client.ask("tools/list")
    assert [tool["name"] for tool in listed.result["tools"]] == [name for name in before if name != "echo"]
    assert hidden(listed)["count"] == 1
    said = client.call("echo", text="hi")
    assert (said.status, said.refusal) == (200, "tool_changed")
    assert upstream.calls() == []
    assert client.call("search", query="cats").refusal == ""
    upstream.heal()
    assert client.tools() == before
    assert client.call("echo", text="hi").text == "hi"


def test_a_renamed_tool_is_a_new_one(client: McpClient, upstream: Upstream) -> None:
    upstream.bend("tool_renamed", tool="echo")
    assert not {"echo", "echo_v2"} & set(client.tools())
    assert client.call("echo_v2", text="hi").refusal == "tool_changed"
    assert upstream.calls() == []


def test_a_new_tool_waits_for_a_person(client: McpClient, upstream: Upstream) -> None:
    upstream.bend("tool_added")
    assert "bonus" not in client.tools()
    assert client.call("bonus", text="hi").refusal == "tool_changed"
    assert upstream.calls() == []


def test_a_server_that_suddenly_has_many_more_tools_is_found(
    governed: GatewayProcess, client: McpClient, upstream: Upstream
) -> None:
    upstream.bend("tools_grew", count=50)
    assert len(client.tools()) == 9
    kinds = {finding["code"] for finding in governed.cli("findings") if upstream.name in str(finding)}
    assert "tools_grew" in kinds


def test_a_tool_that_is_poisoned_from_the_first_is_never_shown(
    governed: GatewayProcess, upstream: Upstream, credential: str
) -> None:
    upstream.bend("description_changed", tool="echo")
    caller = McpClient(governed.url, upstream.name, credential)
    assert "echo" not in caller.tools()
    assert "search" in caller.tools()
    assert caller.call("echo", text="hi").refusal == "tool_changed"


def test_a_result_that_is_too_large_is_cut_and_says_so(client: McpClient, upstream: Upstream) -> None:
    upstream.bend("huge", tool="echo", kib=2_048)
    said = client.call("echo", text="hi")
    assert (said.status, said.refusal) == (200, "")
    assert len(str(said.message)) < 70_000
    assert "structuredContent" not in said.result
    assert len(upstream.calls()) == 1


def test_or_it_is_refused(client: McpClient, upstream: Upstream) -> None:
    said = client.call("big", kib=2_048)
    assert said.refusal == "result_too_large"
    assert said.result["isError"]
    assert len(upstream.calls()) == 1


@pytest.mark.parametrize(
    "fault", ["malformed_json", "not_jsonrpc", "wrong_id", "no_id", "cut", "cut_before_headers", "not_http"]
)
def test_an_answer_that_is_none_is_not_passed_on(client: McpClient, upstream: Upstream, fault: str) -> None:
    upstream.bend(fault, tool="echo")
    said = client.call("echo", text="hi")
    assert said.refusal in {"upstream_failed", "upstream_malformed"}, said
    assert said.status == 200
    assert said.result["isError"]
    assert "nobody-asked-this" not in str(said)
    upstream.heal()
    assert client.call("echo", text="hi").text == "hi"


def test_a_server_that_hangs_is_given_up(client: McpClient, upstream: Upstream) -> None:
    upstream.bend("hang", tool="echo")
    said = client.call("echo", text="hi")
    assert (said.status, said.refusal) == (200, "upstream_timeout")


def test_a_slow_one_is_waited_for(client: McpClient, upstream: Upstream) -> None:
    upstream.bend("slow", tool="echo", delay_s=0.5)
    assert client.call("echo", text="hi").text == "hi"


def test_a_flood_of_notifications_has_an_end(client: McpClient, upstream: Upstream) -> None:
    upstream.bend("flood", tool="echo")
    said = client.call("echo", text="hi")
    assert said.text == "hi" or said.refusal


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "javascript:alert(1)", "file:///etc/passwd"]
)
def test_nobody_is_sent_somewhere_bad(client: McpClient, upstream: Upstream, url: str) -> None:
    client.meta = client.meta | {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}
    upstream.bend("bad_elicitation", tool="echo", url=url)
    said = client.call("echo", text="hi")
    assert said.status == 200
    assert url not in str(said.message)
    assert said.result["isError"]


def test_where_they_may_go_they_are_sent(client: McpClient, upstream: Upstream) -> None:
    client.meta = client.meta | {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}
    upstream.bend("bad_elicitation", tool="echo", url="https://idp.example/sign-in")
    said = client.call("echo", text="hi")
    assert said.result["resultType"] == "input_required"
    assert said.result["inputRequests"]["answer"]["params"]["url"] == "https://idp.example/sign-in"


def test_a_no_to_the_gateways_own_key_is_not_the_callers_fault(client: McpClient, upstream: Upstream) -> None:
    upstream.bend("unauthorized", tool="echo")
    said = client.call("echo", text="hi")
    assert (said.status, said.refusal) == (200, "provider_credential_rejected")
    assert upstream.calls() == []


def test_its_other_errors_are_passed_on_and_marked_as_its_own(client: McpClient, upstream: Upstream) -> None:
    upstream.bend("server_error", tool="echo")
    said = client.call("echo", text="hi")
    assert (said.status, said.headers["x-comptroller-error-source"]) == (500, "provider")
    assert upstream.calls() == []


def test_every_call_of_a_poisoned_server_is_settled(governed: GatewayProcess) -> None:
    calls = governed.calls()
    assert calls
    assert not [call for call in calls if call["outcome"] == "open"]
    assert all(budget["held"] in {"0", "0.00"} for budget in governed.budgets())
