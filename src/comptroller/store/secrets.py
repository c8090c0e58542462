"""Bootstrap secrets in the store: their digests, and never themselves."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sqlalchemy import insert, select, update

from comptroller.core.identity.secret import BootstrapSecret
from comptroller.flow.records import Change
from comptroller.store import schema, tables
from comptroller.store.folder import raise_meta
from comptroller.store.sql import run

_TABLE = schema.secrets


def write_secret(connection: sqlite3.Connection, secret: BootstrapSecret, change: Change) -> None:
    run(connection, insert(_TABLE).values({name: getattr(secret, name) for name in secret.__struct_fields__}))
    _record(connection, change)


def revoke_secret(connection: sqlite3.Connection, revoked: BootstrapSecret, change: Change) -> None:
    """Write that a secret was taken back, and the event. One that was before stays as it was."""
    ending = update(_TABLE).where(_TABLE.c.id == revoked.id, _TABLE.c.revoked_at_ns.is_(None))
    values = {name: getattr(revoked, name) for name in ("revoked_at_ns", "revoked_by", "revoked_reason")}
    if run(connection, ending.values(values)).rowcount:
        _record(connection, change)


def secret_of(connection: sqlite3.Connection, secret_id: str) -> BootstrapSecret | None:
    row = run(connection, select(_TABLE).where(_TABLE.c.id == secret_id)).fetchone()
    return None if row is None else BootstrapSecret(*row)


def list_secrets(connection: sqlite3.Connection, identity: str | None, limit: int | None) -> Sequence[BootstrapSecret]:
    """Newest first. Without a limit: those that were not taken back."""
    wanted = select(_TABLE).order_by(_TABLE.c.created_at_ns.desc(), _TABLE.c.id.desc())
    wanted = wanted.where(_TABLE.c.revoked_at_ns.is_(None)) if limit is None else wanted.limit(limit)
    if identity is not None:
        wanted = wanted.where(_TABLE.c.identity == identity)
    return [BootstrapSecret(*row) for row in run(connection, wanted)]


def _record(connection: sqlite3.Connection, change: Change) -> None:
    tables.add_changes(connection, [change])
    raise_meta(connection, "last_ns", change.at_ns)
