"""Requests for an identity in the store: a row has the fields of a request, is decided once, and is never deleted."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.sql import ClauseElement

from comptroller.core.identity.request import IdentityRequest, Principal
from comptroller.flow.records import Change
from comptroller.store import schema, tables
from comptroller.store.folder import raise_meta
from comptroller.store.sql import run

_TABLE = schema.identity_requests
_FIELDS = IdentityRequest.__struct_fields__
_COLUMNS = [_TABLE.c[name] for name in _FIELDS]
_OPEN = _TABLE.c.decided_at_ns.is_(None)


def write_request(connection: sqlite3.Connection, request: IdentityRequest, changes: Sequence[Change]) -> None:
    """Write a request as it stands now, and the events."""
    row = {name: getattr(request, name) for name in _FIELDS}
    run(connection, upsert(_TABLE).values(row).on_conflict_do_update(index_elements=["id"], set_=row))
    tables.add_changes(connection, changes)
    for change in changes:
        raise_meta(connection, "last_ns", change.at_ns)


def request_of(connection: sqlite3.Connection, request_id: str) -> IdentityRequest | None:
    found = _read(connection, select(*_COLUMNS).where(_TABLE.c.id == request_id))
    return found[0] if found else None


def requests_of(connection: sqlite3.Connection, who: Principal) -> Sequence[IdentityRequest]:
    """All of a principal, newest first."""
    own = select(*_COLUMNS).where(_TABLE.c.issuer == who.issuer, _TABLE.c.subject == who.subject)
    return _read(connection, own.order_by(_TABLE.c.id.desc()))


def list_requests(connection: sqlite3.Connection, limit: int, *, every: bool) -> Sequence[IdentityRequest]:
    """Open ones, the oldest first; or all, newest first."""
    if every:
        return _read(connection, select(*_COLUMNS).order_by(_TABLE.c.id.desc()).limit(limit))
    return _read(connection, select(*_COLUMNS).where(_OPEN).order_by(_TABLE.c.id).limit(limit))


def list_denied(connection: sqlite3.Connection) -> Sequence[IdentityRequest]:
    """The oldest first."""
    denied = select(*_COLUMNS).where(_TABLE.c.decided_at_ns.is_not(None), _TABLE.c.identity.is_(None))
    return _read(connection, denied.order_by(_TABLE.c.id))


def carry(connection: sqlite3.Connection, denied: Iterable[IdentityRequest], at_ns: int, reason: str) -> None:
    """Write what another store has denied, each with an event, unless it is decided here."""
    for request in denied:
        here = request_of(connection, request.id)
        if here is None or here.state == "open":
            change = Change(at_ns, "restore", "carry", "identity_request", request.id, reason)
            write_request(connection, request, [change])


def count_open(connection: sqlite3.Connection) -> int:
    found = run(connection, select(func.count()).select_from(_TABLE).where(_OPEN)).fetchone()
    return int(found[0])


def approved(connection: sqlite3.Connection, identities: Collection[str]) -> Sequence[IdentityRequest]:
    """Those that were approved as one of these."""
    found = _read(connection, select(*_COLUMNS).where(_TABLE.c.identity.is_not(None)).order_by(_TABLE.c.id))
    return [each for each in found if each.identity in identities]


def _read(connection: sqlite3.Connection, wanted: ClauseElement) -> Sequence[IdentityRequest]:
    return [IdentityRequest(**dict(zip(_FIELDS, row, strict=True))) for row in run(connection, wanted)]
