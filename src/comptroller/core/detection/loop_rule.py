"""A loop rule: when the steps of a session count as a loop, and what is done about it. One [[loops]] entry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import msgspec

from comptroller.core.budget.scope import Attribute, Facts, Scope, nodes_in_scope

LoopMode = Literal["hard", "shadow", "off"]
Signal = Literal["same_step", "similar_step", "same_error", "error_replan", "ping_pong", "rising_cost"]
SIGNALS: tuple[Signal, ...] = get_args(Signal)

SCOPED_BY: tuple[Attribute, ...] = (
    "organization", "environment", "kind", "team", "owner", "profile", "identity",
    "tenant", "workflow", "task_type", "subject", "task", "session",
)  # fmt: skip
"""What a scope may name, the widest first: whoever acts. Which model would serve the call is not asked."""


class LoopRule(msgspec.Struct, frozen=True, gc=False):
    """The thresholds of every signal (None: off), and the steps of the answer, in calls beyond a threshold."""

    name: str
    scope: Scope
    mode: LoopMode = "hard"
    same_step: int | None = 5  # equal steps among the last 20, with nothing new between them
    similar_step: int | None = None  # the same of near matches: what one template makes is such a match, too
    same_error: int | None = 3  # of the same tool with the same arguments; refused at once
    error_replan: int | None = 5  # errors in a row of plans that are nearly the same
    ping_pong: int | None = 4  # exchanges of two identities that say the same again
    rising_cost: int | None = 12  # turns that cost more each time and bring no more
    warn_only: tuple[Signal, ...] = ("similar_step", "rising_cost")  # never slowed, refused or quarantined for
    slow_after: int | None = 1  # None: not slowed
    slow_ms: int = 1_000
    refuse_after: int | None = 2  # None: never refused
    quarantine_after: int | None = 10  # refused tries; None: never

    @property
    def looks_wide(self) -> bool:
        """Whether near matches are of use to any signal: they cost a wider mask of every text."""
        signals = (self.similar_step, self.error_replan, self.ping_pong, self.rising_cost)
        return any(each is not None for each in signals)


UNSAID = LoopRule("loops", {}, "shadow", error_replan=None, ping_pong=None, rising_cost=None)
"""What holds where the registry says nothing: only what costs next to nothing, and one finding for each session."""


def rule_for(rules: Iterable[LoopRule], facts: Facts) -> LoopRule:
    """The one rule that is for a caller: of all whose scope matches the one that names most narrowly."""
    matching = [rule for rule in rules if nodes_in_scope(rule.scope, facts)]
    return max(matching, key=_narrowness, default=UNSAID)


def _narrowness(rule: LoopRule) -> tuple[list[int], str]:
    return sorted((SCOPED_BY.index(each) for each in rule.scope), reverse=True), rule.name
