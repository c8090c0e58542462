"""One thing that was looked at: how it is, why that matters, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

State = Literal["ok", "warn", "fail"]


class Check(msgspec.Struct, frozen=True):
    """`fail`: calls are refused, money or records are at risk, or the next start fails. `warn`: it may come to that."""

    name: str  # area.thing, stable
    state: State
    sentence: str
    hint: str = ""  # what to do; empty where it is ok


def ok(name: str, sentence: str) -> Check:
    return Check(name, "ok", sentence)


def warn(name: str, sentence: str, hint: str) -> Check:
    return Check(name, "warn", sentence, hint)


def fail(name: str, sentence: str, hint: str) -> Check:
    return Check(name, "fail", sentence, hint)


def count(checks: Iterable[Check], state: State) -> int:
    """How many came out like this."""
    return sum(check.state == state for check in checks)


def say_bytes(size: int) -> str:
    """A size as a person reads it."""
    return f"{size / 1_073_741_824:.1f} GiB" if size >= 1_073_741_824 else f"{size / 1_048_576:.1f} MiB"
