"""One process owns a store: a lock on a file in the state folder, with the holder's name inside."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

LOCK = "store.lock"  # in the state folder
OFFLINE = "nothing (offline command)"  # `listen` of a command that opened the store itself

_READ_MOST = 4096


class Holder(msgspec.Struct, frozen=True):
    """Who holds a store."""

    pid: int
    host: str
    started_at: str  # RFC 3339
    listen: str
    admin: str = ""  # where its admin plane listens; empty if it listens nowhere


class Held(msgspec.Struct, frozen=True):
    """That a store is held, in words for a person. `holder` is None while it has not written its name yet."""

    holder: Holder | None
    sentence: str


class StoreHeldError(Exception):
    """Another process owns this store; the message names it."""


def held_now(path: Path) -> Held | None:
    """Who holds the lock at this moment; None: nobody.

    Changes nothing: it asks for a shared lock, and lets go of it at once. Raises OSError if it cannot ask.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        content = os.pread(descriptor, _READ_MOST, 0)
        return Held(_name_in(content), _refusal(path, content))
    else:
        return None
    finally:
        os.close(descriptor)


class StoreLock:
    """The lock, held from `acquire` to `release` or to the end of the process, however it ends.

    `flock` and not a lease with a time limit: the kernel lets go of it when the process dies, and never before.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, path: Path, holder: Holder) -> StoreLock:
        """Take the lock and write the holder's name. Raises StoreHeldError, naming who has it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, msgspec.json.encode(holder), 0)
        except BlockingIOError:
            message = _refusal(path, os.pread(descriptor, _READ_MOST, 0))
            os.close(descriptor)
            raise StoreHeldError(message) from None
        except OSError:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Let go. The file stays: removing it would let two processes lock two files of one name."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.ftruncate(descriptor, 0)
            os.close(descriptor)


def _name_in(content: bytes) -> Holder | None:
    try:
        return msgspec.json.decode(content, type=Holder)
    except msgspec.MsgspecError:  # it has the lock and has not written its name yet
        return None


def _refusal(path: Path, content: bytes) -> str:
    holder = _name_in(content)
    if holder is None:
        return f"The store {path.parent} is in use by another process, which is just starting."
    admin = f" and for operators on {holder.admin}" if holder.admin else ""
    return (
        f"The store {path.parent} is in use by process {holder.pid} on {holder.host}, started {holder.started_at}, "
        f"listening on {holder.listen}{admin}. Stop it first, or use another state folder."
    )
