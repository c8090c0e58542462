"""What open sessions have sent before: context caps go on counting where the books stand."""

from __future__ import annotations

from comptroller.control.interfaces import Ledger
from comptroller.flow.fault import fault_facts
from comptroller.flow.gate import Gate
from comptroller.flow.journal import LedgerUnavailableError


async def count_inputs(gate: Gate, ledger: Ledger) -> None:
    """Count what was billed in each open session; calls that were under way without a context cap are left out.

    The books are read as of now, and calls that end while they are read are counted by the gate alone.
    """
    known, until_ns = gate.inputs.ended(sorted(gate.sessions)), gate.clock.now_ns()
    await ledger.fold()
    sent = await ledger.sent_tokens(list(known), until_ns)
    for session_id, counted in known.items():
        gate.inputs.begin(session_id, sent.get(session_id, 0), counted)


async def count_inputs_if_readable(gate: Gate, ledger: Ledger) -> None:
    """The same where the caps are in force already: if the books cannot be read, that is only said."""
    try:
        await count_inputs(gate, ledger)
    except Exception as error:  # noqa: BLE001 - whatever it is, the registry is in force
        known = {"message": str(error)} if isinstance(error, LedgerUnavailableError) else {}
        gate.warn("inputs_uncounted", {**fault_facts(error), **known})
