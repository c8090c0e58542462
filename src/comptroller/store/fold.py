"""What a run of events does to the tables: a pure step from what stands there to what shall stand there.

The result does not depend on where the run of events is cut: folding one by one, or all at once, ends the
same (tests/store/test_fold.py). Nothing here may fail: an event that fits nothing becomes a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from comptroller.core.approval.ticket import Ticket
from comptroller.core.budget.bounds import Bound
from comptroller.core.budget.hold import NOTHING, Amounts, WindowKey
from comptroller.core.work.stored import StoredObject
from comptroller.flow.records import (
    BoundChanged,
    CallFacts,
    Change,
    Corrected,
    Deferred,
    Event,
    Extended,
    Finding,
    Held,
    Joined,
    Noticed,
    NoticeTried,
    ObjectChanged,
    PinChanged,
    Refused,
    Settled,
    TicketChanged,
    ToolsOffered,
)
from comptroller.store import change_rows, rows
from comptroller.store.rollups import Place, Rollup, Sums, contribution
from comptroller.store.rows import CallRow

BoundKey = tuple[str, str, str]


class Touched(msgspec.Struct, frozen=True):
    """The rows that a run of events needs to see."""

    calls: set[str]
    holds: set[str]  # by attempt
    bounds: set[BoundKey]


class Standing(msgspec.Struct, frozen=True):
    """Those of them that stand in the tables."""

    calls: Mapping[str, CallRow]
    holds: Mapping[str, Held]
    bounds: Mapping[BoundKey, Bound]


class Outcome(msgspec.Struct, frozen=True):
    """What shall stand there afterwards. `posted` is added to the balances, `spent` to what reports read."""

    new_calls: list[CallRow]
    changed_calls: list[CallRow]
    holds: list[Held]  # new ones, and those that joined more windows or hold another amount
    ended_holds: list[str]
    posted: Mapping[WindowKey, Amounts]
    spent: Mapping[Place, Sums]
    bounds: list[Bound]
    findings: list[Finding]
    changes: list[Change]
    objects: list[StoredObject]  # each as it was last known
    tickets: list[Ticket]  # the same
    pins: list[PinChanged]  # in their order
    notices: list[Noticed | NoticeTried]  # in their order
    tool_sets: list[ToolsOffered]  # each as it was said last
    last_ns: int


def instant_of(event: Event) -> int:
    """When it happened; 0 where the event does not say."""
    if isinstance(event, Held):
        return event.facts.at_ns
    if isinstance(event, Refused):
        return event.facts.at_ns
    return 0 if isinstance(event, (Joined, Extended, Deferred)) else event.at_ns


def touched(events: Iterable[Event]) -> Touched:
    """What has to be read before these events can be folded."""
    found = Touched(set(), set(), set())
    for event in events:
        match event:
            case Held():
                pass
            case Settled():
                found.calls.add(event.call_id)
                found.holds.add(event.attempt_id)
            case Refused():
                found.calls.add(event.facts.call_id)
            case Joined() | Extended() | Deferred():
                found.holds.add(event.attempt_id)
            case Corrected():
                found.calls.add(event.call_id)
            case BoundChanged():
                found.bounds.add((event.provider, event.model, event.dialect))
            case _:
                pass
    return found


def fold(events: Iterable[Event], standing: Standing) -> Outcome:
    """Fold events, in order, over the rows that `touched` asked for; those are changed in place."""
    folding = _Folding(standing)
    for event in events:
        folding.take(event)
    return folding.outcome()


class _Folding:
    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self._contributed = {key: contribution(row) for key, row in standing.calls.items()}
        self._calls = dict(standing.calls)
        self._changed: dict[str, CallRow] = {}
        self._holds = dict(standing.holds)
        self._posted: dict[bytes, _Posting] = {}
        self._packed: dict[int, tuple[bytes, tuple[WindowKey, ...]]] = {}  # by the tuple's identity; kept alive here
        self._bounds = dict(standing.bounds)
        self._findings: list[Finding] = []
        self._changes: list[Change] = []
        self._objects: dict[str, StoredObject] = {}
        self._tickets: dict[str, Ticket] = {}
        self._pins: list[PinChanged] = []
        self._notices: list[Noticed | NoticeTried] = []
        self._tool_sets: dict[str, ToolsOffered] = {}
        self._last_ns = 0

    def take(self, event: Event) -> None:
        self._last_ns = max(self._last_ns, instant_of(event))
        match event:
            case Held():
                self._holds[event.attempt_id] = rows.fit_held(event)
            case Settled():
                self._settled(rows.fit_settled(event))
            case Joined():
                self._joined(event)
            case Extended():
                self._extended(event)
            case Deferred():
                self._deferred(event)
            case Refused():
                rows.refuse(self._call(event.facts), event.refusal)
            case Corrected():
                self._corrected(event)
            case BoundChanged():
                self._bound_changed(event)
            case _:
                self._note(event)

    def _note(
        self,
        event: Finding | Change | ObjectChanged | TicketChanged | PinChanged | Noticed | NoticeTried | ToolsOffered,
    ) -> None:
        """What changes no money: it stands as it is said last."""
        match event:
            case Finding():
                self._findings.append(event)
            case Change():
                self._changes.append(event)
            case ObjectChanged():
                self._objects[event.object.id] = event.object
            case TicketChanged():
                self._tickets[event.ticket.id] = event.ticket
                self._changes.append(change_rows.ticket_change(event))
            case ToolsOffered():
                self._tool_sets[event.digest] = event
            case PinChanged():
                self._pins.append(event)
                self._changes.append(change_rows.pin_change(event))
            case _:
                self._notices.append(event)

    def outcome(self) -> Outcome:
        was_call, was_hold = self._standing.calls, self._standing.holds
        return Outcome(
            new_calls=[row for key, row in self._changed.items() if key not in was_call],
            changed_calls=[row for key, row in self._changed.items() if key in was_call],
            holds=[held for key, held in self._holds.items() if held is not was_hold.get(key)],
            ended_holds=[key for key in was_hold if key not in self._holds],
            posted=_by_window(self._posted.values()),
            spent=self._spent(),
            bounds=[bound for key, bound in self._bounds.items() if bound is not self._standing.bounds.get(key)],
            findings=self._findings,
            changes=self._changes,
            objects=list(self._objects.values()),
            tickets=list(self._tickets.values()),
            pins=self._pins,
            notices=self._notices,
            tool_sets=list(self._tool_sets.values()),
            last_ns=self._last_ns,
        )

    def _spent(self) -> Mapping[Place, Sums]:
        rollup = Rollup()
        for key, row in self._changed.items():
            before = self._contributed.get(key)
            if before is not None:
                rollup.take_away(before)
            rollup.add(contribution(row))
        return rollup.changes()

    def _call(self, facts: CallFacts) -> CallRow:
        row = self._calls.get(facts.call_id)
        if row is None:
            row = self._calls[facts.call_id] = rows.called(facts, "refused")
        self._changed[row.id] = row
        return row

    def _settled(self, event: Settled) -> None:
        """The money is posted whatever else is known: a record too many is corrected, one too few is lost."""
        packed = self._pack(event.windows)
        self._post(packed, event.windows, event.posted)
        held = self._holds.pop(event.attempt_id, None)
        if held is not None:
            row = self._calls.get(held.facts.call_id)
            if row is None:
                row = self._calls[held.facts.call_id] = rows.ended(held, event, packed)
            else:
                rows.hold(row, held)
                rows.settle(row, event, packed)
            self._changed[row.id] = row
        elif event.posted != NOTHING:
            row = self._calls.get(event.call_id)
            if row is None:
                row = self._calls[event.call_id] = rows.unheld(event)
            rows.settle(row, event, packed)
            self._changed[row.id] = row
            sentence = f"Attempt {event.attempt_id} was settled without an open hold; its charge was added."
            self._findings.append(Finding(event.at_ns, "settled_without_hold", event.call_id, "gateway", sentence))

    def _joined(self, event: Joined) -> None:
        held = self._holds.get(event.attempt_id)
        if held is not None:
            joined = msgspec.structs.replace(held, windows=(*held.windows, *event.windows))
            self._holds[event.attempt_id] = joined

    def _extended(self, event: Extended) -> None:
        held = self._holds.get(event.attempt_id)
        if held is not None:
            amounts = rows.fit_amounts(held.amounts.plus(event.more).most(NOTHING))
            self._holds[event.attempt_id] = msgspec.structs.replace(held, amounts=amounts)

    def _deferred(self, event: Deferred) -> None:
        held = self._holds.get(event.attempt_id)
        if held is not None:
            self._holds[event.attempt_id] = msgspec.structs.replace(held, deferral=event.deferral)

    def _corrected(self, event: Corrected) -> None:
        delta = Amounts(usd=rows.fit(event.delta_nanos))
        self._post(self._pack(event.windows), event.windows, delta)
        self._changes.append(change_rows.correction(event))
        row = self._calls.get(event.call_id)
        if row is not None:
            rows.correct(row, event)
            self._changed[row.id] = row

    def _bound_changed(self, event: BoundChanged) -> None:
        key = (event.provider, event.model, event.dialect)
        self._changes.append(change_rows.bound_change(event, self._bounds.get(key)))
        self._bounds[key] = Bound(*key, event.overruns, event.factor_bp, event.quarantined, event.last_overrun_ns)

    def _pack(self, windows: tuple[WindowKey, ...]) -> bytes:
        """Calls of one caller mostly share one tuple: it is packed once."""
        known = self._packed.get(id(windows))
        if known is None:
            known = self._packed[id(windows)] = (rows.pack_windows(windows), windows)
        return known[0]

    def _post(self, packed: bytes, windows: tuple[WindowKey, ...], amounts: Amounts) -> None:
        """Calls of one caller draw on the same windows: add up for each set of windows first."""
        if amounts == NOTHING:
            return
        posting = self._posted.get(packed)
        if posting is None:
            posting = self._posted[packed] = _Posting(windows)
        posting.usd += amounts.usd
        posting.tokens += amounts.tokens
        posting.calls += amounts.calls
        posting.thinking_tokens += amounts.thinking_tokens
        posting.tool_calls += amounts.tool_calls
        posting.result_bytes += amounts.result_bytes


class _Posting(msgspec.Struct, gc=False):
    windows: tuple[WindowKey, ...]
    usd: int = 0
    tokens: int = 0
    calls: int = 0
    thinking_tokens: int = 0
    tool_calls: int = 0
    result_bytes: int = 0

    def plus(self, other: Amounts) -> Amounts:
        return Amounts(
            self.usd + other.usd,
            self.tokens + other.tokens,
            self.calls + other.calls,
            self.thinking_tokens + other.thinking_tokens,
            self.tool_calls + other.tool_calls,
            self.result_bytes + other.result_bytes,
        )


def _by_window(postings: Iterable[_Posting]) -> dict[WindowKey, Amounts]:
    sums: dict[WindowKey, Amounts] = {}
    for more in postings:
        for key in more.windows:
            sums[key] = more.plus(sums.get(key, NOTHING))
    return sums
