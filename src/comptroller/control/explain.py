"""Explain: the whole story of one call, refused ones too, with the facts that it is told from."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comptroller.control.budgets import BudgetRow, list_budgets
from comptroller.control.call_record import CallRecord
from comptroller.control.calls import CallRow, call_row, find_call
from comptroller.control.corrections import CorrectionRow, list_corrections
from comptroller.control.findings import FindingRow, finding_row
from comptroller.control.office import Office
from comptroller.control.price_lines import PriceLine, price_lines
from comptroller.control.story import Told, tell
from comptroller.core.budget.budget import label
from comptroller.core.budget.hold import WindowKey
from comptroller.core.instant import format_instant
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.core.registry.registry import Registry

_FINDINGS = 100


class DrawnOn(msgspec.Struct, frozen=True):
    """One window that the call drew on."""

    name: str
    instance: str
    window_start: str | None  # None: a lifetime
    in_force: bool  # the budget is still installed, and counts the same
    now: BudgetRow | None  # how the window stands, while it is a current one


class Explanation(msgspec.Struct, frozen=True):
    id: str
    state: str  # open, posted, presumed, voided, refused
    sentences: Sequence[str]
    call: CallRow
    refusal: Refusal | None
    budgets: Sequence[DrawnOn]
    output_limit: int | None
    asked_output_limit: int | None
    held_tokens: int | None
    status: int | None
    detail: str | None
    overrun: bool
    usage: Usage | None
    price_lines: Sequence[PriceLine]
    corrections: Sequence[CorrectionRow]
    findings: Sequence[FindingRow]
    tools: Sequence[str] = ()  # the functions that the request offers to the model: the first of them
    tools_offered: int = 0  # all of them


async def explain(office: Office, call_id: str) -> Explanation:
    """Everything that the books know about a call, and the story they tell."""
    record = await find_call(office, call_id)
    rows = await list_budgets(office)
    session = office.gate.sessions.get(record.facts.session) or await office.ledger.session(record.facts.session)
    findings = [finding_row(each) for each in await office.ledger.findings(_FINDINGS, call_id)]
    corrections = await list_corrections(office, call_id)
    registry = office.gate.registry
    lines = price_lines(record, registry.prices)
    drawn = [_drawn_on(registry, key, rows) for key in record.windows]
    told = Told(
        record=record,
        session=session,
        drawn=[label(each.name, each.instance) for each in drawn],
        binding=_binding(record, rows),
        lines=lines,
        corrections=corrections,
        findings=findings,
    )
    return Explanation(
        id=call_id,
        state=record.state,
        sentences=tell(told),
        call=call_row(record, session),
        refusal=record.refusal,
        budgets=drawn,
        output_limit=record.output_limit,
        asked_output_limit=record.asked_output_limit,
        held_tokens=record.held.tokens if record.held is not None else None,
        status=record.status,
        detail=record.detail,
        overrun=record.overrun,
        usage=record.usage,
        price_lines=lines,
        corrections=corrections,
        findings=findings,
        tools=() if record.tools is None else record.tools.names,
        tools_offered=0 if record.tools is None else record.tools.count,
    )


def _drawn_on(registry: Registry, key: WindowKey, rows: Sequence[BudgetRow]) -> DrawnOn:
    budget = next((budget for budget in registry.budgets if budget.key == key.budget), None)
    name = budget.name if budget is not None else key.budget.partition("#")[0]
    start = format_instant(key.start_ns) if key.start_ns else None  # a lifetime starts at 0
    now = [row for row in rows if (row.name, row.instance, row.window_start) == (name, key.instance, start)]
    return DrawnOn(name, key.instance, start, budget is not None, now[0] if budget is not None and now else None)


def _binding(record: CallRecord, rows: Sequence[BudgetRow]) -> Sequence[BudgetRow]:
    """The budget that refused a call. An operator may see its amounts, where the caller may not."""
    limit = record.refusal.limit if record.refusal is not None else None
    return [row for row in rows if limit is not None and label(row.name, row.instance) == limit][-1:]
