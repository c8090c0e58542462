"""What can be seen of a store from outside, whether a gateway has it or not. Nothing is changed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from comptroller.control.interfaces import RegistryState
from comptroller.store.backup import DATABASE, reading
from comptroller.store.exchange import REPLACED
from comptroller.store.lock import LOCK, held_now
from comptroller.store.migrate import BACKUPS, known_schemas
from comptroller.store.registry import registry_state

Progress = Callable[[str, int, int], None]

_PATIENCE_S = 20.0  # for the pages of the database; a backup looks at all of them
_STEPS = 100_000  # of SQLite's machine between two looks at the clock


class Checkup(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `schema` None: there is no store. With `trouble` or `damage`, nothing else was read."""

    schema: str | None = None
    knows: str = ""  # the newest schema of this program
    known: bool = False  # whether it knows the store's
    trouble: str = ""  # why it cannot be read
    damage: str = ""
    whole: bool = False  # the check of the pages came to its end
    epoch: int = 0
    last_ns: int | None = None
    registry_version: int = 0
    registry: RegistryState | None = None
    calls: int = 0
    unfolded_batches: int = 0
    oldest_unfolded_ns: int = 0
    open_holds: int = 0
    bootstrap_ended: bool = False  # an admin of role admin has a name
    database_bytes: int = 0
    log_bytes: int = 0


def kept_stores(state_dir: Path) -> list[Path]:
    """Older stores that no program of ours removes: backed up before a migration, or replaced by a restore."""
    return [*sorted((state_dir / BACKUPS).glob("comptroller-*")), *sorted(state_dir.glob(f"{REPLACED}*"))]


def check_up(state_dir: Path, progress: Progress) -> Checkup:
    """Look at the store of this state folder."""
    database, known = state_dir / DATABASE, known_schemas()
    log = database.with_name(f"{DATABASE}-wal")
    if not database.exists():
        return Checkup(knows=known[0])
    while True:
        # Nobody has it: then it can be read without the files that sharing needs. If somebody comes meanwhile, what
        # was read may be torn, so it is read again.
        alone = held_now(state_dir / LOCK) is None
        found = _look(database, known, progress, alone=alone)
        if not alone or held_now(state_dir / LOCK) is None:
            break
    log_bytes = log.stat().st_size if log.exists() else 0
    return msgspec.structs.replace(found, database_bytes=database.stat().st_size, log_bytes=log_bytes)


def _look(database: Path, known: list[str], progress: Progress, *, alone: bool) -> Checkup:
    try:
        with reading(database, alone=alone) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            schema = str(row[0])
            if schema not in known:
                return Checkup(schema=schema, knows=known[0])
            damage, whole = _damage(connection, progress)
            if damage:
                return Checkup(schema=schema, knows=known[0], known=True, damage=damage)
            return _facts(connection, schema, known[0], whole=whole)
    except (sqlite3.Error, msgspec.MsgspecError, TypeError, ValueError) as error:
        return Checkup(schema=known[0], knows=known[0], known=True, trouble=str(error))


def _facts(connection: sqlite3.Connection, schema: str, newest: str, *, whole: bool) -> Checkup:
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    batches, oldest_ns, newest_ns = connection.execute(
        "SELECT count(*), coalesce(min(at_ns), 0), coalesce(max(at_ns), 0) FROM journal"
    ).fetchone()
    return Checkup(
        schema=schema,
        knows=newest,
        known=True,
        whole=whole,
        epoch=int(meta.get("epoch", 0)),
        last_ns=max(int(meta.get("last_ns", 0)), int(newest_ns)) or None,
        registry_version=int(meta.get("registry_version", 0)),
        registry=registry_state(connection),
        calls=_number(connection, "SELECT count(*) FROM calls"),
        unfolded_batches=int(batches),
        oldest_unfolded_ns=int(oldest_ns),
        open_holds=_number(connection, "SELECT count(*) FROM holds"),
        bootstrap_ended=_has_named_admin(connection),
    )


def _has_named_admin(connection: sqlite3.Connection) -> bool:
    """False for a store of before admins had names, too."""
    if not _number(connection, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'admins'"):
        return False
    return _number(connection, "SELECT count(*) FROM admins WHERE role = 'admin'") > 0


def _number(connection: sqlite3.Connection, sql: str) -> int:
    return int(connection.execute(sql).fetchone()[0])


def _damage(connection: sqlite3.Connection, progress: Progress) -> tuple[str, bool]:
    """What SQLite finds wrong with the pages in our patience, and whether it came to the end."""
    ends = time.monotonic() + _PATIENCE_S

    def late() -> int:
        progress("checking the database", int(time.monotonic() - ends + _PATIENCE_S), int(_PATIENCE_S))
        return int(time.monotonic() > ends)

    connection.set_progress_handler(late, _STEPS)
    try:
        rows = connection.execute("PRAGMA quick_check(3)").fetchall()
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        return "", False
    except sqlite3.DatabaseError as error:
        return str(error), True
    finally:
        connection.set_progress_handler(None, 0)
    return ("" if rows == [("ok",)] else "; ".join(str(row[0]) for row in rows)), True
