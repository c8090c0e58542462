"""The official SDK's conformance server as a process of its own."""

import socket
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Self

from tests.harness.gateway import free_ports
from tests.mcp_peers.places import PYTHON, conformance_server, environment
from tests.sandbox.raw import TIMEOUT_S

START_S = 60.0


class ConformanceServer:
    """`with ConformanceServer() as server: ... server.url`."""

    def __init__(self) -> None:
        [self.port] = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def __enter__(self) -> Self:
        command = [str(PYTHON), "-m", "mcp_everything_server", "--port", str(self.port)]
        env = environment(PYTHONPATH=str(conformance_server()))
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, env=env)
        until = time.monotonic() + START_S
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > until:
                self._log.seek(0)
                raise RuntimeError(f"the conformance server did not start: {self._log.read()[-2000:]!r}")
            time.sleep(0.05)  # sleep: polling another process
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(TIMEOUT_S)
        self._log.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
