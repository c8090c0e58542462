"""Correct: the true charge of a call, once a person knows it. An adjusting row, never an edit."""

from __future__ import annotations

import msgspec

from comptroller.control.call_record import CallRecord
from comptroller.control.calls import find_call
from comptroller.control.office import Office
from comptroller.control.problem import conflict, invalid, ledger_unavailable, not_found
from comptroller.control.reason import read_reason
from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.budget.scope import instances
from comptroller.core.budget.window import span_at
from comptroller.core.ids import attempt_id
from comptroller.core.money import NANOS_PER_USD, format_usd
from comptroller.flow.chain import recorded
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import CallFacts, Corrected

MOST_CHARGE_USD = 1_000_000  # for one call: what the books add up stays well inside 64 bits


class Correction(msgspec.Struct, frozen=True):
    """What a correction did."""

    id: str
    charge_before_usd: str
    charge_usd: str
    delta_usd: str
    reason: str
    actor: str


class _Found(msgspec.Struct, frozen=True):
    """Whose charge is corrected: a call's, or that of one of its attempts."""

    record: CallRecord
    facts: CallFacts
    charge_nanos: int
    windows: tuple[WindowKey, ...]
    number: int | None = None


async def correct(office: Office, call_id: str, charge_nanos: int, reason: str, actor: str) -> Correction:
    """Post the difference in every window that counts the call; durable when this returns."""
    if charge_nanos < 0:
        raise invalid("A charge cannot be below zero.", "Give what the provider billed in the end, such as 0.0123.")
    if charge_nanos > MOST_CHARGE_USD * NANOS_PER_USD:
        raise invalid(f"A charge above {MOST_CHARGE_USD:_} USD for one call is not believed.", "Is the point in place?")
    words = read_reason(reason, "Name its source, such as the line of the provider's invoice.")
    async with office.changing:
        await _catch_up(office)
        found = await _find(office, call_id)
        before = found.charge_nanos
        event = Corrected(
            call_id=found.record.facts.call_id,
            at_ns=office.gate.clock.now_ns(),
            actor=actor,
            reason=words,
            delta_nanos=charge_nanos - before,
            charge_nanos=_charge_of(found.record) + charge_nanos - before,
            windows=await _counted_in(office, found),
            attempt=found.number,
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


async def _find(office: Office, named: str) -> _Found:
    """The call of this id, or its attempt: CALL.2 is the second one."""
    call_id, _, number = named.rpartition(".")
    if not call_id or not number.isdecimal():
        call_id, number = named, ""
    record = await find_call(office, call_id)
    charge_nanos = _charge_of(record)
    if record.tried:
        return _attempt_of(record, int(number) if number else _the_one_charged(record))
    if number not in {"", "1"}:
        raise not_found(f"The call {call_id} had one attempt.", f"Name the call: {call_id}.")
    return _Found(record, record.facts, charge_nanos, record.windows)


def _attempt_of(record: CallRecord, number: int) -> _Found:
    if not 1 <= number <= len(record.tried):
        raise not_found(f"The call {record.facts.call_id} had {len(record.tried)} attempts.", "They count from 1.")
    one = record.tried[number - 1]
    tried = {"provider": one.provider, "model": one.model, "model_class": one.model_class}
    facts = msgspec.structs.replace(record.facts, **tried)
    return _Found(record, facts, one.charge.usd, one.windows, number)


def _the_one_charged(record: CallRecord) -> int:
    """The number of the attempt that the charge of a call is for, where there is no doubt."""
    charged = [number for number, each in enumerate(record.tried, 1) if each.charge.usd or each.presumed]
    if len(charged) > 1:
        call_id, tried = record.facts.call_id, record.tried
        each = (f"{attempt_id(call_id, number)} ({tried[number - 1].provider})" for number in charged)
        raise conflict(
            f"The call {call_id} was charged for {len(charged)} attempts.",
            f"Say which one was billed otherwise: {' or '.join(each)}.",
        )
    return charged[0] if charged else len(record.tried)


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
    if record.charge is None or record.state == "open":
        raise conflict(
            f"The call {call_id} is still in flight; its charge is not known yet.",
            "Correct it once it is settled: `comptroller calls` shows its outcome then.",
        )
    return record.charge.usd


async def _counted_in(office: Office, found: _Found) -> tuple[WindowKey, ...]:
    """The windows that the charge is part of: those it was settled in, and those that began with it.

    A budget that came after the call has no part in its settlement, but its window began with what was
    already spent (opening.py), this call included.
    """
    facts = found.facts
    drawn = {key.budget for key in found.windows}
    later = [budget for budget in office.gate.registry.budgets if budget.key not in drawn]
    seen = recorded(facts, await office.ledger.lineage(facts.session))
    began = [
        WindowKey(budget.key, instance, span_at(budget.window, budget.zone, facts.at_ns).start_ns)
        for budget in later
        for instance in instances(budget.per, budget.scope, seen)
    ]
    known = await office.ledger.instance_balances([key.budget for key in began], list({key.instance for key in began}))
    return (*found.windows, *(key for key in began if key in known))


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
