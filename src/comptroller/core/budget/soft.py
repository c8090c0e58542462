"""Soft steps: what a budget does on the way to its limit, each at a share of it.

Written `"50% notify"`, `"80% route:small"`, `"90% approval:finops"`. Shares are in basis points (hundredths of a
percent) of the limit. A step that is passed refuses nothing by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Literal, get_args

import msgspec

from comptroller.core.problem import Fault, nearest

Act = Literal["notify", "route", "approval"]
ACTS: tuple[Act, ...] = get_args(Act)

MOST_STEPS = 20
_WHOLE_BP = 10_000
_HINT = 'Write "50% notify", "80% route:MODEL_OR_CLASS" or "90% approval:ROLE".'
_WRITTEN = re.compile(r"(\S+)% +([A-Za-z_]+)(?::(\S+))?", re.ASCII)
_SHARE = re.compile(r"\d{1,3}(?:\.\d{1,2})?", re.ASCII)
_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+~-]{0,199}", re.ASCII)
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}", re.ASCII)


class Soft(msgspec.Struct, frozen=True, gc=False, order=True):
    """One step: what happens from `at_bp` of the limit on."""

    at_bp: int
    act: Act
    value: str = ""  # the model or class to route to, or the role that has to approve; empty for notify

    @property
    def share(self) -> str:
        """Where it stands, as a person reads it: `80%`, `99.5%`."""
        return f"{(Decimal(self.at_bp) / 100).normalize():f}%"

    def __str__(self) -> str:
        return f"{self.share} {self.act}{':' if self.value else ''}{self.value}"


def used_bp(used: int, limit: int) -> int:
    """How much of a limit is used, in basis points, rounded down; of a limit of zero, all."""
    return used * _WHOLE_BP // limit if limit else _WHOLE_BP


def parse_soft(written: str) -> Soft:
    """A step as it stands in a registry. Raises Fault."""
    match = _WRITTEN.fullmatch(written.strip())
    if match is None:
        raise Fault(f"{written!r} is not a step of a budget.", _HINT)
    share, act, value = match.group(1), match.group(2), match.group(3)
    at_bp = int(Decimal(share) * 100) if _SHARE.fullmatch(share) else 0
    if not 0 < at_bp <= _WHOLE_BP:
        raise Fault(f"'{share}%' is not a share of a limit.", "Write more than 0% and at most 100%, such as '80%'.")
    match act:
        case "notify" if value is None:
            return Soft(at_bp, "notify")
        case "notify":
            raise Fault(f"{written!r} names whom to notify.", "Who is told, [[notify]] in comptroller.toml says.")
        case "route":
            return Soft(at_bp, "route", _word(value, _TARGET, "the name of a model or of a class"))
        case "approval":
            return Soft(at_bp, "approval", _word(value, _ROLE, "the name of a role"))
        case _:
            raise Fault(f"A budget cannot {act!r}.", nearest(act, ACTS) or _HINT)


def in_order(written: Sequence[str]) -> tuple[Soft, ...]:
    """The steps of one budget from the lowest share up. Raises Fault."""
    if len(written) > MOST_STEPS:
        raise Fault(f"A budget has at most {MOST_STEPS} steps, not {len(written)}.")
    steps = sorted(parse_soft(each) for each in written)
    twice = next((step for step, after in pairwise(steps) if step == after), None)
    if twice is not None:
        raise Fault(f"{str(twice)!r} is named twice.")
    return tuple(steps)


def _word(value: str | None, form: re.Pattern[str], what: str) -> str:
    if value is None or form.fullmatch(value) is None:
        raise Fault(f"{value or ''!r} is not {what}.", _HINT)
    return value
