"""Amounts and instants as they are sent to the admin plane."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from comptroller.control.problem import invalid
from comptroller.core.instant import from_datetime
from comptroller.core.money import parse_usd

_FARTHEST_NS = 1 << 63  # from 1970, either way: the books count nanoseconds in 64 bits


def read_usd(text: str, field: str) -> int:
    """An amount, in nano-USD."""
    try:
        return parse_usd(text)
    except ValueError as error:
        raise invalid(f"{field}: {error}.") from error


def read_instant(text: str) -> int:
    """An RFC 3339 instant."""
    try:
        instant_ns = from_datetime(msgspec.convert(text, Annotated[datetime, msgspec.Meta(tz=True)]))
    except (msgspec.ValidationError, OverflowError) as error:
        raise invalid(f"{text!r} is not an instant.", "Write it as 2026-11-22T05:47:11Z.") from error
    if not -_FARTHEST_NS <= instant_ns < _FARTHEST_NS:
        raise invalid(f"{text} is too far from now to stand in the books.")
    return instant_ns
