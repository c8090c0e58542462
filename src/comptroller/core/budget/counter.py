"""Counters: what is posted and held in one window of one budget."""

from __future__ import annotations

import msgspec

from comptroller.core.budget.budget import Budget
from comptroller.core.budget.hold import WindowKey
from comptroller.core.budget.window import Span


class Window(msgspec.Struct, gc=False):
    """One budget's counter for one instance and one span. Amounts in the budget's unit."""

    budget: Budget
    key: WindowKey
    span: Span
    posted: int = 0
    held: int = 0
    aside: int = 0  # of what is held: set aside for sessions (escrow.py)

    @property
    def remaining(self) -> int:
        """What may still be held; below zero after an overrun or a lowered limit."""
        return self.budget.limit - self.posted - self.held
