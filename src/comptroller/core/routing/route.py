"""Routes: which calls are sent to another model than the one that was asked for, and when: a pure rule.

A route is for the calls of a scope, from some models or from any. Its conditions look at what a call is before it is
sent: what is left of the tightest budget that it draws on, and the upper bound of its input.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from comptroller.core.budget.scope import Facts, Scope, nodes_in_scope

RouteMode = Literal["hard", "shadow"]

BACK_BP = 500  # a session that was routed for want of budget goes back once so much more of it is left again


class Conditions(msgspec.Struct, frozen=True, gc=False):
    """When a route applies: every condition that is there must hold; without one, always."""

    budget_below_bp: int | None = None  # hundredths of a percent of its limit are left of the tightest hard budget
    input_tokens_over: int | None = None  # of the upper bound
    input_tokens_under: int | None = None

    def hold(self, left_bp: int, input_tokens: int, *, kept: bool = False) -> bool:
        """`kept`: the route took the last call of this session, so it lets go of it later (BACK_BP)."""
        if self.budget_below_bp is not None and left_bp >= self.budget_below_bp + (BACK_BP if kept else 0):
            return False
        if self.input_tokens_over is not None and input_tokens <= self.input_tokens_over:
            return False
        return self.input_tokens_under is None or input_tokens < self.input_tokens_under

    def why(self) -> str:
        """Why the route applies, in a few words that say no amount: callers read them, too."""
        words: list[str] = []
        if self.budget_below_bp is not None:
            words.append(f"less than {self.budget_below_bp // 100}% of a budget left")
        if self.input_tokens_over is not None:
            words.append(f"over {self.input_tokens_over} input tokens")
        if self.input_tokens_under is not None:
            words.append(f"under {self.input_tokens_under} input tokens")
        return ", ".join(words)


class Route(msgspec.Struct, frozen=True, gc=False):
    """One [[routes]] entry."""

    name: str
    to: str  # a model, an alias or a class
    scope: Scope
    sources: tuple[str, ...] | None = None  # models and classes; None: any
    when: Conditions = Conditions()
    mode: RouteMode = "hard"

    def is_for(self, model: str, model_class: str | None, facts: Facts) -> bool:
        """Whether it is for calls to this model by this chain, whatever its conditions say."""
        if self.sources is not None and model not in self.sources and model_class not in self.sources:
            return False
        return bool(nodes_in_scope(self.scope, facts))
