"""Real child processes on loopback: start, wait until ready, stop; and small HTTP reads of them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

POLL_S = 0.05
LOG_TAIL_BYTES = 4_000
STOP_S = 90.0

# Never through a proxy that the environment names: everything here is on loopback.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class RunFailed(Exception):
    """The run cannot go on; the text says why."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(url: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The body of a GET that must succeed."""
    request = urllib.request.Request(url, headers=dict(headers or {}))
    with _opener.open(request, timeout=10) as response:
        body: bytes = response.read()
        return body


def answers(url: str) -> bool:
    """Whether a GET of this URL succeeds now."""
    try:
        get(url)
    except (urllib.error.URLError, OSError):
        return False
    return True


def wait_until(true: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Poll until `true()`; RunFailed at the deadline."""
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            raise RunFailed(f"waited {timeout_s:.0f} s in vain until {what}")
        time.sleep(POLL_S)  # sleep: polling another process


class Child:
    """One child process; its output goes to a log file, and its stdin stays open as long as we live."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                list(command), stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **env}
            )

    def wait_ready(self, url: str, timeout_s: float) -> None:
        """Wait until a GET of `url` succeeds; fail at once when the process has died."""

        def ready() -> bool:
            if self._process.poll() is not None:
                raise RunFailed(f"{self.name} ended with code {self._process.returncode}:\n{self.tail()}")
            return answers(url)

        try:
            wait_until(ready, f"{self.name} is ready", timeout_s)
        except RunFailed as failure:
            raise RunFailed(f"{failure}\n{self.tail()}") from None

    def tail(self) -> str:
        """The end of what the process printed."""
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")

    def stop(self) -> int:
        """SIGTERM, or SIGKILL if that does not help in time; returns the exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            if self._process.stdin is not None:
                self._process.stdin.close()


@contextlib.contextmanager
def running(child: Child) -> Iterator[Child]:
    """The child, stopped at the end whatever happens."""
    try:
        yield child
    finally:
        child.stop()
