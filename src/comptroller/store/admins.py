"""Admins in the store: a row has the fields of an admin in their order. One is replaced, and never deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert as upsert

from comptroller.core.identity.admin import Admin
from comptroller.flow.records import Change
from comptroller.store import schema, tables
from comptroller.store.folder import raise_meta
from comptroller.store.sql import run

_TABLE = schema.admins
_FIELDS = Admin.__struct_fields__


def write_admin(connection: sqlite3.Connection, admin: Admin, change: Change) -> None:
    """Write an admin, in the place of whoever had the name, and the event of that."""
    row = {name: getattr(admin, name) for name in _FIELDS}
    run(connection, upsert(_TABLE).values(row).on_conflict_do_update(index_elements=["name"], set_=row))
    tables.add_changes(connection, [change])
    raise_meta(connection, "last_ns", change.at_ns)


def list_admins(connection: sqlite3.Connection) -> Sequence[Admin]:
    """By name; disabled and expired ones too."""
    rows = run(connection, select(_TABLE).order_by(_TABLE.c.name))
    return [Admin(**dict(zip(_FIELDS, row, strict=True))) for row in rows]


def carry(connection: sqlite3.Connection, admins: Iterable[Admin], at_ns: int, reason: str) -> None:
    """Write the admins of another store, as they are there, with an event for each that was not so here."""
    here = {admin.name: admin for admin in list_admins(connection)}
    for admin in admins:
        if here.get(admin.name) != admin:
            write_admin(connection, admin, Change(at_ns, "restore", "carry", "admin", admin.name, reason))
