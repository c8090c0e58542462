"""Money: exact to the nano-USD, one rounding, upward."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.money import UNITS_PER_PRICE, format_usd, parse_usd, total_nanos


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("3.00", 3_000_000_000),
        ("0.0375", 37_500_000),
        ("0.000000001", 1),
        ("-1.5", -1_500_000_000),
        ("200", 200_000_000_000),
        ("0", 0),
    ],
)
def test_reads_decimal_usd(text: str, nanos: int) -> None:
    assert parse_usd(text) == nanos


@pytest.mark.parametrize(
    "text", ["", "1,5", "1e3", "0.0000000001", "NaN", "\u0661", " 1", "+1", ".5", "1.", "1_000", "$1"]
)
def test_refuses_what_is_not_an_amount(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        parse_usd(text)


@given(st.integers(-(10**20), 10**20))
def test_writing_and_reading_loses_nothing(nanos: int) -> None:
    assert parse_usd(format_usd(nanos)) == nanos


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**13)), max_size=8))
def test_total_is_the_exact_sum_rounded_up_once(lines: list[tuple[int, int]]) -> None:
    exact = sum((Fraction(units * price, UNITS_PER_PRICE) for units, price in lines), Fraction(0))
    total = total_nanos(lines)
    assert exact <= total < exact + 1
