"""Correct: the true charge of a call, once a person knows it. An adjusting row, never an edit."""

from __future__ import annotations

import msgspec

from comptroller.control.calls import find_call
from comptroller.control.interfaces import CallRecord
from comptroller.control.office import Office
from comptroller.control.problem import conflict, invalid, ledger_unavailable
from comptroller.control.reason import read_reason
from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.budget.scope import instances
from comptroller.core.budget.window import span_at
from comptroller.core.money import NANOS_PER_USD, format_usd
from comptroller.flow.chain import recorded
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Corrected

MOST_CHARGE_USD = 1_000_000  # for one call: what the books add up stays well inside 64 bits


class Correction(msgspec.Struct, frozen=True):
    """What a correction did."""

    id: str
    charge_before_usd: str
    charge_usd: str
    delta_usd: str
    reason: str
    actor: str


async def correct(office: Office, call_id: str, charge_nanos: int, reason: str, actor: str) -> Correction:
    """Post the difference in every window that counts the call; durable when this returns."""
    if charge_nanos < 0:
        raise invalid("A charge cannot be below zero.", "Give what the provider billed in the end, such as 0.0123.")
    if charge_nanos > MOST_CHARGE_USD * NANOS_PER_USD:
        raise invalid(f"A charge above {MOST_CHARGE_USD:_} USD for one call is not believed.", "Is the point in place?")
    words = read_reason(reason, "Name its source, such as the line of the provider's invoice.")
    async with office.changing:
        await _catch_up(office)
        record = await find_call(office, call_id)
        before = _charge_of(record)
        event = Corrected(
            call_id=call_id,
            at_ns=office.gate.clock.now_ns(),
            actor=actor,
            reason=words,
            delta_nanos=charge_nanos - before,
            charge_nanos=charge_nanos,
            windows=await _counted_in(office, record),
        )
        await _post(office, event)
    return Correction(
        id=call_id,
        charge_before_usd=format_usd(before),
        charge_usd=format_usd(charge_nanos),
        delta_usd=format_usd(event.delta_nanos),
        reason=event.reason,
        actor=actor,
    )


async def _catch_up(office: Office) -> None:
    """Decide on the newest books or not at all: an earlier correction that is not in them would count twice."""
    try:
        await office.ledger.fold()
    except LedgerUnavailableError as error:
        raise ledger_unavailable(f"Nothing was corrected, for the books are behind: {error}.") from error


def _charge_of(record: CallRecord) -> int:
    """What is posted for the call now; only a settled call has a charge to correct."""
    call_id = record.facts.call_id
    if record.state == "refused":
        raise conflict(f"The call {call_id} was refused and never went upstream: nothing was charged.")
    if record.charge is None:
        raise conflict(
            f"The call {call_id} is still in flight; its charge is not known yet.",
            "Correct it once it is settled: `comptroller calls` shows its outcome then.",
        )
    return record.charge.usd


async def _counted_in(office: Office, record: CallRecord) -> tuple[WindowKey, ...]:
    """The windows that the call's charge is part of: those it was settled in, and those that began with it.

    A budget that came after the call has no part in its settlement, but its window began with what was
    already spent (opening.py), this call included.
    """
    facts = record.facts
    drawn = {key.budget for key in record.windows}
    later = [budget for budget in office.gate.registry.budgets if budget.key not in drawn]
    seen = recorded(facts, await office.ledger.lineage(facts.session))
    began = [
        WindowKey(budget.key, instance, span_at(budget.window, budget.zone, facts.at_ns).start_ns)
        for budget in later
        for instance in instances(budget.per, budget.scope, seen)
    ]
    known = await office.ledger.instance_balances([key.budget for key in began], list({key.instance for key in began}))
    return (*record.windows, *(key for key in began if key in known))


async def _post(office: Office, event: Corrected) -> None:
    """Memory is never ahead of the disk with money given back, nor behind it with money taken."""
    tree, delta = office.gate.tree, Amounts(usd=event.delta_nanos)
    if event.delta_nanos > 0:
        tree.adjust(event.windows, delta)
    try:
        await office.gate.journal.commit(event)
    except Exception as error:
        if event.delta_nanos > 0:
            tree.adjust(event.windows, Amounts(usd=-event.delta_nanos))
        if isinstance(error, LedgerUnavailableError):
            raise ledger_unavailable(f"The correction was not written and nothing has changed: {error}.") from error
        raise
    if event.delta_nanos < 0:
        tree.adjust(event.windows, delta)
