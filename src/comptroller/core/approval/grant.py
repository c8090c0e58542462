"""Grants: what an approval gives. Bound in time, to whom it is for, and mostly in uses and in an amount.

A grant suspends what is marked `approval:ROLE`, or lifts budgets that the role owns, or both. It is for calls to models
or for those of a tool, so that its uses are calls of one kind. What calls spend by it is counted as a session's
spending is: held before, posted after, in a row of the ledger of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from comptroller.core.approval.ticket import GrantBound
from comptroller.core.budget.budget import Unit
from comptroller.core.budget.hold import Amounts
from comptroller.core.work.bounds import Bounds

PREFIX = "grt"
_COUNTED: frozenset[Unit] = frozenset({"calls", "tool_calls"})
GrantState = Literal["active", "used_up", "expired", "revoked"]

GRANT_STATES: Mapping[GrantState, str] = {
    "active": "calls that it is for may use it",
    "used_up": "its uses or its amount are spent",
    "expired": "its time is over",
    "revoked": "somebody took it back",
}
"""Out of `active` leads one way to each of the others, and none back. Calls in flight go on: they were held."""


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """One grant. `amount` is in nano-USD or a whole number, by `unit`."""

    id: str
    ticket: str | None = None  # None: nobody had asked
    role: str  # whose forbids it suspends, and whose budgets it lifts
    approver: str
    second: str | None = None  # where it took two
    bound: GrantBound
    value: str  # the id of the session or of the identity, or IDENTITY:TYPE:REFERENCE of the task
    suspends: bool = True  # all that is marked `approval:ROLE`
    budgets: tuple[str, ...] = ()  # that it lifts
    tool: str = ""  # whose calls it is for: a name, or a pattern with `*`; "": calls to models
    arguments_digest: str = ""  # of the one call that a ticket asked for
    amount: int | None = None  # None: none bounds it
    unit: Unit = "usd"
    uses: int | None = None  # None: any number
    given_at_ns: int
    expires_at_ns: int
    reason: str = ""
    revoked_at_ns: int | None = None
    revoked_by: str | None = None
    ended_at_ns: int | None = None  # on record: it is used up or expired

    @property
    def key(self) -> tuple[GrantBound, str]:
        return self.bound, self.value

    @property
    def name(self) -> str:
        """Whom it is for, in words."""
        return f"{self.bound} {self.value}"

    @property
    def bounds(self) -> Bounds:
        """Its uses and its amount, as those of a session are counted."""
        usd = self.amount if self.unit == "usd" else None
        tokens = self.amount if self.unit == "tokens" else None
        counted = self.amount if self.unit in _COUNTED else None
        calls = min((each for each in (self.uses, counted) if each is not None), default=None)
        if self.tool:
            return Bounds(usd_nanos=usd, tool_calls=calls)
        return Bounds(usd_nanos=usd, tokens=tokens, model_calls=calls)

    def is_for(self, tool: str, arguments_digest: str = "") -> bool:
        """Whether a call of this tool with these arguments may use it. No tool: a call to a model.

        One that a ticket asked for is for just that call: a name that a server chose is no pattern. What only lifts
        budgets, by money alone, is for models and tools: nobody counts calls by it.
        """
        if not self.tool:
            return not tool or (not self.suspends and self.uses is None and self.unit == "usd")
        if self.ticket is None:
            return bool(tool) and fnmatchcase(tool, self.tool)
        return tool == self.tool and bool(arguments_digest) and arguments_digest == self.arguments_digest

    def state(self, now_ns: int, spent: Amounts) -> GrantState:
        """What it is. `spent`: what was posted by it."""
        if self.revoked_at_ns is not None:
            return "revoked"
        if self.is_used_up(spent):
            return "used_up"
        over = self.ended_at_ns is not None or now_ns >= self.expires_at_ns
        return "expired" if over else "active"

    def is_used_up(self, spent: Amounts) -> bool:
        bounds = self.bounds
        limits = (
            (bounds.usd_nanos, spent.usd),
            (bounds.tokens, spent.tokens),
            (bounds.model_calls, spent.calls),
            (bounds.tool_calls, spent.tool_calls),
        )
        return any(limit is not None and amount >= limit for limit, amount in limits)
