"""A rate: how often, how many tokens at what pace, or how many at once. It is for a scope, as a budget is."""

from __future__ import annotations

import re
from hashlib import blake2s
from math import gcd
from typing import Literal, NamedTuple

import msgspec

from comptroller.core.budget.budget import Mode, Visibility
from comptroller.core.budget.scope import Attribute, Scope
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.problem import Fault, did_you_mean

Unit = Literal["calls", "tokens", "at_once"]

PERIODS_S = {"second": 1, "minute": 60, "hour": 3600}
MOST = 10**12
_LIMIT = re.compile(r"(\d+(?:_\d+)*) +(calls?|tokens?)(?:/([a-z]+)| +(at once))", re.ASCII)
_HINT = "Write '60 calls/minute', '10 calls/second', '100_000 tokens/minute' or '8 calls at once'."


class Pace(NamedTuple):
    """What a limit says: so many of a unit in so many seconds; of calls at once, 0 seconds."""

    limit: int
    unit: Unit
    period_s: int

    def __str__(self) -> str:
        what = "tokens" if self.unit == "tokens" else "calls"
        what = f"{self.limit:_} {what[:-1] if self.limit == 1 else what}"
        if self.unit == "at_once":
            return f"{what} at once"
        return f"{what}/{next(name for name, seconds in PERIODS_S.items() if seconds == self.period_s)}"


class Rate(msgspec.Struct, frozen=True, gc=False):
    """One limit. `burst` is how much of the unit may come at one instant, after a pause."""

    name: str
    scope: Scope
    pace: Pace
    burst: int  # of calls at once: the limit
    per: Attribute | None
    mode: Mode
    visible: Visibility
    wait_ms: int = 0  # how long a call waits for its turn, at most

    @property
    def unit(self) -> Unit:
        return self.pace.unit

    @property
    def key(self) -> str:
        """Names what is counted: it changes with scope, unit or per, and not with limit, burst or mode."""
        scope = sorted((attribute, sorted(values)) for attribute, values in self.scope.items())
        return f"{self.name}#{blake2s(repr((scope, self.unit, self.per)).encode(), digest_size=6).hexdigest()}"

    @property
    def steps(self) -> tuple[int, int]:
        """Time in whole steps: so many of them in a nanosecond, so many for one of the unit. Nothing is rounded."""
        period_ns = self.pace.period_s * NANOS_PER_SECOND
        common = gcd(self.pace.limit, period_ns)
        return self.pace.limit // common, period_ns // common


def default_burst(pace: Pace) -> int:
    """What the limit allows in one second, at least one call; of tokens, and of calls at once, all of it."""
    return max(1, pace.limit // pace.period_s) if pace.unit == "calls" else pace.limit


def parse_pace(raw: object) -> Pace:
    """`60 calls/minute`, `100_000 tokens/minute`, `8 calls at once`. Raises Fault."""
    match = _LIMIT.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None or len(match.group(1)) > 40:
        raise Fault(f"{raw!r} is not a rate.", _HINT)
    digits, unit, period, at_once = match.groups()
    limit = int(digits)
    if not 0 < limit <= MOST:
        hint = "To let nothing through, write a policy that forbids it." if limit == 0 else ""
        raise Fault(f"{digits} is not between 1 and {MOST:_}.", hint)
    if at_once is not None:
        if not unit.startswith("call"):
            raise Fault("Only calls can be counted at once.", _HINT)
        return Pace(limit, "at_once", 0)
    if period not in PERIODS_S:
        raise Fault(f"{period!r} is not a period of a rate.", did_you_mean(period or "", PERIODS_S) or _HINT)
    return Pace(limit, "calls" if unit.startswith("call") else "tokens", PERIODS_S[period])
