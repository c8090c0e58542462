"""The gateway as a process of its own, as a user runs it: two files, `comptroller serve`, and the command beside it."""

import http.client
import itertools
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.harness.configuration import KEY_VARIABLE, Table
from tests.harness.toml import to_toml
from tests.sandbox.process import SRC

PROVIDER_KEY = "sandbox-" + "k3y-of-the-gateway"
START_S = 60.0
STOP_S = 60.0
COMMAND_S = 60.0
POLL_S = 0.02

# Below the range that the system takes for outgoing connections: while the gateway is down, nobody else gets its port,
# and a client that tries again does not connect to itself.
_PORTS = range(20_000, 32_000)
_SHARES = 4


class GatewayFailed(Exception):
    """The gateway or its command did not do what every test needs; the text has its log."""


class CommandFailed(GatewayFailed):
    """A command ended with another exit code than 0."""

    def __init__(self, line: Sequence[str], code: int, said: str) -> None:
        super().__init__(f"comptroller {' '.join(line)}: exit code {code}\n{said}")
        self.code = code


class GatewayProcess:
    """`with GatewayProcess(folder, process(...), registry(...)) as gateway: ...`; restarts keep ports and state."""

    def __init__(
        self,
        folder: Path,
        process: Table,
        registry: Table,
        *,
        env: Mapping[str, str] | None = None,
        source: Path = SRC,
        trust: ssl.SSLContext | None = None,
        before_exec: Callable[[], None] | None = None,
        program: Sequence[str] = ("-m", "comptroller"),
    ) -> None:
        self.folder = folder
        self.env = {KEY_VARIABLE: PROVIDER_KEY, **(env or {})}
        self.named: str | None = None  # the credential of a named admin, for whatever is asked from here on
        self._source = source
        self._trust = trust
        self._data_tls = "tls_cert" in process
        self._admin_tls = "tls_cert" in process.get("admin", {})
        self._before_exec = before_exec
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.admin_port = free_ports(2)
        admin = {**process.get("admin", {}), "listen": f"127.0.0.1:{self.admin_port}"}
        self.config.write_text(to_toml({**process, "listen": f"127.0.0.1:{self.port}", "admin": admin}))
        self.write_registry(registry)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"http{'s' if self._data_tls else ''}://127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        return self.folder / "comptroller.toml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the last process ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    # Its life.

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.spawn()
        self.wait_ready()

    def spawn(self) -> None:
        """Start it and do not wait."""
        assert not self.running, "it runs already"
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._program, "serve", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
                cwd=self.folder,
                preexec_fn=self._before_exec,  # noqa: PLW1509 - a test's own limits; no threads of ours fork here
            )

    def wait_ready(self, timeout_s: float = START_S) -> None:
        """Wait until /readyz says yes. Raises GatewayFailed if the process ends or the time is up."""
        until = time.monotonic() + timeout_s
        while not self.ready():
            if not self.running:
                raise GatewayFailed(f"the gateway ended with code {self.exit_code}:\n{self.log()[-4000:]}")
            if time.monotonic() > until:
                raise GatewayFailed(f"the gateway is not ready after {timeout_s} s:\n{self.log()[-4000:]}")
            time.sleep(POLL_S)  # sleep: polling another process

    def ready(self) -> bool:
        """What /readyz says now, on both planes."""
        try:
            return all(ask("GET", "/readyz", None, {})[0] == 200 for ask in (self._ask_data, self._ask_admin))
        except OSError:
            return False

    def kill9(self) -> None:
        """Kill it at once: no handler runs, nothing is written any more."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def sigterm(self, timeout_s: float = STOP_S) -> int:
        """Ask it to stop and wait until it has; returns its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_exit(timeout_s)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait_exit(self, timeout_s: float = STOP_S) -> int:
        """Wait until it has ended; returns its exit code."""
        assert self._process is not None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise GatewayFailed(f"the gateway still runs after {timeout_s} s:\n{self.log()[-4000:]}") from None

    def restart(self) -> None:
        """Stop it if it runs, and start it again."""
        if self.running:
            code = self.sigterm()
            assert code == 0, f"exit code {code}:\n{self.log()[-4000:]}"
        self.start()

    def close(self) -> None:
        """Make sure that nothing is left."""
        if self.running:
            self.kill9()

    # What it says.

    def log(self) -> str:
        """All that it wrote to stdout and stderr, over all its lives."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def get(self, path: str) -> tuple[int, bytes]:
        """A GET on the data plane."""
        return self._ask_data("GET", path, None, {})

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """A request on the admin plane, as `named` or bootstrap; raises GatewayFailed for an error."""
        headers = {"Authorization": f"Bearer {self.named or self.admin_token()}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        status, answer = self._ask_admin(method, f"/api/v1{path}", content, headers)
        if not 200 <= status < 300:
            raise GatewayFailed(f"{method} {path}: {status} {answer.decode(errors='replace')}")
        return json.loads(answer)

    def admin_token(self) -> str:
        return (self.state / "admin-token").read_text().strip()

    # The command beside it.

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`comptroller ARGUMENTS --config PATH`. Raises CommandFailed unless `check` is off."""
        line = [sys.executable, "-m", "comptroller", *arguments, "--config", str(self.config)]
        done = subprocess.run(
            line,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            cwd=self.folder,
        )
        if check and done.returncode != 0:
            raise CommandFailed(arguments, done.returncode, f"{done.stdout}{done.stderr}\n{self.log()[-2000:]}")
        return done

    def elsewhere(self, *arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """`comptroller ARGUMENTS` without our comptroller.toml, with these variables."""
        return subprocess.run(
            [sys.executable, "-m", "comptroller", *arguments],
            env=self.environment() | env,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            cwd=self.state,
        )

    def cli(self, *arguments: str) -> Any:
        """The parsed output of a command that is asked for JSON."""
        return json.loads(self.command(*arguments, "--json").stdout)

    def token(self, identity: str) -> str:
        """A fresh credential, as `comptroller token` prints it."""
        credential = self.command("token", identity).stdout.strip()
        assert credential.startswith("cptr_"), "`token` prints the credential and nothing else"
        return credential

    def calls(self) -> list[dict[str, Any]]:
        """Every call in the books, newest first."""
        return self.cli("calls")

    def budgets(self) -> list[dict[str, Any]]:
        """Every current window."""
        return self.cli("budgets")

    def write_registry(self, registry: Table) -> None:
        """Write registry.toml; `comptroller apply` installs it."""
        (self.folder / "registry.toml").write_text(to_toml(registry))

    def environment(self) -> dict[str, str]:
        """Ours, with the source tree to import from and the provider's key."""
        path = os.pathsep.join(filter(None, [str(self._source), os.environ.get("PYTHONPATH")]))
        named = {} if self.named is None else {"COMPTROLLER_TOKEN": self.named}
        return dict(os.environ) | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"} | named | self.env

    def _ask_data(self, *asked: Any) -> tuple[int, bytes]:
        return _request(self.port, self._trust if self._data_tls else None, *asked)

    def _ask_admin(self, *asked: Any) -> tuple[int, bytes]:
        return _request(self.admin_port, self._trust if self._admin_tls else None, *asked)

    @property
    def _log_path(self) -> Path:
        return self.folder / "gateway.log"


def _request(
    port: int, tls: ssl.SSLContext | None, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> tuple[int, bytes]:
    connection = (
        http.client.HTTPConnection("127.0.0.1", port, timeout=COMMAND_S)
        if tls is None
        else http.client.HTTPSConnection("127.0.0.1", port, timeout=COMMAND_S, context=tls)
    )
    try:
        connection.request(method, path, body, dict(headers))
        with connection.getresponse() as response:
            return response.status, response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        connection.close()


def _shuffled() -> Iterator[int]:
    """This process's share of the ports, each once before any comes again: one that is down still needs its own."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    share = [port for port in _PORTS if not worker or port % _SHARES == int(worker) % _SHARES]
    random.SystemRandom().shuffle(share)
    return itertools.cycle(share)


_shuffled_ports = _shuffled()


def free_ports(number: int) -> Sequence[int]:
    """Ports that nobody listens on now, and that no test beside this one is given."""
    free = (port for port in _shuffled_ports if _is_free(port))
    return [next(free) for _ in range(number)]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
