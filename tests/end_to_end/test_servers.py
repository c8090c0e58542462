"""MCP servers in a running gateway: they are there, they are no providers of models, and they can be stopped."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.configuration import model, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

SERVERS = {
    "far": {"url": "http://127.0.0.1:9/mcp", "api_key": "env:NOT_SET_ANYWHERE"},
    "near": {"command": ["/bin/cat"], "allow_same_user": True},
}


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("servers")
    with GatewayProcess(folder, process(sandbox_process.url, servers=SERVERS), registry()) as running:
        yield running


def test_status_shows_servers_beside_providers(gateway: GatewayProcess) -> None:
    status = gateway.cli("status")
    assert [row["name"] for row in status["providers"]] == ["sandbox"]
    far, near = status["servers"]
    assert (far["name"], far["base_url"]) == ("mcp/far", "http://127.0.0.1:9/mcp")
    assert "NOT_SET_ANYWHERE" in far["missing"]
    assert (near["name"], near["base_url"], near["missing"]) == ("mcp/near", "stdio", None)
    shown = gateway.command("status").stdout
    assert "mcp/near, stdio: ready" in shown
    assert "allow_same_user" in gateway.log()


def test_no_model_can_name_a_server(gateway: GatewayProcess) -> None:
    gateway.write_registry(registry(models={"sandbox-*": model("sandbox"), "x": model("mcp/near")}))
    refused = gateway.command("plan", check=False)
    assert refused.returncode not in {0, 2}
    assert "mcp/near" in refused.stderr
    assert "mcp/" not in gateway.command("prices", "sandbox-large").stdout


def test_a_server_is_stopped_as_a_provider_is(gateway: GatewayProcess) -> None:
    gateway.command("suspend", "provider", "mcp/near", "--reason", "a test")
    assert "mcp/near" in gateway.command("stops").stdout
