"""What stands between load and provider: the gateway, nginx, LiteLLM. Each a process on the measured core."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import Cores
from tests.bench.world import POLICIES, process_table, registry_table, request
from tests.harness.configuration import Table
from tests.harness.gateway import GatewayProcess

ROOT = Path(__file__).resolve().parents[2]
CALLERS = 10
DURABILITIES = ("power", "process")
COMMAND = ("-m", "comptroller")
START_S = 3600.0  # a store of ten million calls may have to be upgraded first
_POLL_S = 0.02
_NGINX = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


@dataclass(frozen=True)
class Contestant:
    """One way to the provider, ready to be loaded: where, as whom, and whose CPU counts."""

    name: str
    port: int
    credentials: Sequence[str]
    pid: int
    puts_off: bool = False  # does a part of its work later, when it is quiet
    headers: str = ""  # further lines in the head of each request

    def requests(self, model: str, **fields: object) -> list[bytes]:
        return [
            request(self.port, credential, model, headers=self.headers, **fields) for credential in self.credentials
        ]


@contextmanager
def provider(cores: Cores) -> Iterator[int]:
    """The provider that costs next to nothing, on the core of the load; gives its port."""
    started = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.provider"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        preexec_fn=cores.pin_others,  # noqa: PLW1509 - no threads of ours fork here
    )
    try:
        assert started.stdout is not None
        yield int(started.stdout.readline())
    finally:
        started.kill()
        started.wait()
        assert started.stdout is not None
        started.stdout.close()


def gateway_process(
    folder: Path,
    provider_port: int,
    cores: Cores,
    *,
    durability: str = "power",
    identities: int = CALLERS,
    program: Sequence[str] = COMMAND,
    servers: Table | None = None,
    tables: Table | None = None,
) -> GatewayProcess:
    """The gateway as a user runs it, with everything on, not started yet. `tables`: of the registry."""
    (folder / "policies").mkdir(parents=True, exist_ok=True)
    (folder / "policies" / "bench.cedar").write_text(POLICIES)
    return GatewayProcess(
        folder,
        {**process_table(f"http://127.0.0.1:{provider_port}", durability), **({"servers": servers} if servers else {})},
        {**registry_table(identities), **(tables or {})},
        before_exec=cores.pin_measured,
        program=program,
    )


def callers(gateway: GatewayProcess, identities: int, number: int = CALLERS) -> list[str]:
    """Credentials of so many sessions, spread over all identities."""
    chosen = (each * identities // number for each in range(number))
    return [gateway.admin("POST", "/sessions", {"identity": f"agent/a{each:06d}"})["credential"] for each in chosen]


@contextmanager
def comptroller(
    folder: Path,
    provider_port: int,
    cores: Cores,
    *,
    durability: str = "power",
    identities: int = CALLERS,
    program: Sequence[str] = COMMAND,
) -> Iterator[Contestant]:
    gateway = gateway_process(
        folder, provider_port, cores, durability=durability, identities=identities, program=program
    )
    try:
        gateway.spawn()
        gateway.wait_ready(START_S)
        yield contestant(gateway, durability, identities)
    finally:
        gateway.close()


def contestant(gateway: GatewayProcess, durability: str, identities: int) -> Contestant:
    credentials = callers(gateway, identities)
    return Contestant(f"comptroller, {durability}", gateway.port, credentials, gateway.pid, puts_off=True)


def nginx_program() -> str | None:
    return shutil.which("nginx", path=_NGINX)


@contextmanager
def nginx(folder: Path, provider_port: int, cores: Cores) -> Iterator[Contestant]:
    """`proxy_pass` and nothing else, with kept connections on both sides; the worker's CPU counts."""
    program = nginx_program()
    assert program is not None
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    (folder / "nginx.conf").write_text(_nginx_conf(folder, port, provider_port))
    command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    master = subprocess.Popen(command, preexec_fn=cores.pin_measured)  # noqa: PLW1509 - no threads of ours fork here
    try:
        wait_listening(port, master)
        yield Contestant("nginx", port, ["nobody"], _worker(master))
    finally:
        end(master)


def _worker(master: subprocess.Popen[bytes]) -> int:
    """The process that does the work. Its master listens before it is there."""
    children = Path(f"/proc/{master.pid}/task/{master.pid}/children")
    until = time.monotonic() + START_S
    while not (found := children.read_text().split()) and time.monotonic() < until:
        time.sleep(_POLL_S)  # sleep: polling another process
    return int(found[0])


def _nginx_conf(folder: Path, port: int, provider_port: int) -> str:
    user = "user root;" if os.geteuid() == 0 else ""
    temp = "\n".join(
        f"  {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; {user}
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  access_log off;
{temp}
  keepalive_requests 1000000000; keepalive_timeout 3600s;
  upstream provider {{
    server 127.0.0.1:{provider_port};
    keepalive 512; keepalive_requests 1000000000; keepalive_timeout 3600s;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 3600s;
    }}
  }}
}}
"""


def wait_listening(port: int, process: subprocess.Popen[bytes], timeout_s: float = START_S) -> None:
    """Wait until somebody listens. Raises RuntimeError if the process ends or the time is up."""
    until = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(_POLL_S)  # sleep: polling another process
    raise RuntimeError(f"{process.args} does not listen on port {port} (exit code {process.poll()})")


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop; make it, if it does not."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
