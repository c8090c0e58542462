"""What open sessions have sent before: context caps go on counting where the books stand."""

from __future__ import annotations

from comptroller.control.interfaces import Ledger
from comptroller.flow.fault import fault_facts
from comptroller.flow.gate import Gate
from comptroller.flow.journal import LedgerUnavailableError


async def count_inputs(gate: Gate, ledger: Ledger) -> None:
    """Add what was billed in each open session; calls that were under way without a context cap are left out."""
    await ledger.fold()
    for session_id, tokens in (await ledger.sent_tokens(sorted(gate.sessions))).items():
        gate.inputs.begin(session_id, tokens)


async def count_inputs_if_readable(gate: Gate, ledger: Ledger) -> None:
    """The same where the caps are in force already: if the books cannot be read, that is only said."""
    try:
        await count_inputs(gate, ledger)
    except Exception as error:  # noqa: BLE001 - whatever it is, the registry is in force
        known = {"message": str(error)} if isinstance(error, LedgerUnavailableError) else {}
        gate.warn("inputs_uncounted", {**fault_facts(error), **known})
