"""Lists of what is a caller's: free, and from our records alone. Nothing is held, sent or recorded for one."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import Kind, StoredObject
from comptroller.flow.decide import standing
from comptroller.flow.gate import Gate
from comptroller.flow.identify import identify
from comptroller.flow.objects import listed


def own_objects(gate: Gate, api: str, credentials: Sequence[str], kind: Kind) -> list[StoredObject] | Refusal:
    """All of a kind that was made through this family of APIs and that the caller may use, the oldest first."""
    caller = identify(gate, credentials)
    if isinstance(caller, Refusal):
        return caller
    return standing(gate, caller) or listed(gate, caller, kind, api)
