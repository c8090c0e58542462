"""The machine: files that may be open at once, Python, and the parts that do the fast work."""

from __future__ import annotations

import resource
import sqlite3
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from comptroller import __version__
from comptroller.doctor.check import Check, fail, ok, warn

_FILES_WARN = 4096
_FAST = ("uvloop", "httptools", "msgspec", "cedarpy")


def check_machine(pid: int | None) -> Iterator[Check]:
    """`pid` is the gateway's, if one runs here."""
    yield _files(pid)
    python = ".".join(map(str, sys.version_info[:3]))
    missing = [name for name in _FAST if _version(name) is None]
    if missing:
        hint = "Install Comptroller anew, from its lock file."
        yield fail("machine.packages", f"{', '.join(missing)} cannot be found.", hint)
    else:
        parts = ", ".join(f"{name} {_version(name)}" for name in _FAST)
        yield ok(
            "machine.packages", f"Comptroller {__version__}, Python {python}, {parts}, SQLite {sqlite3.sqlite_version}."
        )


def _files(pid: int | None) -> Check:
    name, limit = "machine.files", _limit_of(pid)
    whose = "The gateway" if pid is not None else "A process that starts here"
    sentence = f"{whose} may have {limit} files open at once."
    if limit >= _FILES_WARN:
        return ok(name, sentence)
    hint = "Each call in flight takes two: raise it (systemd: LimitNOFILE=65536; a shell: ulimit -n 65536)."
    return warn(name, sentence, hint)


def _limit_of(pid: int | None) -> int:
    """The soft limit of that process, or ours where it cannot be seen."""
    try:
        lines = Path("/proc", str(pid), "limits").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[3]) for line in lines if line.startswith("Max open files"))
    except (OSError, ValueError, StopIteration):
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
