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
# A tier's factor counted in halves, so that `flex` (half the price) stays an integer.
_TIER_HALVES = {"default": 2, "priority": 4, "flex": 1}


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


def charge_nanos(model: Model, tier: str, *, input_tokens: int, cached_tokens: int, output_tokens: int) -> int:
    """Price one request in nano-USD: exact, and rounded up once.

    `input_tokens` includes `cached_tokens`; `output_tokens` includes reasoning. Raises KeyError for an
    unknown tier and ValueError for counts that cannot be.
    """
    if not 0 <= cached_tokens <= input_tokens or output_tokens < 0:
        raise ValueError(f"impossible counts: input {input_tokens}, cached {cached_tokens}, output {output_tokens}")
    fresh = (input_tokens - cached_tokens) * model.input_price
    halves = (fresh + cached_tokens * model.cached_price + output_tokens * model.output_price) * _TIER_HALVES[tier]
    whole, rest = divmod(halves, 2 * _TOKENS_PER_PRICE)
    return whole + (1 if rest else 0)
