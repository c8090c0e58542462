"""One gateway and one sandbox for the tests that only talk to them; each test has a session of its own."""

from collections.abc import Iterator

import pytest

from tests.harness.configuration import budget, identity, media_prices, model, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

IDENTITIES = {
    "agent/ant": identity("red"),
    "agent/bee": identity("blue"),
    "agent/poor": identity("blue"),
    "service/walled": identity("blue", "service", environment="production"),
}
BUDGETS = [
    budget("acme-all", "100.00 USD"),
    budget("ant-all", "10.00 USD", scope={"identity": "agent/ant"}),
    budget("poor-day", "0.01 USD", "day", scope={"identity": "agent/poor"}),
]
MODELS = {
    "sandbox-*": model("sandbox"),
    "sandbox-moderation": {"providers": ["sandbox"]},
    "sandbox-image": model("sandbox", max_output_tokens=4_160),
    "sandbox-hearing": model("sandbox", context_window=16_000, max_output_tokens=2_000),
    "unpriced": model("sandbox"),
    "no-images": {"providers": ["sandbox"]},
}


@pytest.fixture(scope="package")
def sandbox_process() -> Iterator[SandboxProcess]:
    with SandboxProcess() as running:
        yield running


@pytest.fixture(scope="package")
def gateway_process(
    sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    files = process(sandbox_process.url)
    files["providers"]["sandbox"]["environments"] = ["testing", "experimentation"]
    known = registry(BUDGETS, IDENTITIES, MODELS)
    known["prices"] += media_prices()
    known["prices"].append(
        {"model": "no-images", "from": known["prices"][0]["from"], "input": "1.00", "output": "1.00"}
    )
    with GatewayProcess(tmp_path_factory.mktemp("gateway"), files, known) as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> SandboxProcess:
    sandbox_process.clear_faults()
    sandbox_process.clear_cache()
    sandbox_process.reset_bill()
    return sandbox_process


@pytest.fixture
def gateway(gateway_process: GatewayProcess, sandbox: SandboxProcess) -> GatewayProcess:
    """The gateway, with a sandbox that has an empty bill behind it."""
    return gateway_process
