"""Steady, the mock server that the SDKs' own tests are made for: it checks requests by an OpenAPI description."""

import http.client
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.gateway import POLL_S
from tests.suites.suite import STEADY, Suite

START_S = 60.0
# As both SDKs start it.
_FORMATS = ("query-array", "form-array", "query-object", "form-object")
_PATH = re.compile(r"^  (?=/)", re.MULTILINE)


class MockFailed(Exception):
    """The mock server is not there; the text has its log."""


@contextmanager
def mock(suite: Suite, port: int, folder: Path) -> Iterator[None]:
    """It listens on this port, until the end."""
    log = folder / "mock.log"
    command = [STEADY, "--host", "127.0.0.1", "-p", str(port)]
    command += [f"--validator-{each}-format=brackets" for each in _FORMATS]
    with log.open("wb") as out:
        server = subprocess.Popen([*command, _moved(suite, folder)], stdout=out, stderr=out)
    try:
        _wait(server, port, log)
        yield
    finally:
        server.terminate()
        server.wait()


def _moved(suite: Suite, folder: Path) -> Path:
    """The description with its paths where the provider has them: Steady does not look at `servers`."""
    text = suite.spec.read_text(encoding="utf-8")
    before, paths, after = text.partition("\npaths:\n")
    moved = folder / suite.spec.name
    moved.write_text(before + paths + _PATH.sub(f"  {suite.below}", after) if paths else text, encoding="utf-8")
    return moved


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_S
    while not _healthy(port):
        if server.poll() is not None or time.monotonic() > until:
            raise MockFailed(f"the mock server is not ready:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(POLL_S)  # sleep: polling another process


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/_x-steady/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
