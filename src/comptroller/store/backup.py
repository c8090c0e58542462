"""Backups: a consistent copy of the database and a manifest that says what it is, in a folder of their own.

    FOLDER/comptroller-20261122T054711042Z/
      comptroller.db    one file: a snapshot at one instant, journal and open holds included
      manifest.json     when, of what, how much, and the checksum

The copy is made through a read transaction: whoever writes goes on writing, and nothing of that is in it.
Neither signing keys nor the admin credential are in it (docs/decisions/0006).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from comptroller import __version__
from comptroller.core.instant import format_instant, to_datetime

DATABASE = "comptroller.db"
MANIFEST = "manifest.json"
UNFINISHED = ".part"  # what a backup that was cut off leaves behind ends with

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is done, and how much there is."""

_FORMAT = 1
_PAGES_AT_ONCE = 4096  # 16 MiB
_READ_AT_ONCE = 4 * 1024 * 1024
_MANIFEST_MOST = 64 * 1024
_ROOM_TO_SPARE = 16 * 1024 * 1024


class BackupError(Exception):
    """A backup cannot be made or used. The message says why and what to do."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is."""

    format: int
    made_at: str  # RFC 3339: the instant of the snapshot
    made_by: str  # the version of the program
    schema: str
    epoch: int
    registry_version: int
    last_journalled_at: str  # RFC 3339: the newest instant in the books
    unfolded_batches: int
    open_holds: int
    calls: int
    sessions: int
    bytes: int
    sha256: str  # of comptroller.db


class Backup(msgspec.Struct, frozen=True):
    """A backup on disk."""

    path: Path
    manifest: Manifest

    @property
    def database(self) -> Path:
        return self.path / DATABASE


def silent(_what: str, _done: int, _all: int) -> None:
    """Progress that nobody follows."""


def take_backup(source: Path, folder: Path, now_ns: int, progress: Progress = silent, *, alone: bool = False) -> Backup:
    """Copy the database file `source` into a new folder below `folder`, which is made if it is not there.

    It has its name only once it is whole, checked and on the disk. `alone`: as in `reading`. Raises BackupError,
    or OSError if it cannot be written; nothing is left of it then.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_room(folder, size_on_disk(source))
    name = f"comptroller-{to_datetime(now_ns).strftime('%Y%m%dT%H%M%S%fZ')}"
    target, draft = folder / name, folder / f".{name}{UNFINISHED}"
    draft.mkdir(mode=0o700)
    try:
        with reading(source, alone=alone) as original:
            written = _write(original, source, draft / DATABASE, now_ns, progress)
        _write_manifest(draft / MANIFEST, written)
        sync_folder(draft)
        draft.rename(target)  # never onto another backup: a folder that holds something is not replaced
        sync_folder(folder)
    except sqlite3.Error as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise BackupError(f"No backup was made: {source} cannot be copied: {error}.") from error
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return Backup(target, written)


def discard_unfinished(folder: Path) -> None:
    """Remove what backups that were cut off left in a folder where nobody else is making one."""
    for draft in folder.glob(f".*{UNFINISHED}"):
        shutil.rmtree(draft, ignore_errors=True)


def read_backup(path: Path) -> Backup:
    """The backup in this folder, as its manifest says; `verify` holds it against its checksum. Raises BackupError."""
    try:
        content = (path / MANIFEST).read_bytes()[:_MANIFEST_MOST]
        manifest = msgspec.json.decode(content, type=Manifest)
    except FileNotFoundError:
        raise BackupError(
            f"{path} is no backup: it has no {MANIFEST}. Name the folder that `comptroller backup` printed."
        ) from None
    except NotADirectoryError:
        raise BackupError(f"{path} is no backup: a backup is a folder.") from None
    except msgspec.MsgspecError as error:
        raise BackupError(f"{path / MANIFEST} is not a manifest: {error}.") from error
    if manifest.format != _FORMAT:
        raise BackupError(f"{path} has format {manifest.format}; this program reads {_FORMAT}. Use a newer one.")
    return Backup(path, manifest)


def copy_verified(backup: Backup, target: Path, progress: Progress = silent) -> None:
    """Copy the database of a backup to `target`, a new file, and hold it against the manifest.

    Raises BackupError where they differ, OSError where it cannot be read or written.
    """
    digest, done = hashlib.sha256(), 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with backup.database.open("rb") as source, os.fdopen(descriptor, "wb") as copy:
        while chunk := source.read(_READ_AT_ONCE):
            digest.update(chunk)
            copy.write(chunk)
            done += len(chunk)
            progress("copying", done, backup.manifest.bytes)
        copy.flush()
        os.fsync(copy.fileno())
    if done != backup.manifest.bytes or digest.hexdigest() != backup.manifest.sha256:
        raise BackupError(
            f"{backup.database} is not what was backed up: its checksum differs from the one in {MANIFEST}. "
            "Use another backup."
        )


def require_room(folder: Path, needed_bytes: int) -> None:
    """Raise BackupError unless the disk of this folder has room for so much and a little more."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes + _ROOM_TO_SPARE:
        raise BackupError(
            f"{folder} has {free // 1_048_576} MiB left, and {(needed_bytes + _ROOM_TO_SPARE) // 1_048_576} MiB are "
            "needed. Make room, or use another disk."
        )


