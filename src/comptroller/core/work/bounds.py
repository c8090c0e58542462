"""What bounds a session: how much it may spend, how long it may run, how deep and how wide it may delegate.

A session gets the bounds of its identity's kind; a profile stands over the kind, and both over what is shipped. What
is asked for at the opening only narrows that.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import asdict, astuple

from comptroller.core.instant import format_duration
from comptroller.core.money import NANOS_PER_USD, format_usd

_HOUR_S = 3600
LONGEST_SESSION_S = 366 * 24 * _HOUR_S
"""Where a session without a wall-clock bound ends all the same."""
DEEPEST = 16
"""Generations that no bound goes beyond: a call is counted for every one of its ancestors."""


class Bounds(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The bounds of one session. None: unbounded."""

    usd_nanos: int | None = None
    tokens: int | None = None
    thinking_tokens: int | None = None  # as the provider reports them
    model_calls: int | None = None
    tool_calls: int | None = None
    wall_clock_s: int | None = None  # from its opening
    idle_s: int | None = None  # without a call in flight
    depth: int | None = None  # generations of sessions below it
    fan_out: int | None = None  # children that are open at once


UNBOUNDED = Bounds()
NAMES: tuple[str, ...] = Bounds.__struct_fields__

_ALONE = Bounds(  # of what acts with nobody watching
    usd_nanos=50 * NANOS_PER_USD,
    model_calls=10_000,
    wall_clock_s=8 * _HOUR_S,
    idle_s=2 * _HOUR_S,
    depth=3,
    fan_out=10,
)
SHIPPED: Mapping[str, Bounds] = {
    "agent": _ALONE,
    "tool": _ALONE,
    "service": Bounds(
        usd_nanos=500 * NANOS_PER_USD,
        model_calls=1_000_000,
        wall_clock_s=24 * _HOUR_S,
        idle_s=24 * _HOUR_S,
        depth=3,
        fan_out=10,
    ),
    "human": Bounds(
        usd_nanos=100 * NANOS_PER_USD,
        model_calls=20_000,
        wall_clock_s=24 * _HOUR_S,
        idle_s=12 * _HOUR_S,
        depth=3,
        fan_out=10,
    ),
}
"""What is in force where the registry says nothing, by the kind of identity: stricter for what acts alone."""

SHIPPED_SESSIONS: Mapping[str, int | None] = {"agent": 1_000, "tool": 1_000, "service": 10_000, "human": 100}
"""How many sessions at the top of a run an identity may have open at once, where the registry says nothing."""


def narrowed(wide: Bounds, asked: Bounds) -> Bounds:
    """The smaller of the two in each bound."""
    return Bounds(*(_least(one, other) for one, other in zip(astuple(wide), astuple(asked), strict=True)))


def widened(ceiling: Bounds, asked: Bounds) -> tuple[str, ...]:
    """The names of bounds that ask for more than the ceiling has."""
    most, wanted = asdict(ceiling), asdict(asked)
    return tuple(
        name for name in NAMES if most[name] is not None and wanted[name] is not None and wanted[name] > most[name]
    )


def say_widened(ceiling: Bounds, asked: Bounds, whose: str) -> str | None:
    """What asks for more than the ceiling has, with both amounts; None if nothing does. `whose` the ceiling is."""
    most, wanted = asdict(ceiling), asdict(asked)
    beyond = [
        f"{_said_name(name)} {_say(name, wanted[name])} is more than the {_say(name, most[name])}"
        for name in widened(ceiling, asked)
    ]
    return f"{' and '.join(beyond)} of {whose}" if beyond else None


def _said_name(name: str) -> str:
    return "usd" if name == "usd_nanos" else name.removesuffix("_s")


def _say(name: str, value: int) -> str:
    if name == "usd_nanos":
        return format_usd(value)
    return format_duration(value) if name.endswith("_s") else str(value)


def changed(before: Bounds, asked: Bounds) -> Bounds:
    """These bounds with those that are asked for in their place."""
    return Bounds(*(new if new is not None else old for old, new in zip(astuple(before), astuple(asked), strict=True)))


def _least(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
