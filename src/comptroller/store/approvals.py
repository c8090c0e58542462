"""What is decided about tickets, and what becomes of grants, in the store: each with its event, in one transaction."""

from __future__ import annotations

import sqlite3

import msgspec

from comptroller.core.approval.grant import Grant
from comptroller.core.approval.ticket import Ticket
from comptroller.flow.records import Change
from comptroller.store import tables, tickets
from comptroller.store.folder import raise_meta


def write_ticket(connection: sqlite3.Connection, ticket: Ticket, change: Change, grant: Grant | None) -> None:
    """Write a ticket as it stands now, the grant that was given for it, and the event."""
    tickets.write_tickets(connection, [ticket])
    if grant is not None:
        tickets.write_grants(connection, [grant])
    _record(connection, change)


def write_grant(connection: sqlite3.Connection, grant: Grant, change: Change) -> None:
    """Write a grant as it stands now, and the event."""
    tickets.write_grants(connection, [grant])
    _record(connection, change)


def end_all(connection: sqlite3.Connection, at_ns: int, by: str, reason: str) -> None:
    """Whatever is asked for is denied, and every grant is taken back."""
    for ticket in tickets.open_tickets(connection):
        denied = ticket.closed("denied", by, at_ns, said=reason)
        write_ticket(connection, denied, Change(at_ns, by, "deny", "approval", ticket.id, reason), None)
    for grant in tickets.grants_going_on(connection):
        revoked = msgspec.structs.replace(grant, revoked_at_ns=at_ns, revoked_by=by)
        write_grant(connection, revoked, Change(at_ns, by, "revoke", "grant", grant.id, reason))


def _record(connection: sqlite3.Connection, change: Change) -> None:
    tables.add_changes(connection, [change])
    raise_meta(connection, "last_ns", change.at_ns)
