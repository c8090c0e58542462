"""The upper bound: the most a request can cost, and the largest output that fits what is left.

A dialect reads the request and says what bounds it (`Asked`); the registry says what the model can do
(`ModelLimits`); the price book says the dearest rate it can lead to. Nothing here guesses low: what has
no bound is said to have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from comptroller.core.money import UNITS_PER_PRICE
from comptroller.core.pricing.rates import DEFAULT_TIER, Rates, tier_name
from comptroller.core.refusal import Refusal

FACTOR_ONE_BP = 10_000
MIN_OUTPUT_TOKENS = 1_024


class Asked(msgspec.Struct, frozen=True):
    """What bounds the cost of one request, as its dialect reads it from the body."""

    model: str
    stream: bool
    text_tokens: int  # no more tokens than this are in the body as text or audio
    images: int = 0
    choices: int = 1
    output_limit: int | None = None  # as asked, per choice
    extra_output_tokens: int = 0  # billed beside the limit, per choice (rejected predictions)
    audio_input: bool = False
    audio_output: bool = False
    service_tier: str | None = None  # as asked; None: left open
    possible_tiers: frozenset[str] | None = None  # it can be billed in no other; None: in any
    long_cache_writes: bool = False  # it may write to a cache that is kept for an hour or longer
    unbounded: tuple[str, ...] = ()  # parts whose size is not in the body, in words
    fees: tuple[str, ...] = ()  # what is billed beside tokens and cannot be counted, in words
    web_searches: int = 0  # no more searches than this can be billed
    file_searches: int = 0
    usage_asked: bool = False  # the caller wants the usage chunk of a stream


class ModelLimits(msgspec.Struct, frozen=True):
    """What the registry knows of a model's size. Tokens."""

    max_output_tokens: int
    context_window: int | None = None
    max_image_tokens: int | None = None
    overhead_tokens: int = 0  # added by the provider's template to any request
    min_output_tokens: int | None = None


