"""Token counts and what they cost, computed apart from the gateway: exact fractions, one rounding per call."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

TOKENS_PER_PRICE = 1_000_000
NANOS_PER_USD = 1_000_000_000


@dataclass(frozen=True)
class Tokens:
    """Tokens of one or many calls. `input` is the total, so it includes `cached`."""

    input: int = 0
    cached: int = 0
    output: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.input + other.input, self.cached + other.cached, self.output + other.output)

    def __sub__(self, other: Tokens) -> Tokens:
        return Tokens(self.input - other.input, self.cached - other.cached, self.output - other.output)

    def __str__(self) -> str:
        return f"{self.input} in ({self.cached} cached) + {self.output} out"


def total(many: Iterable[Tokens]) -> Tokens:
    """The sum over calls."""
    return sum(many, Tokens())


@dataclass(frozen=True)
class Prices:
    """Made-up prices as the registry writes them: decimal strings of USD per million tokens.

    Their fourth decimal makes single tokens cost fractions of a nano-USD, so that rounding is tested too.
    """

    input: str = "0.1503"
    cache_read: str = "0.0751"
    output: str = "0.6007"

    def exact_usd(self, used: Tokens) -> Fraction:
        """What these tokens cost, in USD, unrounded."""
        cost = (
            (used.input - used.cached) * Fraction(self.input)
            + used.cached * Fraction(self.cache_read)
            + used.output * Fraction(self.output)
        )
        return cost / TOKENS_PER_PRICE

    def charge_usd(self, used: Tokens) -> Fraction:
        """The charge for one call, in USD: rounded up to a whole nano-USD."""
        return Fraction(math.ceil(self.exact_usd(used) * NANOS_PER_USD), NANOS_PER_USD)


def format_usd(amount: Fraction) -> str:
    """USD with nine decimals; the amounts of this run are small."""
    whole, nanos = divmod(math.ceil(amount * NANOS_PER_USD), NANOS_PER_USD)
    return f"{whole}.{nanos:09d}"
