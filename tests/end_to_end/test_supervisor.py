"""What the service manager is told: ready once calls are served, alive meanwhile, stopping before the drain."""

import socket
from pathlib import Path

import pytest

from tests.harness.configuration import process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes


def test_the_service_manager_is_told(sandbox: SandboxProcess, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        with GatewayProcess(tmp_path / "gateway", process(sandbox.url), registry(), env=env) as gateway:
            said = [manager.recv(100) for _ in range(4)]
            assert said.count(b"READY=1") == 1
            assert said.count(b"WATCHDOG=1") == 3
            assert gateway.sigterm() == 0
            while (last := manager.recv(100)) == b"WATCHDOG=1":
                pass
            assert last == b"STOPPING=1"
