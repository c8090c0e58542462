"""What is run for a server, and as whom."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

import msgspec

_NEEDED = {"CAP_SETUID": 7, "CAP_SETGID": 6, "CAP_KILL": 5}  # capabilities(7)


class Unusable(Exception):
    """A server cannot be run in the way that is asked for; the message says why."""


class User(msgspec.Struct, frozen=True):
    """Another user than the gateway's own."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


class Program(msgspec.Struct, frozen=True):
    """One server's processes: what they are, as whom they run, how many there may be. `user`: None, as ourselves."""

    name: str
    command: tuple[str, ...]
    user: User | None
    environ: Mapping[str, str]  # may hold secrets
    processes: int
    memory_bytes: int  # that each of them may have
    idle_s: float

    def __repr__(self) -> str:
        return f"Program({self.name!r})"


def find_user(name: str | None, *, allow_same_user: bool) -> User | None:
    """The user of this name; None for ourselves. Raises Unusable."""
    if name is None:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise Unusable(f"there is no user {name!r} on this machine (run_as)") from None
    if entry.pw_uid in {os.geteuid(), os.getuid()}:
        if allow_same_user:
            return None
        raise Unusable(f"run_as names the gateway's own user {name!r}; name another, or say allow_same_user = true")
    if entry.pw_uid == 0:
        raise Unusable("run_as names root, who can read all that the gateway can")
    lacking = _lacking()
    if lacking:
        raise Unusable(f"the gateway may not run a process as {name!r}: it lacks {', '.join(lacking)}, which root has")
    return User(name, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)))


def _lacking() -> list[str]:
    """Which rights to run and end processes of another user we do not have."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return [] if os.geteuid() == 0 else list(_NEEDED)
    effective = next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
    return [name for name, bit in _NEEDED.items() if not effective >> bit & 1]
