"""The life of a hold, as a table.

A hold is open from the moment it is taken until it ends once: it is *posted* with what was billed,
*presumed* (posted with a bound, because nobody knows what was billed), or *voided*. A posted or presumed
hold may be corrected later; that is a new row, never an edit. After TigerBeetle's two-phase transfers.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import sub
from typing import Literal

import msgspec
from msgspec.structs import astuple

from comptroller.core.budget.budget import Unit

HoldState = Literal["open", "posted", "presumed", "voided"]
HoldEnd = Literal["posted", "presumed", "voided"]

TRANSITIONS: Mapping[HoldState, tuple[HoldState, ...]] = {
    "open": ("posted", "presumed", "voided"),
    "posted": (),
    "presumed": (),
    "voided": (),
}


EVERY = "\x7f"
"""The instance whose window is a part of every instance's: what was presumed for all of them after a restore.
Not printable, so that nobody can be called so."""


class Amounts(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """An amount in each unit: nano-USD, tokens, model calls, thinking tokens, tool calls, bytes of
    their results, in the order of `Unit`.
    """

    usd: int = 0
    tokens: int = 0
    calls: int = 0
    thinking_tokens: int = 0
    tool_calls: int = 0
    result_bytes: int = 0

    def of(self, unit: Unit) -> int:
        if unit == "usd":
            return self.usd
        if unit == "tokens":
            return self.tokens
        amount: int = getattr(self, unit)
        return amount

    def plus(self, other: Amounts) -> Amounts:
        return Amounts(
            self.usd + other.usd,
            self.tokens + other.tokens,
            self.calls + other.calls,
            self.thinking_tokens + other.thinking_tokens,
            self.tool_calls + other.tool_calls,
            self.result_bytes + other.result_bytes,
        )

    def less(self, other: Amounts) -> Amounts:
        return Amounts(*map(sub, astuple(self), astuple(other)))

    def least(self, other: Amounts) -> Amounts:
        """The smaller of the two in each unit."""
        return Amounts(*map(min, astuple(self), astuple(other)))

    def most(self, other: Amounts) -> Amounts:
        """The larger of the two in each unit."""
        return Amounts(*map(max, astuple(self), astuple(other)))

    def exceeds(self, other: Amounts) -> bool:
        """True if any unit is above the other's: the bound was wrong."""
        return (
            self.usd > other.usd
            or self.tokens > other.tokens
            or self.calls > other.calls
            or self.thinking_tokens > other.thinking_tokens
            or self.tool_calls > other.tool_calls
            or self.result_bytes > other.result_bytes
        )


NOTHING = Amounts()


def in_unit(amount: int, unit: Unit) -> Amounts:
    """An amount in one unit, nothing in the others."""
    return Amounts(**{unit: amount})


class WindowKey(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One row of the ledger: a budget's key, its instance, and the start of the window."""

    budget: str
    instance: str
    start_ns: int