def size_on_disk(database: Path) -> int:
    """How long a copy of this database can become: the file, and the log beside it."""
    found = (database, database.with_name(f"{database.name}-wal"))
    return sum(path.stat().st_size for path in found if path.exists())


@contextmanager
def reading(database: Path, *, alone: bool = False) -> Generator[sqlite3.Connection]:
    """A connection that can only read, in one read transaction: all of it sees the same instant.

    `alone`: the caller keeps everybody else out. Then a database without a log is read without leaving the
    traces beside it that sharing needs. Raises sqlite3.Error.
    """
    quiet = alone and not database.with_name(f"{database.name}-wal").exists()
    uri = f"{database.absolute().as_uri()}?mode=ro{'&immutable=1' if quiet else ''}"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the transaction begins with a read
        yield connection


def check_integrity(connection: sqlite3.Connection) -> str | None:
    """What SQLite finds wrong with the file, in its words; None: nothing."""
    rows = connection.execute("PRAGMA integrity_check(3)").fetchall()
    return None if rows == [("ok",)] else "; ".join(str(row[0]) for row in rows)


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or removed in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(original: sqlite3.Connection, source: Path, target: Path, now_ns: int, progress: Progress) -> Manifest:
    page = int(original.execute("PRAGMA page_size").fetchone()[0])
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def step(_: int, left: int, pages: int) -> None:
        os.fdatasync(descriptor)  # a little at a time: all of it at the end would hold up the calls of a gateway
        progress("copying", (pages - left) * page, pages * page)

    with os.fdopen(descriptor, "rb") as file, closing(sqlite3.connect(target, isolation_level=None)) as copy:
        copy.execute("PRAGMA synchronous = OFF")
        original.backup(copy, pages=_PAGES_AT_ONCE, progress=step)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, that can be read from a disk that cannot be written
        progress("checking", 0, 1)
        fault = check_integrity(copy)
        if fault is not None:
            raise BackupError(
                f"No backup was made: {source} is damaged ({fault}). Keep the state folder as it is, and see "
                "`comptroller doctor`."
            )
        facts = _facts(copy, now_ns)
        os.fsync(descriptor)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return msgspec.structs.replace(facts, bytes=target.stat().st_size, sha256=digest)


def _facts(copy: sqlite3.Connection, now_ns: int) -> Manifest:
    """The manifest of a copied store, but for size and checksum."""
    tables = {name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "alembic_version" not in tables:
        raise BackupError("No backup was made: there is no store yet. Start the gateway once.")

    def number(sql: str) -> int:
        row = copy.execute(sql).fetchone()
        return 0 if row is None else int(row[0])

    def meta(key: str) -> int:
        return number(f"SELECT value FROM meta WHERE key = '{key}'")  # noqa: S608 - our own words

    newest = max(meta("last_ns"), number("SELECT coalesce(max(at_ns), 0) FROM journal"))
    return Manifest(
        format=_FORMAT,
        made_at=format_instant(now_ns),
        made_by=__version__,
        schema=str(copy.execute("SELECT version_num FROM alembic_version").fetchone()[0]),
        epoch=meta("epoch"),
        registry_version=meta("registry_version"),
        last_journalled_at=format_instant(newest),
        unfolded_batches=number("SELECT count(*) FROM journal"),
        open_holds=number("SELECT count(*) FROM holds"),
        calls=number("SELECT count(*) FROM calls"),
        sessions=number("SELECT count(*) FROM sessions"),
        bytes=0,
        sha256="",
    )


def _write_manifest(path: Path, manifest: Manifest) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
