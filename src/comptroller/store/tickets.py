"""Rows of tickets and grants: what is looked for in columns, and all of it as JSON. None is deleted while it counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import BigInteger, Column, Index, Integer, Select, Table, Text, select
from sqlalchemy.dialects.sqlite import insert as upsert

from comptroller.core.approval.grant import Grant
from comptroller.core.approval.ticket import Ticket
from comptroller.store import schema
from comptroller.store.sql import Many, run

TICKETS = Table(
    "tickets",  # questions to a role, whether a call may do what otherwise it may not
    schema.metadata,
    Column("id", Text, primary_key=True),
    Column("at_ns", BigInteger, nullable=False),
    Column("open", Integer, nullable=False),  # somebody may still answer
    Column("body", Text, nullable=False),  # JSON: core/approval/ticket.py
    Index("tickets_open", "open", "id"),
    Index("tickets_at", "at_ns", "id"),
)

GRANTS = Table(
    "grants",  # what approvals gave; what was spent by one stands in the balances
    schema.metadata,
    Column("id", Text, primary_key=True),
    Column("given_at_ns", BigInteger, nullable=False),
    Column("over", Integer, nullable=False),  # on record: used up, expired or revoked
    Column("body", Text, nullable=False),  # JSON: core/approval/grant.py
    Index("grants_over", "over", "id"),
    Index("grants_at", "given_at_ns", "id"),
)
_encode = msgspec.json.Encoder(order="deterministic").encode
_ticket = msgspec.json.Decoder(Ticket)
_grant = msgspec.json.Decoder(Grant)


def _set_ticket() -> Many:
    statement = upsert(TICKETS)
    changing = {name: statement.excluded[name] for name in ("open", "body")}
    return Many(statement.on_conflict_do_update(index_elements=["id"], set_=changing))


def _set_grant() -> Many:
    statement = upsert(GRANTS)
    changing = {name: statement.excluded[name] for name in ("over", "body")}
    return Many(statement.on_conflict_do_update(index_elements=["id"], set_=changing))


_SET_TICKET = _set_ticket()
_SET_GRANT = _set_grant()


def write_tickets(connection: sqlite3.Connection, tickets: Iterable[Ticket]) -> None:
    """Write each as it stands now."""
    rows = [(each.id, each.at_ns, int(each.open), _encode(each).decode()) for each in tickets]
    _SET_TICKET.run_values(connection, rows)


def write_grants(connection: sqlite3.Connection, grants: Iterable[Grant]) -> None:
    """Write each as it stands now."""
    rows = [(each.id, each.given_at_ns, int(is_over(each)), _encode(each).decode()) for each in grants]
    _SET_GRANT.run_values(connection, rows)


def is_over(grant: Grant) -> bool:
    """Whether it is on record that it is over."""
    return grant.revoked_at_ns is not None or grant.ended_at_ns is not None


def ticket_of(connection: sqlite3.Connection, ticket_id: str) -> Ticket | None:
    return next(iter(_tickets(connection, select(TICKETS.c.body).where(TICKETS.c.id == ticket_id))), None)


def grant_of(connection: sqlite3.Connection, grant_id: str) -> Grant | None:
    return next(iter(_grants(connection, select(GRANTS.c.body).where(GRANTS.c.id == grant_id))), None)


def open_tickets(connection: sqlite3.Connection) -> Sequence[Ticket]:
    """The oldest first."""
    wanted = select(TICKETS.c.body).where(TICKETS.c.open == 1)
    return _tickets(connection, wanted.order_by(TICKETS.c.id))  # an id begins with its instant


def list_tickets(connection: sqlite3.Connection, limit: int) -> Sequence[Ticket]:
    """Newest first, decided ones too."""
    return _tickets(connection, select(TICKETS.c.body).order_by(TICKETS.c.id.desc()).limit(limit))


def grants_going_on(connection: sqlite3.Connection) -> Sequence[Grant]:
    """Those that nothing on record has ended, the oldest first."""
    return _grants(connection, select(GRANTS.c.body).where(GRANTS.c.over == 0).order_by(GRANTS.c.id))


def list_grants(connection: sqlite3.Connection, limit: int) -> Sequence[Grant]:
    """Newest first, those that are over, too."""
    return _grants(connection, select(GRANTS.c.body).order_by(GRANTS.c.id.desc()).limit(limit))


def _tickets(connection: sqlite3.Connection, wanted: Select[tuple[str]]) -> Sequence[Ticket]:
    return [_ticket.decode(body) for (body,) in run(connection, wanted)]


def _grants(connection: sqlite3.Connection, wanted: Select[tuple[str]]) -> Sequence[Grant]:
    return [_grant.decode(body) for (body,) in run(connection, wanted)]
