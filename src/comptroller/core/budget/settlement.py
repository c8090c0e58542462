"""How a hold ends: one table from how far the attempt got to how it is settled.

    phase reached            usage known   settled as
    -----------------------  ------------  -------------------------------------------------------
    held (nothing written)   -             voided
    refused (4xx, 429, 529)  -             voided, but the attempt counts as a call, to a model or a tool
    failed (other status)    no            presumed in full; voided if the provider bills no errors
    written, answering       yes           posted with the exact charge
    written, answering       no            presumed: what came plus the tail, at most the hold, no less than was told

An explicit usage of zero is known usage. "What came plus the tail" needs a provider whose abort stops
billing and a model whose billed output is all visible; otherwise the whole hold is presumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from comptroller.core.budget.hold import NOTHING, Amounts, HoldEnd

Phase = Literal["held", "refused", "failed", "written", "answering"]

VOIDED_STATUSES = frozenset({*range(400, 500), 529})

TABLE: Mapping[tuple[Phase, bool], HoldEnd] = {
    ("held", False): "voided",
    ("held", True): "voided",
    ("refused", False): "voided",
    ("refused", True): "voided",
    ("failed", False): "presumed",
    ("failed", True): "posted",
    ("written", False): "presumed",
    ("written", True): "posted",
    ("answering", False): "presumed",
    ("answering", True): "posted",
}


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """How a hold ends, and what is posted in its windows."""

    end: HoldEnd
    posted: Amounts


def settlement(
    phase: Phase,
    held: Amounts,
    *,
    exact: Amounts | None,
    seen: Amounts | None,
    told: Amounts = NOTHING,
    bills_errors: bool = True,
) -> Settlement:
    """Settle an attempt by the table.

    `exact`: the charge if usage is known. `seen`: what came plus the tail, if this provider and model allow
    that to be known. `told`: what the provider said to have billed so far, if anything.
    """
    end = TABLE[(phase, exact is not None)]
    if phase == "failed" and exact is None and not bills_errors:
        end = "voided"
    if end == "posted" and exact is not None:
        return Settlement(end, exact)
    if end == "presumed":
        return Settlement(end, (held if seen is None else seen.least(held)).most(told))
    if phase == "held":
        return Settlement("voided", NOTHING)
    return Settlement("voided", Amounts(calls=min(1, held.calls), tool_calls=min(1, held.tool_calls)))


def phase_of_status(status: int) -> Phase:
    """How far an attempt got when the provider answered with this status."""
    if 200 <= status < 300:
        return "answering"
    return "refused" if status in VOIDED_STATUSES else "failed"
