"""A sandbox provider as a process of its own, on a port that the system picks."""

import http.client
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

SRC = Path(__file__).resolve().parents[2] / "src"
START_S = 30.0
SETTLE_S = 20.0

Line = dict[str, Any]


class SandboxProcess:
    """Started on entry, stopped on exit: `with SandboxProcess("--tokens-per-s", "50") as sandbox: ...`."""

    def __init__(self, *arguments: str, port: int = 0) -> None:
        self.port = port
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        self._stderr.close()

    @property
    def url(self) -> str:
        """Where it listens, without `/v1`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it says that it listens. The port stays the same over a restart."""
        command = [sys.executable, "-m", "comptroller.sandbox", "--port", str(self.port), *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._stderr, env=environment())
        said = self._first_line(self._process)
        if not said.startswith("sandbox listening on http://"):
            self.stop()
            raise RuntimeError(f"the sandbox did not start: {said!r} {self.errors()}")
        self.port = int(said.rsplit(":", 1)[1])

    def stop(self) -> int | None:
        """Stop it if it runs; returns its exit status."""
        return self.end(signal.SIGTERM)

    def end(self, ending: signal.Signals) -> int | None:
        """Send it this signal and wait until it is gone; returns its exit status, or None when it does not run."""
        if self._process is None:
            return None
        process, self._process = self._process, None
        process.send_signal(ending)
        try:
            return process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        finally:
            assert process.stdout is not None
            process.stdout.close()

    def errors(self) -> str:
        """What it wrote to stderr so far."""
        return os.pread(self._stderr.fileno(), 1_000_000, 0).decode(errors="replace")

    def bill(self) -> dict[str, Any]:
        """`{"keys": {fingerprint: account}, "total": account}`."""
        return self._ask("GET", "/sandbox/bill")

    def total(self) -> dict[str, Any]:
        """The account over all keys."""
        return self.bill()["total"]

    def reset_bill(self) -> dict[str, Any]:
        """Start an empty bill; returns the last one."""
        return self._ask("DELETE", "/sandbox/bill")

    def requests(self, key: str | None = None, after: int = 0) -> list[Line]:
        """The kept lines, oldest first; `key` is a fingerprint."""
        lines: list[Line] = []
        while page := self._page(key, lines[-1]["seq"] if lines else after):
            lines += page
        return lines

    def count(self) -> int:
        """How many requests for a completion arrived since the last reset."""
        return self._ask("GET", "/sandbox/requests/count")["count"]

    def faults(self, *faults: dict[str, Any], seed: int = 0) -> None:
        """Let these faults strike at random: `sandbox.faults({"fault": "cut", "probability": 0.05}, seed=7)`."""
        self._ask("POST", "/sandbox/faults", json.dumps({"faults": faults, "seed": seed}).encode())

    def clear_faults(self) -> None:
        self._ask("DELETE", "/sandbox/faults")

    def clear_cache(self) -> None:
        """Let the prompt cache forget everything."""
        self._ask("DELETE", "/sandbox/cache")

    def stored(self) -> list[str]:
        """The ids of the responses that are stored, of every key, the oldest first."""
        return self._ask("GET", "/sandbox/stored")["responses"]

    def wait_for(self, done: Callable[[list[Line]], bool], deadline_s: float = SETTLE_S) -> list[Line]:
        """Poll the lines until `done` says so; returns them."""
        until = time.monotonic() + deadline_s
        while not done(lines := self.requests()):
            if time.monotonic() > until:
                raise TimeoutError(f"not so after {deadline_s} s; the last lines are {lines[-3:]}")
            time.sleep(0.01)  # sleep: polling another process
        return lines

    def settled(self, requests: int = 1, deadline_s: float = SETTLE_S) -> list[Line]:
        """Wait until at least so many requests are on the bill and none of them is open; returns the lines."""

        def done(lines: list[Line]) -> bool:
            return len(lines) >= requests and all(line["state"] != "open" for line in lines)

        return self.wait_for(done, deadline_s)

    def _page(self, key: str | None, after: int) -> list[Line]:
        query = {"after": after} | ({} if key is None else {"key": key})
        return [
            json.loads(line) for line in self._send("GET", f"/sandbox/bill/requests?{urlencode(query)}").splitlines()
        ]

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        return json.loads(self._send(method, path, body))

    def _send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SETTLE_S)
        try:
            connection.request(method, path, body)
            with connection.getresponse() as response:
                content = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {content.decode(errors='replace')}")
        return content

    @staticmethod
    def _first_line(process: subprocess.Popen[bytes]) -> str:
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(START_S):
                return "nothing was said in time"
        return process.stdout.readline().decode().strip()


def environment() -> dict[str, str]:
    """Ours, with the source tree to import from."""
    path = os.pathsep.join(filter(None, [str(SRC), os.environ.get("PYTHONPATH")]))
    return dict(os.environ) | {"PYTHONPATH": path}


def charged(lines: Iterable[Line]) -> int:
    """The sum of the lines' charges in nano-USD."""
    return sum(int(line["charge_nanos"]) for line in lines)
