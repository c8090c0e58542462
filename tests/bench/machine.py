"""The machine under a bench: its cores, what a process used of them, and the facts that give a number its meaning."""

import os
import platform
import shutil
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from comptroller import __version__

_ROOT = Path(__file__).resolve().parents[2]
QUIET_NS = 1_500_000  # in POLL_S: timers that tick in an idle process
QUIET_AFTER_S = 1.0  # the gateway folds its journal when about a second has passed
QUIET_MOST_S = 8.0
POLL_S = 0.25


@dataclass(frozen=True)
class Cores:
    """Which core is measured, and which one has everything else."""

    measured: int
    others: int

    def pin_measured(self) -> None:
        """For `preexec_fn`: this process and what it starts run on the measured core alone."""
        os.sched_setaffinity(0, {self.measured})

    def pin_others(self) -> None:
        os.sched_setaffinity(0, {self.others})


def pick_cores() -> Cores:
    """Two cores that we may use; the same one twice where there is no second."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(measured=allowed[-1], others=allowed[0])


def cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process so far, user and system, in nanoseconds.

    The clock of another process has its number from the kernel's formula (clock_getcpuclockid(3)).
    """
    return time.clock_gettime_ns((~pid << 3) | 2)


def user_and_system_s(pid: int) -> tuple[float, float]:
    """The same split in two, to a hundredth of a second (proc_pid_stat(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    tick = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / tick, int(fields[12]) / tick


def written_bytes(pid: int) -> int:
    """What a process has handed to the system for writing so far: files and sockets (proc_pid_io(5), wchar).

    The gateway lets nobody but root look: for others it is 0.
    """
    try:
        text = Path(f"/proc/{pid}/io").read_text()
    except PermissionError:
        return 0
    return int(dict(line.split(": ") for line in text.splitlines())["wchar"])


def wait_quiet(pid: int) -> None:
    """Wait until a process has done what it put off, so that its calls are charged with all they cost."""
    time.sleep(QUIET_AFTER_S)  # sleep: until the gateway takes up what it put off
    until = time.monotonic() + QUIET_MOST_S
    before = cpu_ns(pid)
    while time.monotonic() < until:
        time.sleep(POLL_S)  # sleep: polling another process
        now = cpu_ns(pid)
        if now - before < QUIET_NS:
            return
        before = now


def memory_kib(pid: int) -> tuple[int, int]:
    """(RSS, PSS) of a process in KiB. Of the gateway, nobody but root is told the second: then both are the first."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except PermissionError:
        text = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line[:24])
    rss = fields["Rss" if "Rss" in fields else "VmRSS"].split()[0]
    return int(rss), int(fields.get("Pss", rss).split()[0])


def facts(folder: Path, cores: Cores) -> dict[str, str]:
    """What a reader must know to compare: processor, kernel, file system, versions."""
    return {
        "processor": _processor(),
        "cores": f"{os.cpu_count()}; measured on core {cores.measured}, everything else on core {cores.others}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(folder),
        "load before": f"{os.getloadavg()[0]:.1f} in the last minute",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "uvloop": uvloop.__version__,
        "nginx": _nginx(),
        "LiteLLM": _litellm(),
        "comptroller": f"{__version__}{_commit()}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _file_system(folder: Path) -> str:
    """The type of the mount that holds `folder`: the longest mount point above it."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(point, kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(above, key=lambda each: len(each[0]))[1] if above else "unknown"


def _nginx() -> str:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        return "not installed"
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
    return said.stderr.strip().rpartition("/")[2]


def _litellm() -> str:
    installed = sorted((_ROOT / ".venv-litellm").glob("lib/python*/site-packages/litellm-*.dist-info"))
    return installed[0].name.removeprefix("litellm-").removesuffix(".dist-info") if installed else "not installed"


def _commit() -> str:
    said = subprocess.run(
        ["git", "-C", str(_ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return f" at {said.stdout.strip()}" if said.returncode == 0 else ""
