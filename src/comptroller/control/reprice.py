"""Reprice: what today's price book would have charged for calls that are settled. Changes nothing.

Compared are calls whose usage the provider reported and whose charge was computed from it. Set apart, and in
no difference, are presumed charges (nobody knows the usage), charges that a person corrected, calls of
several attempts (their usage is kept as a sum), and calls that today's book has no price for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from comptroller.control.call_record import CallRecord
from comptroller.control.interfaces import CallFilter
from comptroller.control.office import Office
from comptroller.core.instant import format_instant, to_datetime
from comptroller.core.money import format_usd, parse_usd
from comptroller.core.pricing.book import PriceBook
from comptroller.core.pricing.charge import charge_nanos, unpriced
from comptroller.core.pricing.rates import DEFAULT_TIER

_MOST_AT_ONCE = 20_000
_PAGE = 500  # a page is computed in one go, and calls wait for it


class RepriceRow(msgspec.Struct, frozen=True):
    """The calls of one identity to one model on one provider. Money in decimal strings of USD."""

    identity: str
    provider: str
    model: str
    calls: int  # compared
    recorded_usd: str
    repriced_usd: str
    difference_usd: str  # repriced less recorded
    presumed_calls: int
    presumed_usd: str
    kept_calls: int  # corrected by a person, or of several attempts
    kept_usd: str
    unpriced_calls: int  # today's book has no price
    unpriced_usd: str


class Repricing(msgspec.Struct, frozen=True):
    since: str
    version: str  # of the book that was used
    rows: Sequence[RepriceRow]
    total: RepriceRow
    next: str | None = None  # there are older calls: ask again with this as `before`


@dataclass
class _Sum:
    calls: int = 0
    nanos: int = 0

    def add(self, nanos: int) -> None:
        self.calls += 1
        self.nanos += nanos


class _Group:
    """What one row adds up."""

    def __init__(self) -> None:
        self.compared, self.presumed, self.kept, self.unpriced = _Sum(), _Sum(), _Sum(), _Sum()
        self.repriced_nanos = 0

    def row(self, identity: str, provider: str, model: str) -> RepriceRow:
        return RepriceRow(
            identity=identity,
            provider=provider,
            model=model,
            calls=self.compared.calls,
            recorded_usd=format_usd(self.compared.nanos),
            repriced_usd=format_usd(self.repriced_nanos),
            difference_usd=format_usd(self.repriced_nanos - self.compared.nanos),
            presumed_calls=self.presumed.calls,
            presumed_usd=format_usd(self.presumed.nanos),
            kept_calls=self.kept.calls,
            kept_usd=format_usd(self.kept.nanos),
            unpriced_calls=self.unpriced.calls,
            unpriced_usd=format_usd(self.unpriced.nanos),
        )


async def reprice(
    office: Office, since_ns: int, identity: str | None, model: str | None, before: str | None = None
) -> Repricing:
    """Recorded against repriced, by identity, provider and model; each call at the prices of its own day.

    The newest calls first, and so many that it takes seconds: `next` says where to go on. What is
    pruned already is not in it: the answer says since when it is.
    """
    await office.catch_up()
    since_ns = max(since_ns, (await office.ledger.kept_since())["calls"])
    book = office.gate.registry.prices
    groups: dict[tuple[str, str, str], _Group] = {}
    total, read, more = _Group(), 0, True
    while more and read < _MOST_AT_ONCE:
        wanted = CallFilter(identity=identity, model=model, since_ns=since_ns, before=before, limit=_PAGE)
        page = await office.ledger.calls(wanted)
        for record in page:
            key = (record.facts.identity, record.facts.provider or "", record.facts.model or "")
            if _was_charged(record) and record.facts.tool is None:  # an owner's quote is in no book
                _add(record, book, groups.setdefault(key, _Group()), total)
        more = len(page) == _PAGE
        read += len(page)
        before = page[-1].facts.call_id if page else before
    rows = [groups[key].row(*key) for key in sorted(groups)]
    return Repricing(format_instant(since_ns), book.version, rows, total.row("", "", ""), before if more else None)


def joined(parts: Sequence[Repricing]) -> Repricing:
    """Several answers as one, without `next`. All must be of one version."""
    rows: dict[tuple[str, str, str], RepriceRow] = {}
    for row in (row for part in parts for row in part.rows):
        key = (row.identity, row.provider, row.model)
        rows[key] = _sum((rows[key], row)) if key in rows else row
    return msgspec.structs.replace(
        parts[0], rows=[rows[key] for key in sorted(rows)], total=_sum(part.total for part in parts), next=None
    )


def _sum(rows: Iterable[RepriceRow]) -> RepriceRow:
    first, *others = rows
    found = msgspec.structs.asdict(first)
    for row in others:
        for name, value in msgspec.structs.asdict(row).items():
            if isinstance(value, int):
                found[name] += value
            elif name.endswith("_usd"):
                found[name] = format_usd(parse_usd(found[name]) + parse_usd(value))
    return RepriceRow(**found)


def _was_charged(record: CallRecord) -> bool:
    return record.state in {"posted", "presumed"} and record.charge is not None


def _add(record: CallRecord, book: PriceBook, *groups: _Group) -> None:
    recorded = record.charge.usd if record.charge is not None else 0
    repriced = _repriced(record, book)
    for group in groups:
        if record.corrected or record.attempts > 1:
            group.kept.add(recorded)
        elif record.state == "presumed" or record.usage is None:
            group.presumed.add(recorded)
        elif repriced is None:
            group.unpriced.add(recorded)
        else:
            group.compared.add(recorded)
            group.repriced_nanos += repriced


def _repriced(record: CallRecord, book: PriceBook) -> int | None:
    """What the book charges for the reported usage; None if it cannot."""
    facts, usage = record.facts, record.usage
    if usage is None or facts.provider is None or facts.model is None:
        return None
    day = to_datetime(facts.at_ns).date()
    rates = book.rates(facts.provider, facts.model, day).get(record.service_tier or DEFAULT_TIER)
    return None if rates is None or unpriced(usage, rates) else charge_nanos(usage, rates)
