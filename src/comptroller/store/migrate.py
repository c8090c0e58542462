"""Bringing a store to the schema that this program knows: after a backup, and never backwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from comptroller.store.backup import discard_unfinished, take_backup

BACKUPS = "backups"  # the folder beside a store for what was made before migrations

_SCRIPTS = Path(__file__).parent / "migrations"


class SchemaUnknownError(Exception):
    """The store was written by a newer program, or is no store; the message says what to do."""


def known_schemas(scripts: Path = _SCRIPTS) -> list[str]:
    """The schemas that this program can open, the newest first."""
    return [script.revision for script in ScriptDirectory(str(scripts)).walk_revisions()]


def migrate(
    connection: sqlite3.Connection, path: Path, now_ns: int, scripts: Path = _SCRIPTS, *, keep: bool = True
) -> Path | None:
    """Create the schema, or bring an older one up to date. Returns the backup that was made, if one was.

    `keep`: back an older store up first. All steps are one transaction. Raises SchemaUnknownError for a newer
    schema, BackupError, sqlite3.Error or OSError if the backup or a step fails; the store is then as it was.
    """
    known = known_schemas(scripts)
    head = known[0]
    current = _revision(connection, path)
    if current == head:
        return None
    if current is not None and current not in known:
        raise SchemaUnknownError(
            f"The store {path} has schema {current}; this program knows up to {head}. It was written by a newer "
            f"Comptroller: run that one, or `comptroller restore` a backup that this one knows, such as from "
            f"{_backups(path)}."
        )
    backup = None
    if current is not None and keep:
        discard_unfinished(_backups(path))  # of a start that was ended in the middle of one
        backup = take_backup(path, _backups(path), now_ns).path
    with _transaction(connection) as core:
        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        config.attributes["connection"] = core
        command.upgrade(config, "head")
    return backup


def _revision(connection: sqlite3.Connection, path: Path) -> str | None:
    """The schema of the store; None for an empty one."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    row = (
        connection.execute("SELECT version_num FROM alembic_version").fetchone()
        if "alembic_version" in tables
        else None
    )
    if row is None:
        raise SchemaUnknownError(f"{path} is a database of something else. Use another state folder.")
    return str(row[0])


def _backups(path: Path) -> Path:
    return path.parent / BACKUPS


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[Connection]:
    """Alembic speaks to SQLAlchemy, so it gets one on our connection, inside our transaction."""
    engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    with engine.connect() as core, core.begin():  # commits at the end, or rolls back
        connection.execute(
            "BEGIN IMMEDIATE"
        )  # here: SQLAlchemy leaves it to the driver, which we told to leave it to us
        yield core
