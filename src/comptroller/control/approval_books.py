"""Border: what of the books is about tickets and grants. It is part of the Ledger (interfaces.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from comptroller.core.approval.grant import Grant
from comptroller.core.approval.ticket import Ticket
from comptroller.flow.records import Change


class ApprovalBooks(Protocol):
    """Writes are durable when they return, or raise LedgerUnavailableError (flow/journal.py)."""

    async def write_ticket(self, ticket: Ticket, change: Change, grant: Grant | None = None) -> None:
        """Write a ticket as it stands now, the grant that was given for it, and the event, in one transaction."""
        ...

    async def ticket(self, ticket_id: str) -> Ticket | None: ...

    async def open_tickets(self) -> Sequence[Ticket]:
        """The oldest first."""
        ...

    async def tickets(self, limit: int) -> Sequence[Ticket]:
        """Newest first, decided ones too."""
        ...

    async def write_grant(self, grant: Grant, change: Change) -> None:
        """Write a grant as it stands now, and the event, in one transaction."""
        ...

    async def grant(self, grant_id: str) -> Grant | None: ...

    async def grants_going_on(self) -> Sequence[Grant]:
        """Those that nothing on record has ended, the oldest first."""
        ...

    async def grants(self, limit: int) -> Sequence[Grant]:
        """Newest first, those that are over, too."""
        ...
