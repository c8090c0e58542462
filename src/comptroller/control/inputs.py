"""What open sessions have sent before: context caps go on counting where the books stand."""

from __future__ import annotations

from comptroller.control.interfaces import Ledger
from comptroller.flow.gate import Gate


async def count_inputs(gate: Gate, ledger: Ledger) -> None:
    """Add what was billed in each open session; calls that were under way without a context cap are left out."""
    await ledger.fold()
    for session_id, tokens in (await ledger.sent_tokens(sorted(gate.sessions))).items():
        gate.inputs.begin(session_id, tokens)
