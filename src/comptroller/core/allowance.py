"""What a caller may still do: limits as they stand now, in the one form in which answers and refusals show them."""

from __future__ import annotations

from typing import Literal

import msgspec

LimitKind = Literal["budget", "session", "rate"]


class Limit(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One limit that binds a caller. Amounts are decimal strings in `unit`, and left out where it may not see them."""

    kind: LimitKind
    name: str
    unit: str  # usd, tokens, calls, thinking_tokens, tool_calls; of a rate such as calls/minute, or calls at once
    instance: str = ""  # which of several windows, of a budget `per` something
    window: str | None = None  # hour, day, week, month, lifetime
    mode: str = "hard"  # or shadow: it refuses nothing
    limit: str | None = None
    used: str | None = None
    held: str | None = None  # by calls in flight, and set aside
    remaining: str | None = None  # 0, where more was used than there was
    resets_at: str | None = None  # RFC 3339; of a rate, when all of its burst is there again
    burst: str | None = None  # of a rate: what may come at one instant, of which `remaining` is left
