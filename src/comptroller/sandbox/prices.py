"""The sandbox's own models, prices and arithmetic of a bill.

Written apart from the gateway's price code on purpose: the two are compared in tests, and a shared
mistake would hide.
"""

from __future__ import annotations

from dataclasses import dataclass

from comptroller.core.money import parse_usd

DATED_SUFFIX = "-2026-01-01"
TIERS = ("default", "priority", "flex")

_TOKENS_PER_PRICE = 1_000_000
# A tier's factor counted in halves, so that `flex` (half the price) stays an integer. What is in a batch is of a tier
# that nobody can ask for elsewhere.
_TIER_HALVES = {"default": 2, "priority": 4, "flex": 1, "batch": 1}
# What a token written to the prompt cache costs, in quarters of an input token: 1.25 times, or twice for an hour.
_WRITE_QUARTERS = 5
_WRITE_1H_QUARTERS = 8


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is served, and its prices in nano-USD per million tokens."""

    name: str
    input_price: int
    cached_price: int
    output_price: int
    default_output_tokens: int = 4_096
    """Output limit when the request sets none."""
    max_output_tokens: int = 131_072
    """Largest output limit a request may ask."""
    reasons: bool = False
    """Whether it thinks before it answers; hidden tokens are billed as output."""

    @property
    def write_price(self) -> int:
        """Of a token written to the prompt cache where the request asks for that."""
        return self.input_price * _WRITE_QUARTERS // 4

    @property
    def write_1h_price(self) -> int:
        """The same, kept for an hour."""
        return self.input_price * _WRITE_1H_QUARTERS // 4

    @property
    def dated_name(self) -> str:
        """The name that answers carry, as real providers resolve an alias to a dated snapshot."""
        return self.name + DATED_SUFFIX


def _model(name: str, input_usd: str, cached_usd: str, output_usd: str, *, reasons: bool = False) -> Model:
    return Model(name, parse_usd(input_usd), parse_usd(cached_usd), parse_usd(output_usd), reasons=reasons)


MODELS = (
    _model("sandbox-large", "3.00", "0.30", "15.00"),
    # 37.5 nano-USD a cached token: a price that whole nano-USD per token cannot say.
    _model("sandbox-small", "0.15", "0.0375", "0.60"),
    _model("sandbox-reasoner", "1.10", "0.275", "4.40", reasons=True),
)

_BY_NAME = {name: model for model in MODELS for name in (model.name, model.dated_name)}


def find_model(name: str) -> Model | None:
    """Find a model by its short or its dated name."""
    return _BY_NAME.get(name)


@dataclass(frozen=True, slots=True)
class Counts:
    """The tokens of one request. `input_tokens` includes what was read from the cache and written to it."""

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    """Part of `cache_write_tokens`."""
    output_tokens: int = 0
    """Reasoning included."""

    @property
    def possible(self) -> bool:
        """Whether no part is larger than its whole."""
        fresh = self.input_tokens - self.cached_tokens - self.cache_write_tokens
        parts = (fresh, self.cached_tokens, self.cache_write_1h_tokens, self.output_tokens)
        return min(parts) >= 0 and self.cache_write_1h_tokens <= self.cache_write_tokens


def charge_nanos(model: Model, tier: str, counts: Counts) -> int:
    """Price one request in nano-USD: exact, and rounded up once.

    Raises KeyError for an unknown tier and ValueError for counts that cannot be.
    """
    if not counts.possible:
        raise ValueError(f"impossible counts: {counts}")
    written_1h = counts.cache_write_1h_tokens
    written = counts.cache_write_tokens - written_1h
    fresh = counts.input_tokens - counts.cached_tokens - counts.cache_write_tokens
    quarters = (4 * fresh + _WRITE_QUARTERS * written + _WRITE_1H_QUARTERS * written_1h) * model.input_price
    quarters += 4 * (counts.cached_tokens * model.cached_price + counts.output_tokens * model.output_price)
    return -(-quarters * _TIER_HALVES[tier] // (8 * _TOKENS_PER_PRICE))
