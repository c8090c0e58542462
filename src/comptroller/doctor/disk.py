"""The disk under the state folder: room, who may read it, and how long a sync takes."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from comptroller.doctor.check import Check, fail, ok, say_bytes, warn

_MIB = 1_048_576
_ROOM_FAIL, _ROOM_WARN = 100 * _MIB, 1024 * _MIB
_SYNCS = 15
_SYNC_WARN_S = 0.02
_BLOCK = b"\0" * 4096
_NETWORKED = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "ceph", "glusterfs", "lustre", "afs")


def check_disk(state_dir: Path, database_bytes: int, durability: str) -> Iterator[Check]:
    yield _room(state_dir, database_bytes)
    yield _mode(state_dir)
    yield from _kind(state_dir)
    yield _sync(state_dir, durability)


def _room(state_dir: Path, database_bytes: int) -> Check:
    name, free = "disk.room", shutil.disk_usage(state_dir).free
    sentence = f"{say_bytes(free)} are free; the database has {say_bytes(database_bytes)}."
    hint = "Make room: a full disk stops every call. `comptroller backup` and a migration need as much as the database."
    if free < _ROOM_FAIL:
        return fail(name, sentence, hint)
    return warn(name, sentence, hint) if free < max(_ROOM_WARN, 2 * database_bytes) else ok(name, sentence)


def _mode(state_dir: Path) -> Check:
    name = "disk.mode"
    folder = stat.S_IMODE(state_dir.stat().st_mode)
    files = [path for path in sorted(state_dir.iterdir()) if path.is_file()]
    loose = [path.name for path in files if path.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP)]
    if folder & stat.S_IRWXO or loose:
        what = ", ".join(loose) or "it"
        return fail(
            name,
            f"{state_dir} has mode {folder:04o}, and others on this machine can reach {what}.",
            f"chmod 700 {state_dir} and chmod 600 its files; if somebody may have read them, "
            "`comptroller keys rotate --distrust-old`.",
        )
    if folder & stat.S_IRWXG:
        sentence = f"{state_dir} has mode {folder:04o}: its group can reach it."
        return warn(name, sentence, f"chmod 700 {state_dir}, unless that group is meant.")
    return ok(name, f"{state_dir} has mode {folder:04o}: its owner alone can reach it.")


def _kind(state_dir: Path) -> Iterator[Check]:
    kind = _filesystem(state_dir)
    if kind is not None and kind.startswith(_NETWORKED):
        sentence = f"{state_dir} is on a network file system ({kind})."
        yield warn("disk.kind", sentence, "Use a local disk: locks and syncs of such a system are not to be relied on.")


def _filesystem(path: Path) -> str | None:
    """The kind of the file system that a path is on (proc(5), mountinfo)."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    here, best = path.resolve(), ("", "")
    for line in lines:
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        if here.is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, right.split()[0])
    return best[1] or None


def _sync(state_dir: Path, durability: str) -> Check:
    """How long a small write takes until it is on the disk. In a file without a name: nothing is left of it."""
    name = "disk.sync"
    try:
        descriptor = os.open(state_dir, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return ok(name, f"Not measured: {error.strerror}.")
    try:
        taken_s = sorted(_timed(descriptor) for _ in range(_SYNCS))
    finally:
        os.close(descriptor)
    return judge_syncs(taken_s, durability)


def judge_syncs(taken_s: Sequence[float], durability: str) -> Check:
    """From the times that some syncs took, the shortest first."""
    name = "disk.sync"
    median_s, worst_s = taken_s[len(taken_s) // 2], taken_s[-1]
    sentence = f"A sync takes {1000 * median_s:.1f} ms, at worst {1000 * worst_s:.1f}."
    if durability != "power" or median_s < _SYNC_WARN_S:
        return ok(name, sentence)
    hint = 'Every call waits for one. Use a faster disk, or durability = "process" if a power cut may cost records.'
    return warn(name, sentence, hint)


def _timed(descriptor: int) -> float:
    began = time.perf_counter()
    os.write(descriptor, _BLOCK)
    os.fdatasync(descriptor)
    return time.perf_counter() - began
