"""Retention: letting go of old records, in steps so small that no call waits for them.

Nothing that anybody counts with is lost: balances, reports of spend and changes stay as they are. From when on
records are kept is said first and on record (noun `records`); then they are deleted, a few at a time, each step a
job of the thread that writes the journal. Corrections wait for a step, and a step for them (`Office.changing`):
a call is corrected while it is there, or not at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import msgspec

from comptroller.control.interfaces import Ledger, Prunable
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem
from comptroller.core.ids import made_at_ns
from comptroller.core.instant import DAY_NS, format_instant
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change
from comptroller.settings import RetentionSettings

FIRST_S = 900.0  # by then a machine that started with a wrong clock has been told the time
EVERY_S = 3600.0
_AT_ONCE = 25  # records in one step: a few milliseconds
_PAUSE_S = 0.1
_PAUSE_TIMES = 9  # the pause after a step is at least so many times as long as the step took

_NOUN = "records"
_CHANGES = 10_000


class _Kept(msgspec.Struct, frozen=True):
    """What a change of retention says: before and after it."""

    kept_since: str | None  # None: from the beginning
    deleted: int = 0


async def keep(office: Office, settings: RetentionSettings) -> None:
    """Prune now and then, for as long as the process lives."""
    await asyncio.sleep(FIRST_S)
    while True:
        try:
            await prune(office, settings)
        except LedgerUnavailableError as error:
            office.gate.warn("retention_waits", {"detail": str(error)})
        await asyncio.sleep(EVERY_S)


async def prune(office: Office, settings: RetentionSettings, *, pause_s: float = _PAUSE_S) -> Mapping[Prunable, int]:
    """Delete what is older than these settings say; returns how many records of each kind that were.

    Raises LedgerUnavailableError; what was deleted until then stays deleted, and the rest goes the next time.
    """
    days: dict[Prunable, int] = {
        "calls": settings.calls_days,
        "findings": settings.findings_days,
        "sessions": settings.sessions_days,
        "spend_recent": settings.spend_recent_days,
    }
    deleted: dict[Prunable, int] = {}
    for what, kept_days in days.items():
        await _move(office, what, kept_days)
        deleted[what] = await _delete(office, what, pause_s)
    return deleted


async def _move(office: Office, what: Prunable, kept_days: int) -> None:
    """Say from when on these records are kept, if any are older than they should be."""
    ledger, now_ns = office.ledger, office.gate.clock.now_ns()
    since_ns = (now_ns // DAY_NS - kept_days) * DAY_NS
    before_ns = (await ledger.kept_since())[what]
    count = await ledger.older(what, since_ns) if since_ns > before_ns else 0
    if not count:
        return
    change = Change(
        at_ns=now_ns,
        actor="gateway",
        verb="prune",
        noun=_NOUN,
        key=what,
        reason=f"retention.{what}_days = {kept_days}",
        before=_encode(_Kept(format_instant(before_ns) if before_ns else None)),
        after=_encode(_Kept(format_instant(since_ns), count)),
    )
    await ledger.keep_since(what, since_ns, change)


async def _delete(office: Office, what: Prunable, pause_s: float) -> int:
    deleted = 0
    while True:
        began = time.monotonic()
        async with office.changing:
            step = await office.ledger.prune(what, _AT_ONCE)
        deleted += step
        if step < _AT_ONCE:
            return deleted
        await asyncio.sleep(max(pause_s, _PAUSE_TIMES * (time.monotonic() - began)))


async def pruned(ledger: Ledger, call_id: str) -> ControlProblem | None:
    """What to tell whoever asks for a call that is not there any more; None if it was never there, for all we know."""
    made_ns = made_at_ns(call_id)
    since_ns = (await ledger.kept_since())["calls"]
    if made_ns is None or made_ns >= since_ns:
        return None
    change = await _pruned_by(ledger, made_ns)
    when = f" on {format_instant(change.at_ns)} ({change.reason})" if change is not None else ""
    return ControlProblem(
        410,
        "pruned",
        f"Calls from before {format_instant(since_ns)} are not kept: {call_id}, if there was one, was pruned{when}.",
        "What it cost still counts in budgets and in `comptroller spend`.",
    )


async def _pruned_by(ledger: Ledger, made_ns: int) -> Change | None:
    """The change that let go of what was made then."""
    found = None
    for change in await ledger.changes(_CHANGES, _NOUN, "calls"):  # newest first
        if (msgspec.json.decode(change.after, type=_Kept).kept_since or "") <= format_instant(made_ns):
            break
        found = change
    return found


def _encode(kept: _Kept) -> str:
    return msgspec.json.encode(kept).decode()
