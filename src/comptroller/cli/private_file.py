"""A small file that holds a secret of whoever runs the command: whole or not there, and for its owner alone."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import TypeVar

import msgspec

_LONGEST_BYTES = 64 * 1024

T = TypeVar("T")


def read_private(path: Path, kind: type[T]) -> T | None:
    """What the file holds, if nobody else can have written or read it; with anything wrong it is as good as none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - of a descriptor
            found = os.fstat(file.fileno())
            private = found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077
            content = file.read(_LONGEST_BYTES) if private else b""
        return msgspec.json.decode(content, type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def write_private(path: Path, value: object) -> None:
    """Write it as JSON, with mode 0600 in a folder of mode 0700. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # 0600
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
            file.write(msgspec.json.encode(value))
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
