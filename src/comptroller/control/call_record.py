"""What the books say about one call, and about each attempt of one that had several."""

from __future__ import annotations

from typing import Literal

import msgspec

from comptroller.core.budget.hold import Amounts, HoldEnd, WindowKey
from comptroller.core.pricing.deferral import Deferral
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.core.tool.called import CalledTool
from comptroller.flow.records import CallFacts, ToolsOffered

CallState = Literal["open", "posted", "presumed", "voided", "refused"]


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One settled attempt of a call that had several."""

    provider: str | None
    model: str | None
    model_class: str | None
    end: HoldEnd
    outcome: str
    detail: str
    status: int | None
    held_nanos: int
    charge: Amounts  # what is posted for it now, corrections included
    settled_at_ns: int
    first_byte_ns: int | None
    duration_ns: int | None
    windows: tuple[WindowKey, ...]
    corrected: int  # how many times

    @property
    def presumed(self) -> bool:
        """True while the charge is a bound that nobody has confirmed."""
        return self.end == "presumed" and not self.corrected


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that the books say about one call. What a refused or open call does not have is None.

    Provider, outcome and times are those of its last attempt, the charge is that of all of them.
    """

    facts: CallFacts
    state: CallState
    refusal: Refusal | None = None
    attempts: int = 0
    held: Amounts | None = None
    input_tokens_bound: int | None = None
    output_limit: int | None = None
    asked_output_limit: int | None = None
    choices: int | None = None
    factor_bp: int | None = None
    shadowed: tuple[str, ...] = ()
    settled_at_ns: int | None = None
    outcome: str | None = None
    detail: str | None = None
    status: int | None = None
    charge: Amounts | None = None  # what is posted now, corrections included
    usage: Usage | None = None
    served_model: str | None = None
    service_tier: str | None = None
    priced: bool = True
    overrun: bool = False
    first_byte_ns: int | None = None
    duration_ns: int | None = None
    windows: tuple[WindowKey, ...] = ()  # that it was settled in; of an open call, that it is held in
    corrected: int = 0  # how many times
    original_charge_nanos: int | None = None  # before the first correction
    counterfactual_nanos: int | None = None  # of a routed one: its usage on the model it would have gone to unrouted
    tools: ToolsOffered | None = None  # what its request offers the model; read for one call alone, and not for lists
    called: tuple[CalledTool, ...] = ()  # the tools that the answer calls
    tried: tuple[AttemptRecord, ...] = ()  # all that are settled, in order, of a call that had several
    deferral: Deferral | None = None  # of an open one: what its charge waits for
