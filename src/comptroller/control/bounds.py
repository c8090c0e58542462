"""Bounds: which upper bounds were wrong, and reopening one that was stopped for it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import conflict, ledger_unavailable, not_found
from comptroller.control.reason import read_reason
from comptroller.core.budget.bounds import Bound
from comptroller.core.pricing.estimate import FACTOR_ONE_BP
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import BoundChanged


class BoundRow(msgspec.Struct, frozen=True):
    provider: str
    model: str
    dialect: str
    overruns: int
    factor: str  # what its holds are multiplied by
    quarantined: bool


def list_bounds(office: Office) -> Sequence[BoundRow]:
    """Every (provider, model, dialect) that was ever billed above its hold."""
    return [_row(bound) for _, bound in sorted(office.gate.bounds.items())]


async def resume(office: Office, provider: str, model: str, reason: str, actor: str) -> Sequence[BoundRow]:
    """Reopen a quarantined model on a provider, in every dialect. The raised factor stays."""
    words = read_reason(reason, "Say what was found out about the overruns.")
    known = {key: bound for key, bound in office.gate.bounds.items() if key[:2] == (provider, model)}
    if not known:
        raise not_found(f"Nothing is known against {provider}/{model}.", "`comptroller bounds` lists what is.")
    stopped = {key: bound for key, bound in known.items() if bound.quarantined}
    if not stopped:
        raise conflict(f"{provider}/{model} is not quarantined.", "`comptroller bounds` shows its standing.")
    return [await _reopen(office, bound, words, actor) for bound in stopped.values()]


async def _reopen(office: Office, bound: Bound, reason: str, actor: str) -> BoundRow:
    """On disk first: a right that a restart would take back was never given."""
    gate, resumed = office.gate, bound.resumed()
    event = BoundChanged(
        at_ns=gate.clock.now_ns(),
        actor=actor,
        reason=reason,
        provider=bound.provider,
        model=bound.model,
        dialect=bound.dialect,
        overruns=resumed.overruns,
        factor_bp=resumed.factor_bp,
        quarantined=resumed.quarantined,
        last_overrun_ns=resumed.last_overrun_ns,
    )
    try:
        await gate.journal.commit(event)
    except LedgerUnavailableError as error:
        raise ledger_unavailable(f"{bound.name} stays quarantined: {error}.") from error
    key = (bound.provider, bound.model, bound.dialect)
    # A call in flight may have overrun while we waited; its event came later, so its standing is the true one.
    if gate.bounds.get(key) is bound:
        gate.bounds[key] = resumed
    return _row(gate.bounds[key])


def _row(bound: Bound) -> BoundRow:
    factor = (Decimal(bound.factor_bp) / FACTOR_ONE_BP).quantize(Decimal("0.01"))
    return BoundRow(bound.provider, bound.model, bound.dialect, bound.overruns, str(factor), bound.quarantined)
