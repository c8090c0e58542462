"""Corrections of a call: who put its charge right, from what to what, and why."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comptroller.control.office import Office
from comptroller.core.instant import format_instant
from comptroller.core.money import format_usd
from comptroller.flow.records import Change

_MOST = 1_000


class CorrectionRow(msgspec.Struct, frozen=True):
    at: str
    actor: str
    before_usd: str
    after_usd: str
    reason: str


class _Charge(msgspec.Struct, frozen=True):
    charge_nanos: int


async def list_corrections(office: Office, call_id: str) -> Sequence[CorrectionRow]:
    """Oldest first."""
    changes = await office.ledger.changes(_MOST, "call", call_id)
    return [_row(change) for change in reversed(changes) if change.verb == "correct"]


def _row(change: Change) -> CorrectionRow:
    before = msgspec.json.decode(change.before, type=_Charge)
    after = msgspec.json.decode(change.after, type=_Charge)
    return CorrectionRow(
        at=format_instant(change.at_ns),
        actor=change.actor,
        before_usd=format_usd(before.charge_nanos),
        after_usd=format_usd(after.charge_nanos),
        reason=change.reason,
    )
