"""One gateway in front of one sandbox, for the tests that leave both as they are."""

from collections.abc import Iterator

import pytest

from tests.cli.world import BUDGETS, MEMBERS, Typed
from tests.harness.configuration import process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess


@pytest.fixture(scope="package")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as sandbox:
        yield sandbox


@pytest.fixture(scope="package")
def gateway(sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    with GatewayProcess(folder, process(sandbox.url), registry(BUDGETS, MEMBERS)) as gateway:
        yield gateway


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(monkeypatch, capsys)
