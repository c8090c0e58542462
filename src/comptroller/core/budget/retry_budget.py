"""Retry budgets: how many of an identity's calls may be retries (a pure rule; the form is that of Finagle's).

So many a minute, and a share of all other calls besides. What may be sent at once is saved up while nothing is sent.
"""

from __future__ import annotations

import msgspec

from comptroller.core.budget.budget import Mode
from comptroller.core.budget.scope import Attribute, Scope
from comptroller.core.instant import NANOS_PER_SECOND

SAVED_MOST = 10  # retries that the share saves up, besides those of a minute

_MINUTE_NS = 60 * NANOS_PER_SECOND
_WHOLE_BP = 10_000
RETRY = _MINUTE_NS * _WHOLE_BP
"""One retry, in the unit in which what is left is counted: so that neither a minute's part nor a share is rounded."""


class RetryRule(msgspec.Struct, frozen=True):
    """How many retries those in a scope may send: a [[retries]] entry, or the shipped rule."""

    name: str
    scope: Scope
    share_bp: int  # of the calls that are no retries, in basis points
    per_minute: int  # whatever the share comes to
    per: Attribute = "identity"
    mode: Mode = "hard"

    @property
    def most(self) -> int:
        """What can be saved up, in `RETRY`s."""
        return (self.per_minute + (SAVED_MOST if self.share_bp else 0)) * RETRY


SHIPPED = RetryRule("shipped", {}, share_bp=1_000, per_minute=60)
"""For calls that no entry is for: 10%, the usual measure (Google, "Site Reliability Engineering", chapter 21)."""


class RetryBudget:
    """What one instance of a rule may still send again. Full at first: so much may fail before anything is noticed."""

    __slots__ = ("_at_ns", "_left", "rule")

    def __init__(self, rule: RetryRule, now_ns: int) -> None:
        self.rule = rule
        self._left = rule.most
        self._at_ns = now_ns

    def left(self, now_ns: int) -> int:
        """What is left, in the unit of `RETRY`. Changes nothing."""
        earned = max(0, now_ns - self._at_ns) * self.rule.per_minute * _WHOLE_BP
        return min(self.rule.most, self._left + earned)

    def wait_ns(self, now_ns: int) -> int | None:
        """How long until a retry may go out by time alone; None: only further calls earn one."""
        short = RETRY - self.left(now_ns)
        if short <= 0:
            return 0
        if not self.rule.per_minute:
            return None
        return -(-short // (self.rule.per_minute * _WHOLE_BP))

    def called(self, now_ns: int, *, retry: bool) -> None:
        """A call goes out. A retry is paid for, as far as there is something; any other earns a share of one."""
        change = -RETRY if retry else self.rule.share_bp * _MINUTE_NS
        self._left = max(0, min(self.rule.most, self.left(now_ns) + change))
        self._at_ns = max(now_ns, self._at_ns)
