"""Retention: letting go of old records, in steps so small that no call waits for them.

Nothing that anybody counts with is lost: balances, reports of spend and changes stay as they are. From when on
records are kept is said first and on record (noun `records`); then they are deleted, a few of each kind in turn, each
step a job of the thread that writes the journal. A step takes about as long as a fold, however slow the disk, and
then that thread has the rest of the time to itself. Corrections wait for a step, and a step for them
(`Office.changing`): a call is corrected while it is there, or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from comptroller.control.interfaces import Ledger, Place, Prunable
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem
from comptroller.core.ids import made_at_ns
from comptroller.core.instant import DAY_NS, NANOS_PER_SECOND, format_instant
from comptroller.core.work.stored import LASTS_DAYS
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change
from comptroller.settings import RetentionSettings

FIRST_S = 900.0  # by then a machine that started with a wrong clock has been told the time
EVERY_S = 3600.0

OBJECTS_DAYS = 2 * LASTS_DAYS  # responses that are of no use any more, and whatever was deleted

_NOUN = "records"
_CHANGES = 10_000


class Pace(NamedTuple):
    """How long a step may keep the thread that writes, and how long that is left alone then."""

    step_ns: int
    rest: int  # times as long as the step took


BUSY = Pace(10_000_000, 14)
IDLE = Pace(20_000_000, 1)  # no call is in flight: whoever comes now waits for one step at most

FEWEST, MOST = 10, 10_000  # records in one step


class _Kept(msgspec.Struct, frozen=True):
    """What a change of retention says: before and after it."""

    kept_since: str | None  # None: from the beginning


class _Walk:
    """Through the old records of one kind."""

    def __init__(self, what: Prunable) -> None:
        self.what: Prunable = what
        self.deleted = 0
        self.over = False
        self._place: Place | None = None
        self._size = FEWEST

    async def step(self, office: Office, pace: Pace) -> int:
        """Returns how long it kept the thread that writes, in nanoseconds."""
        async with office.changing:
            done = await office.ledger.prune(self.what, self._place, self._size)
        self.deleted += done.deleted
        self.over = done.place is None
        self._place = done.place
        self._size = next_size(self._size, done.took_ns, pace.step_ns)
        return done.took_ns


async def keep(office: Office, settings: RetentionSettings) -> None:
    """Prune now and then, for as long as the process lives."""
    await asyncio.sleep(FIRST_S)
    while True:
        try:
            deleted = await prune(office, settings)
        except LedgerUnavailableError as error:
            office.gate.warn("retention_waits", {"message": str(error)})
        else:
            _say(office, deleted)
        await asyncio.sleep(EVERY_S)


async def prune(office: Office, settings: RetentionSettings) -> Mapping[Prunable, int]:
    """Delete what is older than these settings say; returns how many records of each kind that were.

    Raises LedgerUnavailableError; what was deleted until then stays deleted, and the rest goes the next time.
    """
    days: dict[Prunable, tuple[int, str]] = {
        "calls": (settings.calls_days, f"retention.calls_days = {settings.calls_days}"),
        "presumed": _presumed(settings),
        "findings": (settings.findings_days, f"retention.findings_days = {settings.findings_days}"),
        "sessions": (settings.sessions_days, f"retention.sessions_days = {settings.sessions_days}"),
        "objects": (OBJECTS_DAYS, f"a provider keeps a response for {LASTS_DAYS} days"),
        "spend_recent": (settings.spend_recent_days, f"retention.spend_recent_days = {settings.spend_recent_days}"),
        "tickets": (settings.approvals_days, f"retention.approvals_days = {settings.approvals_days}"),
        "grants": (settings.approvals_days, f"retention.approvals_days = {settings.approvals_days}"),
        "tool_sets": _tool_sets(settings),
    }
    for what, (kept_days, reason) in days.items():
        await _move(office, what, kept_days, reason)
    walks = [_Walk(what) for what in days]
    waiting = walks
    while waiting:
        for walk in waiting:  # a step of each in turn: the calls of a year do not hold up the sessions of a day
            pace = pace_now(office)
            took_ns = await walk.step(office, pace)
            await asyncio.sleep(pace.rest * took_ns / NANOS_PER_SECOND)
        waiting = [walk for walk in waiting if not walk.over]
    return {walk.what: walk.deleted for walk in walks}


def pace_now(office: Office) -> Pace:
    """Whether anybody would be held up."""
    return BUSY if len(office.gate.live) else IDLE


def next_size(size: int, took_ns: int, wanted_ns: int) -> int:
    """How many records the next step has, if one of `size` took so long: it grows slowly and shrinks at once."""
    fits = size * wanted_ns // max(1, took_ns)
    return max(FEWEST, min(fits, 2 * size, MOST))


def _presumed(settings: RetentionSettings) -> tuple[int, str]:
    """At least as long as other calls."""
    if settings.presumed_days >= settings.calls_days:
        return settings.presumed_days, f"retention.presumed_days = {settings.presumed_days}"
    return settings.calls_days, f"retention.calls_days = {settings.calls_days}"


def _tool_sets(settings: RetentionSettings) -> tuple[int, str]:
    """As long as any call that may name one: in use, it is said once a day."""
    days, reason = _presumed(settings)
    return days + 2, f"two days more than {reason}"


async def _move(office: Office, what: Prunable, kept_days: int, reason: str) -> None:
    """Say from when on these records are kept, if any are older than they should be."""
    ledger, now_ns = office.ledger, office.gate.clock.now_ns()
    since_ns = (now_ns // DAY_NS - kept_days) * DAY_NS
    before_ns = (await ledger.kept_since())[what]
    if since_ns <= before_ns or not await ledger.has_older(what, since_ns):
        return
    change = Change(
        at_ns=now_ns,
        actor="gateway",
        verb="prune",
        noun=_NOUN,
        key=what,
        reason=reason,
        before=_encode(_Kept(format_instant(before_ns) if before_ns else None)),
        after=_encode(_Kept(format_instant(since_ns))),
    )
    await ledger.keep_since(what, since_ns, change)


def _say(office: Office, deleted: Mapping[Prunable, int]) -> None:
    if any(deleted.values()):
        fields = {f"comptroller.records.{what}": str(count) for what, count in deleted.items() if count}
        office.gate.warn("records_pruned", fields)


async def pruned(ledger: Ledger, call_id: str) -> ControlProblem | None:
    """What to tell whoever asks for a call that is not there any more; None if it was never there, for all we know."""
    made_ns = made_at_ns(call_id)
    since_ns = (await ledger.kept_since())["calls"]
    if made_ns is None or made_ns >= since_ns:
        return None
    change = await _pruned_by(ledger, made_ns)
    when = f" since {format_instant(change.at_ns)} ({change.reason})" if change is not None else ""
    return ControlProblem(
        410,
        "pruned",
        f"{call_id} is from {format_instant(made_ns)}, and calls from then are not kept any more{when}.",
        "What it cost still counts in budgets and in `comptroller spend`. A backup from before may still have it.",
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
