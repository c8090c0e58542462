"""Savings: what routing saved, and where a model above the floor of a task type was used.

The first is a sum over what was recorded when calls were settled. The second prices the recorded usage of calls on the
cheapest model of the floor's class, at the prices of each call's day: what it would have cost there, had it been the
same usage. Both are about the calls that are kept (retention.calls_days).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from comptroller.control.call_record import CallRecord
from comptroller.control.office import Office
from comptroller.control.problem import invalid
from comptroller.control.savings_books import Above, AboveFilter, Saving, SavingsDimension
from comptroller.core.instant import format_instant, to_datetime
from comptroller.core.money import format_usd
from comptroller.core.pricing.charge import charge_nanos, unpriced
from comptroller.core.pricing.rates import DEFAULT_TIER
from comptroller.core.registry.registry import Registry
from comptroller.flow.gate import Gate

_MOST_AT_ONCE = 20_000
_PAGE = 500  # a page is computed in one go, and calls wait for it


class SavingsRow(msgspec.Struct, frozen=True):
    """Routed calls. Money in decimal strings of USD."""

    key: str | None  # null: calls that have none
    calls: int  # of which it is known what they would have cost
    charge_usd: str
    counterfactual_usd: str  # the same usage on the models that they would have gone to unrouted
    saved_usd: str  # the difference; below zero where a route led to a dearer model
    unknown_calls: int  # presumed, or without a price where they would have gone
    unknown_usd: str  # what those were charged, and which is in none of the amounts before


class NotNeededRow(msgspec.Struct, frozen=True):
    """Calls to a model above the floor of their task type."""

    task_type: str
    floor: str
    model: str
    model_class: str
    calls: int  # priced on the other model
    charge_usd: str
    instead: str | None  # the cheapest model of the floor's class; null: none had a price that day
    instead_usd: str
    difference_usd: str  # what was charged less that


class SavingsAnswer(msgspec.Struct, frozen=True):
    """What routing saved, and where it could save more."""

    by: SavingsDimension
    since: str  # not before calls are kept
    until: str
    rows: Sequence[SavingsRow]  # those that saved the most first
    total: SavingsRow
    not_needed: Sequence[NotNeededRow]  # the largest difference first
    not_needed_since: str  # the newest calls only, where there are more than can be looked at in one answer


async def show_savings(office: Office, by: SavingsDimension, since_ns: int, until_ns: int | None) -> SavingsAnswer:
    """Both, for calls made in a stretch of time; until now, unless it is said."""
    await office.catch_up()
    end_ns = office.gate.clock.now_ns() if until_ns is None else until_ns
    if since_ns >= end_ns:
        raise invalid(
            f"The time ends ({format_instant(end_ns)}) before it begins ({format_instant(since_ns)}).",
            "Give a --since that is earlier than --until, or than now.",
        )
    since_ns = max(since_ns, (await office.ledger.kept_since())["calls"])
    found = await office.ledger.savings(by, since_ns, end_ns)
    above, looked_since_ns = await _above(office, since_ns, end_ns)
    return SavingsAnswer(
        by=by,
        since=format_instant(since_ns),
        until=format_instant(end_ns),
        rows=[_row(each) for each in found],
        total=_row(_total(found)),
        not_needed=above,
        not_needed_since=format_instant(looked_since_ns),
    )


def _row(saving: Saving) -> SavingsRow:
    return SavingsRow(
        key=saving.key,
        calls=saving.calls,
        charge_usd=format_usd(saving.charge_nanos),
        counterfactual_usd=format_usd(saving.counterfactual_nanos),
        saved_usd=format_usd(saving.counterfactual_nanos - saving.charge_nanos),
        unknown_calls=saving.unknown_calls,
        unknown_usd=format_usd(saving.unknown_nanos),
    )


def _total(found: Sequence[Saving]) -> Saving:
    return Saving(
        key=None,
        calls=sum(each.calls for each in found),
        charge_nanos=sum(each.charge_nanos for each in found),
        counterfactual_nanos=sum(each.counterfactual_nanos for each in found),
        unknown_calls=sum(each.unknown_calls for each in found),
        unknown_nanos=sum(each.unknown_nanos for each in found),
    )


class _Use:
    """The calls of one task type to one model, and what they would have cost on one other."""

    def __init__(self) -> None:
        self.calls = self.charge_nanos = self.instead_nanos = 0


_Key = tuple[str, str, str, str | None]  # task type, model, its class, the model instead


async def _above(office: Office, since_ns: int, until_ns: int) -> tuple[Sequence[NotNeededRow], int]:
    """The newest calls first, page by page, up to what one answer looks at; since when it did."""
    registry = office.gate.registry
    classes = _classes_above(registry)
    uses: dict[_Key, _Use] = {}
    before: tuple[int, str] | None = None
    read, more = 0, bool(classes)
    while more and read < _MOST_AT_ONCE:
        wanted = AboveFilter(classes=classes, since_ns=since_ns, until_ns=until_ns, before=before, limit=_PAGE)
        page = await office.ledger.calls_above(wanted)
        for each in page:
            _add(office.gate, each, uses)
        more, read = len(page) == _PAGE, read + len(page)
        if page:
            facts = page[-1].record.facts
            before = (facts.at_ns, facts.call_id)
    looked_since_ns = before[0] if more and before is not None else since_ns
    return sorted(_rows(registry, uses), key=_by_difference), looked_since_ns


def _classes_above(registry: Registry) -> Mapping[str, Sequence[str]]:
    """The classes above the floor of each task type that has one."""
    routing = registry.routing
    return {
        task_type: tuple(each for each in routing.order if routing.is_above_floor(task_type, each))
        for task_type in routing.floors
    }


def _add(gate: Gate, above: Above, uses: dict[_Key, _Use]) -> None:
    record = above.record
    instead, nanos = _cheapest(gate, above.task_type, record)
    key = (above.task_type, record.facts.model or "", record.facts.model_class or "", instead)
    use = uses.setdefault(key, _Use())
    use.calls += 1
    use.charge_nanos += record.charge.usd if record.charge is not None else 0
    use.instead_nanos += nanos


def _cheapest(gate: Gate, task_type: str, record: CallRecord) -> tuple[str | None, int]:
    """The cheapest model of the floor's class for this usage, that was in the book that day and speaks its dialect."""
    facts, usage, registry = record.facts, record.usage, gate.registry
    floor = registry.routing.floor(task_type)
    if usage is None or floor is None:
        return None, 0
    day, family = to_datetime(facts.at_ns).date(), facts.dialect.partition("_")[0]
    found: list[tuple[int, str]] = []
    for name in registry.members(floor):
        model = registry.model(name)
        for provider in model.providers if model is not None else ():
            known = gate.providers.get(provider)
            if known is None or family not in known.dialects:
                continue
            tariff = registry.prices.rates(provider, name, day)
            rates = tariff.get(record.service_tier or DEFAULT_TIER) or tariff.get(DEFAULT_TIER)
            if rates is not None and not unpriced(usage, rates):
                found.append((charge_nanos(usage, rates), name))
    nanos, name = min(found, default=(0, None))
    return name, nanos


def _rows(registry: Registry, uses: Mapping[_Key, _Use]) -> Iterator[NotNeededRow]:
    for (task_type, model, model_class, instead), use in uses.items():
        yield NotNeededRow(
            task_type=task_type,
            floor=registry.routing.floor(task_type) or "",
            model=model,
            model_class=model_class,
            calls=use.calls,
            charge_usd=format_usd(use.charge_nanos),
            instead=instead,
            instead_usd=format_usd(use.instead_nanos),
            difference_usd=format_usd(use.charge_nanos - use.instead_nanos) if instead is not None else "0.00",
        )


def _by_difference(row: NotNeededRow) -> tuple[float, str, str]:
    """For the order only: money is never a float where it counts."""
    return -float(row.difference_usd), row.task_type, row.model
