"""Correct: the true charge of a call, once a person knows it. An adjusting row, never an edit."""

from __future__ import annotations

import msgspec

from comptroller.control.calls import find_call
from comptroller.control.interfaces import CallRecord
from comptroller.control.office import Office
from comptroller.control.problem import conflict, invalid, ledger_unavailable
from comptroller.core.budget.hold import Amounts
from comptroller.core.money import format_usd
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Corrected


class Correction(msgspec.Struct, frozen=True):
    """What a correction did."""

    id: str
    charge_before_usd: str
    charge_usd: str
    delta_usd: str
    reason: str
    actor: str


async def correct(office: Office, call_id: str, charge_nanos: int, reason: str, actor: str) -> Correction:
    """Post the difference in the windows that the call was settled in; durable when this returns."""
    if charge_nanos < 0:
        raise invalid("A charge cannot be below zero.", "Give what the provider billed in the end, such as 0.0123.")
    if not reason.strip():
        raise invalid("A correction needs a reason.", "Name its source, such as the line of the provider's invoice.")
    async with office.changing:
        record = await find_call(office, call_id)
        before = _charge_of(record)
        event = Corrected(
            call_id=call_id,
            at_ns=office.gate.clock.now_ns(),
            actor=actor,
            reason=reason.strip(),
            delta_nanos=charge_nanos - before,
            charge_nanos=charge_nanos,
            windows=record.windows,
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


async def _post(office: Office, event: Corrected) -> None:
    """Memory is never ahead of the disk with money given back, nor behind it with money taken."""
    tree, delta = office.gate.tree, Amounts(usd=event.delta_nanos)
    if event.delta_nanos > 0:
        tree.adjust(event.windows, delta)
    try:
        await office.gate.journal.commit(event)
    except LedgerUnavailableError as error:
        if event.delta_nanos > 0:
            tree.adjust(event.windows, Amounts(usd=-event.delta_nanos))
        raise ledger_unavailable(f"The correction was not written and nothing has changed: {error}.") from error
    if event.delta_nanos < 0:
        tree.adjust(event.windows, delta)
