"""Files of the state folder that hold secrets: whole or not there, on the disk, and for their owner alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


class SecretFileError(Exception):
    """A secret file cannot be used as it is. The message says what to do and holds no secret."""


def make_folder(folder: Path) -> None:
    """Create the state folder for its owner alone; one that is there stays as it is."""
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)


def read_secret(path: Path, most_bytes: int) -> bytes | None:
    """What the file holds; None where there is no file.

    Raises SecretFileError if everyone may read it (its secrets are then known to nobody knows whom), if it is
    longer than `most_bytes`, or if it cannot be read. A group may read it: volumes in clusters are made so.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(most_bytes + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SecretFileError(f"{path} cannot be read: {error.strerror}.") from error
    if mode & stat.S_IRWXO:
        raise SecretFileError(
            f"{path} is open to everyone on this machine: remove it, or `chmod 600` it if it was safe."
        )
    if len(content) > most_bytes:
        raise SecretFileError(f"{path} is too long to be what it should be.")
    return content


def create_secret(path: Path, content: bytes) -> bool:
    """Write a new file. False if there is one already, which is then left alone."""
    draft = _write_draft(path, content)
    try:
        os.link(draft, path)  # unlike a rename, this never replaces what another process has just made
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    _sync_folder(path.parent)
    return True


def replace_secret(path: Path, content: bytes) -> None:
    """Put a new content in the place of the old one: at any instant the file is one or the other."""
    draft = _write_draft(path, content)
    try:
        draft.replace(path)
    except OSError:
        draft.unlink()
        raise
    _sync_folder(path.parent)


def _write_draft(path: Path, content: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)  # of a process that died with our number
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