class Estimate(msgspec.Struct, frozen=True):
    """An upper bound that grows with the output limit. Rates in nano-USD per million tokens."""

    input_tokens: int
    choices: int
    wanted_output_tokens: int  # per choice: the smaller of what was asked and what the model can do
    least_output_tokens: int  # per choice: below this the call is refused
    extra_output_tokens: int
    input_rate: int
    output_rate: int
    factor_bp: int = FACTOR_ONE_BP  # raised after an overrun
    fees: int = 0  # beside tokens: nano-USD per million requests such as this one

    def amount_nanos(self, output_tokens: int) -> int:
        """The most the call can cost with this output limit per choice."""
        return self.cost_nanos(self._all_output(output_tokens))

    def tokens(self, output_tokens: int) -> int:
        """The most tokens the call can use with this output limit per choice."""
        return self.raised(self.input_tokens + self._all_output(output_tokens))

    def cost_nanos(self, all_output_tokens: int) -> int:
        """The most that input, fees and this many tokens of output, over all choices, can cost; rounded up once."""
        cost = self._fixed + all_output_tokens * self.output_rate
        return -(-cost * self.factor_bp // (UNITS_PER_PRICE * FACTOR_ONE_BP))

    def raised(self, tokens: int) -> int:
        """A bound in tokens, raised by what an overrun has taught; rounded up."""
        return -(-tokens * self.factor_bp // FACTOR_ONE_BP)

    def affordable_by_money(self, remaining_nanos: int) -> int:
        """The largest output limit per choice whose bound is at most `remaining_nanos`; below 0 if none is."""
        scale = UNITS_PER_PRICE * FACTOR_ONE_BP
        # ceil(cost * factor / scale) <= remaining  <=>  cost <= remaining * scale / factor
        spendable = remaining_nanos * scale // self.factor_bp - self._fixed
        if spendable < 0:
            return -1
        if self.output_rate == 0:
            return self.wanted_output_tokens
        return spendable // self.output_rate // self.choices - self.extra_output_tokens

    def affordable_by_tokens(self, remaining_tokens: int) -> int:
        """The largest output limit per choice whose token bound fits; below 0 if none does."""
        spendable = remaining_tokens * FACTOR_ONE_BP // self.factor_bp - self.input_tokens
        return -1 if spendable < 0 else spendable // self.choices - self.extra_output_tokens

    @property
    def _fixed(self) -> int:
        return self.input_tokens * self.input_rate + self.fees

    def _all_output(self, output_tokens: int) -> int:
        return self.choices * (output_tokens + self.extra_output_tokens)


def estimate(
    asked: Asked, limits: ModelLimits, rates: Mapping[str, Rates], factor_bp: int, *, money: bool, metered: bool
) -> Estimate | Refusal:
    """The bound of a request, or why there is none.

    `money`: a budget in USD will be drawn, so a price is needed. `metered`: a budget in USD or tokens will
    be drawn, so a bound is needed. Without either, missing prices and bounds count as zero.
    """
    possible = _possible_rates(asked, rates) if money else rates
    if isinstance(possible, Refusal):
        return possible
    input_tokens = _input_bound(asked, limits)
    if asked.fees and metered:
        return _uncounted(asked.model, ", ".join(asked.fees))
    if isinstance(input_tokens, Refusal):
        if metered:
            return input_tokens
        input_tokens = asked.text_tokens
    every = list(_reachable(possible, -(-input_tokens * factor_bp // FACTOR_ONE_BP)))
    missing = next((what for each in every for what in _missing(asked, each)), None)
    if missing is not None and money:
        return _price_missing(asked.model, missing)
    ceiling = limits.max_output_tokens
    wanted = ceiling if asked.output_limit is None else min(asked.output_limit, ceiling)
    least = MIN_OUTPUT_TOKENS if limits.min_output_tokens is None else limits.min_output_tokens
    return Estimate(
        input_tokens=input_tokens,
        choices=asked.choices,
        wanted_output_tokens=wanted,
        least_output_tokens=max(1, min(wanted, least)),  # some servers take a limit of 0 for none
        extra_output_tokens=asked.extra_output_tokens,
        input_rate=max((_input_rate(asked, each) for each in every), default=0),
        output_rate=max((_output_rate(asked, each) for each in every), default=0),
        factor_bp=factor_bp,
        fees=max((_fees(asked, each) for each in every), default=0),
    )


def _possible_rates(asked: Asked, rates: Mapping[str, Rates]) -> Mapping[str, Rates] | Refusal:
    """The rates of every tier the request can be billed in: the one asked for, or the default it falls back to.

    A request that leaves the tier open may be given any, so every priced tier counts.
    """
    if not rates:
        return _price_missing(asked.model, "its tokens")
    possible = _possible_tiers(asked, rates)
    if possible is None:
        return _price_missing(asked.model, f"service tier {asked.service_tier!r}")
    return possible


def _missing(asked: Asked, rates: Rates) -> Iterator[str]:
    """What the request asks for and no price is for, in words; a part that is billed as its whole is not among them."""
    if asked.audio_input and rates.audio_input is None:
        yield "audio input (`audio_input`)"
    if asked.audio_output and rates.audio_output is None:
        yield "audio output (`audio_output`)"
    if asked.web_searches and rates.web_search is None:
        yield "web searches (`web_search`)"
    if asked.file_searches and rates.file_search is None:
        yield "file searches (`file_search`)"
    # Whoever takes more for a cache write takes still more for one that lasts.
    if asked.long_cache_writes and rates.cache_write is not None and rates.cache_write_1h is None:
        yield "cache writes that last an hour or longer (`cache_write_1h`)"


def _possible_tiers(asked: Asked, rates: Mapping[str, Rates]) -> Mapping[str, Rates] | None:
    """None: the tier that was asked for has no price."""
    named = None if asked.service_tier in {None, "auto"} else tier_name(asked.service_tier or DEFAULT_TIER)
    if named is not None and named not in rates:
        return None
    possible = asked.possible_tiers
    if possible is None:
        possible = rates.keys() if named is None else {named, DEFAULT_TIER}
    return {name: rates[name] for name in possible & rates.keys()} or rates


def _reachable(possible: Mapping[str, Rates], most_input_tokens: int) -> Iterator[Rates]:
    """Every rate that a prompt of at most this size can be billed at."""
    for rates in possible.values():
        yield from rates.up_to(most_input_tokens)


def _input_bound(asked: Asked, limits: ModelLimits) -> int | Refusal:
    if asked.images and limits.max_image_tokens is None:
        return _unbounded(asked.model, "images", "`max_image_tokens`")
    if asked.unbounded:
        if limits.context_window is None:
            return _unbounded(asked.model, ", ".join(asked.unbounded), "`context_window`")
        return limits.context_window
    bound = asked.text_tokens + asked.images * (limits.max_image_tokens or 0) + limits.overhead_tokens
    return bound if limits.context_window is None else min(bound, limits.context_window)


def _input_rate(asked: Asked, rates: Rates) -> int:
    """The most that one token of input can cost. What is not in the body can be of any kind."""
    dearest = max(rates.input, rates.cache_read or 0, rates.cache_write or 0)
    if asked.long_cache_writes:
        dearest = max(dearest, rates.cache_write_1h or 0)
    if asked.audio_input or asked.unbounded:
        dearest = max(dearest, rates.audio_input or 0, rates.cache_read_audio or 0)
    if asked.images or asked.unbounded:
        dearest = max(dearest, rates.image_input or 0, rates.cache_read_image or 0)
    return max(dearest, rates.video_input or 0) if asked.unbounded else dearest


def _output_rate(asked: Asked, rates: Rates) -> int:
    """The most that one token of output can cost. A model that can draw may do so unasked."""
    dearest = max(rates.output, rates.reasoning or 0, rates.image_output or 0)
    return max(dearest, rates.audio_output or 0) if asked.audio_output else dearest


def _fees(asked: Asked, rates: Rates) -> int:
    searches = asked.web_searches * (rates.web_search or 0) + asked.file_searches * (rates.file_search or 0)
    return (rates.request or 0) + searches


def _price_missing(model: str, what: str) -> Refusal:
    return Refusal(
        code="price_unknown",
        sentence=f"The price book has no price for {what} of model {model!r}.",
        hint="Ask whoever runs the gateway to add it under [[prices]] in registry.toml and run `comptroller apply`.",
    )


def _uncounted(model: str, what: str) -> Refusal:
    return Refusal(
        code="estimate_unbounded",
        sentence=f"Nothing bounds what {what} in this request may cost on model {model!r}.",
        hint="Leave that out: it is billed beside the tokens of this call, and no budget in USD or tokens can hold it.",
    )


def _unbounded(model: str, what: str, setting: str) -> Refusal:
    return Refusal(
        code="estimate_unbounded",
        sentence=f"Nothing bounds what {what} in this request may cost on model {model!r}.",
        hint=f"Leave that out, or ask whoever runs the gateway to set {setting} for this model in registry.toml.",
    )
