"""Becomes a server: run as a script in a process of its own, it gives up every right and then is that program.

`python -I -S launch.py SPECIFICATION`, with the server's environment, from a gateway that may be root. Nothing of ours
is imported, for this runs where our packages may not be readable. A process of its own, not code between fork and
exec, because the gateway has threads. What it cannot do it says on standard error, and ends with code 127.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

LAUNCHED = b"launched\n"  # the first line on standard output: from here on it is the server that speaks
_FAILED = 127
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 1, 38, 47, 4  # prctl(2)
_LIMITS = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_NOFILE: 1024,
    resource.RLIMIT_NPROC: 1024,
    resource.RLIMIT_FSIZE: 1 << 30,
}


def become(specification: dict[str, Any]) -> None:
    """Give up rights, and never come back. Raises OSError."""
    command = specification["command"]
    os.closerange(3, 1 << 16)
    os.umask(0o077)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and whoever is run by it would, too
    for limit, wanted in {**_LIMITS, resource.RLIMIT_DATA: specification["memory_bytes"]}.items():
        _, hard = resource.getrlimit(limit)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(limit, (most, most))
    with contextlib.suppress(OSError):  # where the machine's memory runs out, it is the first to go
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    user = specification["user"]
    if user is not None:
        os.setgroups(user["groups"])
        os.setresgid(user["gid"], user["gid"], user["gid"])
        os.setresuid(user["uid"], user["uid"], user["uid"])
    Path(specification["folder"]).mkdir(0o700)  # a name that nobody can guess; one that is there already is an error
    os.chdir(specification["folder"])
    if sys.platform == "linux":
        _bind_to(specification["parent"])
    if not os.access(command[0], os.X_OK):
        raise OSError(f"{command[0]} is not there, or {_name(user)} may not run it")
    os.write(1, LAUNCHED)
    os.execv(command[0], command)  # noqa: S606 - what the operator named, and no shell


def _bind_to(parent: int) -> None:
    """No program that is run can win rights back, and none outlives the gateway, however that ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(OSError):  # older kernels have no such rights to give up
        _prctl(libc, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    _prctl(libc, _PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which forgets it
    if os.getppid() != parent:
        raise OSError("the gateway has ended")


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}: {os.strerror(ctypes.get_errno())}")


def _name(user: dict[str, Any] | None) -> str:
    return "the gateway's user" if user is None else str(user["name"])


if __name__ == "__main__":
    try:
        become(json.loads(sys.argv[1]))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"cannot be started: {error}\n")
        sys.exit(_FAILED)
