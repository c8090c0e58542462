"""What the books say of routed calls, and of calls to models above the floor of their task type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from comptroller.control.call_record import CallRecord

SavingsDimension = Literal["task_type", "identity", "team", "route", "model"]


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """Routed calls that have ended, by something that they have in common."""

    key: str | None  # None: calls that have none
    calls: int  # of which it is known what they would have cost unrouted
    charge_nanos: int
    counterfactual_nanos: int
    unknown_calls: int  # of which it is not: presumed, or without a price
    unknown_nanos: int  # what those were charged


class AboveFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls above the floors of their task types are looked at."""

    classes: Mapping[str, Sequence[str]]  # those above the floor, by task type
    since_ns: int
    until_ns: int
    before: tuple[int, str] | None  # the instant and id of a call: only those before it
    limit: int  # the newest


class Above(msgspec.Struct, frozen=True):
    """A call to a model above the floor of its task type."""

    task_type: str
    record: CallRecord


class SavingsBooks(Protocol):
    """A part of the ledger."""

    async def savings(self, by: SavingsDimension, since_ns: int, until_ns: int) -> Sequence[Saving]:
        """Of calls made in [since_ns, until_ns): those that saved the most first."""
        ...

    async def calls_above(self, wanted: AboveFilter) -> Sequence[Above]:
        """Newest first, exactly charged ones of one attempt only."""
        ...
