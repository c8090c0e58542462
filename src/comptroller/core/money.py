"""Money: whole nano-USD, one rounding, one way to read and write it.

An amount is an `int` of nano-USD (10^-9 USD). A price is an `int` of nano-USD per million units, so
that prices below one nano-USD a token ("0.0375" USD per million is 37.5 nano-USD a token) stay exact.
Floats never appear; in JSON an amount is a decimal string of USD.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

NANOS_PER_USD = 1_000_000_000
UNITS_PER_PRICE = 1_000_000

_DECIMAL = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?", re.ASCII)


def parse_usd(text: str) -> int:
    """Read a decimal string of USD ("0.0375") as nano-USD.

    Raises ValueError for anything but digits with at most 9 decimals: a tenth of a nano-USD would be
    lost silently otherwise.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an amount: write USD as digits with at most 9 decimals, such as '12.50'")
    sign, whole, fraction = match.group(1), match.group(2), match.group(3) or ""
    nanos = int(whole) * NANOS_PER_USD + int(fraction.ljust(9, "0"))
    return -nanos if sign else nanos


def format_usd(amount_nanos: int) -> str:
    """Write nano-USD as a decimal string of USD, with at least two decimals and no lost digit."""
    sign = "-" if amount_nanos < 0 else ""
    whole, fraction = divmod(abs(amount_nanos), NANOS_PER_USD)
    digits = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{digits}"


def total_nanos(lines: Iterable[tuple[int, int]]) -> int:
    """Add up (units, price in nano-USD per million units) lines; rounds the sum up, once.

    Up, so that what we record is never below what was billed.
    """
    total = 0
    for units, price in lines:
        total += units * price
    return -(-total // UNITS_PER_PRICE)
