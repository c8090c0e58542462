"""Changes: who changed what, outside of calls."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comptroller.control.office import Office
from comptroller.core.instant import format_instant
from comptroller.flow.records import Change

CHANGES_SHOWN = 100


class ChangeRow(msgspec.Struct, frozen=True):
    at: str
    actor: str
    verb: str
    noun: str
    key: str
    reason: str
    before: str  # JSON or empty
    after: str  # JSON or empty
    version: int


async def list_changes(office: Office, limit: int = CHANGES_SHOWN) -> Sequence[ChangeRow]:
    """Newest first."""
    await office.catch_up()
    return [_row(change) for change in await office.ledger.changes(limit)]


def _row(change: Change) -> ChangeRow:
    return ChangeRow(
        at=format_instant(change.at_ns),
        actor=change.actor,
        verb=change.verb,
        noun=change.noun,
        key=change.key,
        reason=change.reason,
        before=change.before,
        after=change.after,
        version=change.version,
    )
