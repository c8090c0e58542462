"""A budget: a limit on a scope, in a unit, over a window."""

from __future__ import annotations

from hashlib import blake2s
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from comptroller.core.budget.scope import Attribute, Scope
from comptroller.core.budget.soft import Soft
from comptroller.core.budget.window import WindowKind
from comptroller.core.money import format_usd

Unit = Literal["usd", "tokens", "calls", "thinking_tokens", "tool_calls", "result_bytes"]
"""`calls` are calls to models. Thinking tokens are counted for the bounds of sessions alone."""
MODEL_UNITS: frozenset[Unit] = frozenset({"usd", "tokens", "calls", "thinking_tokens"})
"""What a call to a model is counted in: windows in other units have no say about it."""
TOOL_UNITS: frozenset[Unit] = frozenset({"usd", "tool_calls", "result_bytes"})
"""The same of a call to a tool."""
Mode = Literal["hard", "shadow"]
Visibility = Literal["caller", "operator"]


class Budget(msgspec.Struct, frozen=True, gc=False):
    """One limit. `limit` is in nano-USD or a whole number, by `unit`."""

    name: str
    scope: Scope
    unit: Unit
    limit: int
    window: WindowKind
    time_zone: str
    per: Attribute | None
    mode: Mode
    visible: Visibility
    soft: tuple[Soft, ...] = ()  # lowest share first
    owner_role: str | None = None  # only a grant of this role lifts it; None: none does

    @property
    def key(self) -> str:
        """Names what is counted: it changes when scope, unit, window or per change, not with limit, mode or soft."""
        scope = sorted((attribute, sorted(values)) for attribute, values in self.scope.items())
        counted = (scope, self.unit, self.window, self.time_zone, self.per)
        return f"{self.name}#{blake2s(repr(counted).encode(), digest_size=6).hexdigest()}"

    def share_of(self, step: Soft) -> str:
        """Where a soft step stands, as a caller is told of it: how much is used is an amount, too."""
        return step.share if self.visible == "caller" else "a share"

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


def label(name: str, instance: str) -> str:
    """How a person reads a budget: its name, with the instance where it has one for each value."""
    return f"{name}[{instance}]" if instance else name


def format_amount(amount: int, unit: Unit) -> str:
    """An amount in its unit without the unit's name: decimal USD, or a whole number."""
    return format_usd(amount) if unit == "usd" else str(amount)


def say_amount(amount: int, unit: Unit) -> str:
    """An amount as a person reads it: `1.25 USD`, `3000 tokens`."""
    words = "USD" if unit == "usd" else unit.replace("_", " ")
    return f"{format_amount(amount, unit)} {words.removesuffix('s') if amount == 1 else words}"
