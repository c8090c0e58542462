"""The upper bound: the most a request can cost, and the largest output that fits what is left.

A dialect reads the request and says what bounds it (`Asked`); the registry says what the model can do
(`ModelLimits`); the price book says the dearest rate it can lead to. Nothing here guesses low: what has
no bound is said to have none.
"""

from __future__ import annotations

import msgspec

from comptroller.core.money import UNITS_PER_PRICE
from comptroller.core.pricing.prefix import Prompt
from comptroller.core.pricing.rates import DEFAULT_TIER, tier_name
from comptroller.core.pricing.tariff import Reach, Tariff
from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import Earlier, StoredUse
from comptroller.core.work.tool_use import ToolUse

FACTOR_ONE_BP = 10_000
MIN_OUTPUT_TOKENS = 1_024
_MOST_WORDS = 5  # of what has no bound, in one sentence
_MOST_NAME_CHARACTERS = 64


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
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
    free: bool = False  # providers take nothing for it: policies decide, and no budget counts it
    rounds: int = 1  # the provider may fill its context so often: once for each prompt, or each call of its own tools
    free_unpriced: bool = False  # the same as `free` for a model without a price
    stored: StoredUse | None = None  # what it has to do with what is stored at the provider; None: nothing
    earlier: tuple[Earlier, ...] = ()  # the stored contexts that it goes on with, as our records know them
    shortened: bool = False  # the provider may leave out a part of the context: more is stored than it reports
    output_fixed: bool = False  # nothing in the request can limit its output: all that the model can make is held
    pictures: int = 0  # no more images than this are made
    variant: str | None = None  # what their price depends on, as the price book names it beside tiers
    characters: int = 0  # no more than this are spoken
    sound: bool = False  # audio is heard, and billed by its length or by its tokens
    audio_ms: int | None = None  # it is no longer than this; None: that cannot be told
    hides_output: bool = False  # it asks for thinking, or how that is shown: some of what is billed may not be seen
    prompt: Prompt | None = None  # what feeds it, where it may extend one that was metered
    sound_back: bool = False  # it is answered with sound, which says nothing of what it cost and goes on as it comes
    searching: bool = False  # it offers tools that run at the provider, and whose calls the request can limit
    deferred: bool = False  # the provider goes on with it after its answer, whoever hangs up
    model_fixed: bool = False  # the model stands where it cannot be changed any more
    provider_tools: tuple[str, ...] = ()  # that it offers, each once: FAMILY/TOOL, such as openai/web_search
    lines: tuple[Lines, ...] = ()  # it is many requests in one, each billed by itself; then the above is theirs to say
    tool: ToolUse | None = None  # it is a call of this tool, and of no model

    @property
    def may_hold_images(self) -> bool:
        """Whether images may be in its context."""
        return bool(self.images or self.unbounded or self.earlier)

    @property
    def beyond(self) -> tuple[str, ...]:
        """Parts whose size is neither in the body nor known, in words."""
        if not self.earlier:
            return self.unbounded
        more = (
            f"a {each.words} {'whose size nobody knows' if each.tokens is None else 'of another model'}"
            for each in self.earlier
            if not each.bounds(self.model)
        )
        return (*self.unbounded, *more)


class Lines(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Some of the lines of a batch: they differ in nothing that matters but the size of their text."""

    largest: Asked
    count: int
    text_tokens: int  # of all of them together
    name: str  # that the first of them goes by
    written_limit: int = 0  # they were sent with no larger output limit than this; 0: they are still to be sent
    written_model: str = ""  # what the provider calls the model that stands in them
    endpoint: str = ""  # that they are for, where they name one


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
    calls: int = 1  # that it counts as
    fixed: bool = False  # its output cannot be limited
    tool_calls: int = 0  # that it counts as
    result_bytes: int = 0  # of a tool: no result is handed on with more

    @property
    def free(self) -> bool:
        """Nothing is taken for it, and nothing counts it."""
        return self.calls == 0 and self.tool_calls == 0

    def amount_nanos(self, output_tokens: int) -> int:
        """The most the call can cost with this output limit per choice."""
        return self.cost_nanos(self.all_output(output_tokens))

    def tokens(self, output_tokens: int) -> int:
        """The most tokens the call can use with this output limit per choice."""
        return self.raised(self.input_tokens + self.all_output(output_tokens))

    def thinking_tokens(self, output_tokens: int) -> int:
        """The most of them that can be thinking, which is a part of the output."""
        return self.raised(self.all_output(output_tokens))

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

    def affordable_by_thinking(self, remaining_tokens: int) -> int:
        """The largest output limit per choice that is all thinking and fits; below 0 if none does."""
        spendable = remaining_tokens * FACTOR_ONE_BP // self.factor_bp
        return spendable // self.choices - self.extra_output_tokens

    @property
    def _fixed(self) -> int:
        return self.input_tokens * self.input_rate + self.fees

    def all_output(self, output_tokens: int) -> int:
        """The most output over all choices with this output limit per choice."""
        return self.choices * (output_tokens + self.extra_output_tokens)


FREE = Estimate(0, 1, 0, 0, 0, 0, 0, calls=0)


def estimate(
    asked: Asked, limits: ModelLimits, tariff: Tariff, factor_bp: int, *, money: bool, metered: bool
) -> Estimate | Refusal:
    """The bound of a request, or why there is none.

    `money`: a budget in USD will be drawn, so a price is needed. `metered`: a budget in USD or tokens will
    be drawn, so a bound is needed. Without either, missing prices and bounds count as zero.
    """
    if asked.lines:
        return _estimate_lines(asked, limits, tariff, factor_bp, money=money, metered=metered)
    tiers = _possible_tiers(asked, tariff) if money else tariff.tiers
    if isinstance(tiers, Refusal):
        return tiers
    timed = asked.sound and tariff.timed(tiers)
    if timed and asked.audio_ms is None and metered:
        return _untimed(asked.model)
    input_tokens = _input_bound(asked, limits, timed=timed)
    if asked.fees and metered:
        return _uncounted(asked.model, _listed(asked.fees))
    if isinstance(input_tokens, Refusal):
        if metered:
            return input_tokens
        input_tokens = asked.text_tokens + _earlier_tokens(asked)
    dearest = tariff.dearest(tiers, _reach(asked), -(-input_tokens * factor_bp // FACTOR_ONE_BP))
    if dearest.missing is not None and money:
        return _price_missing(asked.model, dearest.missing)
    ceiling = limits.max_output_tokens
    wanted = ceiling if asked.output_limit is None else min(asked.output_limit, ceiling)
    if asked.output_fixed and not dearest.output:
        wanted = 0
    least = MIN_OUTPUT_TOKENS if limits.min_output_tokens is None else limits.min_output_tokens
    made = asked.pictures * dearest.image + asked.characters * dearest.character
    heard = (asked.audio_ms or 0) * dearest.audio_hour
    searches = asked.web_searches * dearest.web_search + asked.file_searches * dearest.file_search
    return Estimate(
        input_tokens=input_tokens,
        choices=asked.choices,
        wanted_output_tokens=wanted,
        least_output_tokens=wanted
        if asked.output_fixed
        else max(1, min(wanted, least)),  # some servers take a limit of 0 for none
        extra_output_tokens=asked.extra_output_tokens,
        input_rate=dearest.input,
        output_rate=dearest.output,
        factor_bp=factor_bp,
        fees=dearest.request + searches + made + heard,
        fixed=asked.output_fixed,
    )


def _estimate_lines(
    asked: Asked, limits: ModelLimits, tariff: Tariff, factor_bp: int, *, money: bool, metered: bool
) -> Estimate | Refusal:
    """The sum over all lines, each at its own rates and rounded up by itself; its output is as each line limits it.

    `wanted_output_tokens` is the largest limit of a line, so what asks for less keeps its own.
    """
    lines = input_tokens = output_tokens = widest = cost = 0
    for some in asked.lines:
        one = msgspec.structs.replace(some.largest, model=asked.model)
        # A context window bounds each line and not their sum: without it the sum is one of texts.
        open_limits = msgspec.structs.replace(
            limits,
            max_output_tokens=some.written_limit or limits.max_output_tokens,
            context_window=limits.context_window if one.beyond else None,
        )
        bound = estimate(one, open_limits, tariff, factor_bp, money=money, metered=metered)
        if isinstance(bound, Refusal):
            return of_line(bound, some.name)
        beside = bound.input_tokens - one.text_tokens
        most = some.count * bound.input_tokens
        read = most if one.beyond else some.count * beside + some.text_tokens
        made = some.count * bound.all_output(bound.wanted_output_tokens)
        whole = some.count * bound.fees + read * bound.input_rate + made * bound.output_rate
        cost += whole + some.count * UNITS_PER_PRICE if whole else 0  # each line is rounded up by a nano at most
        lines, input_tokens, output_tokens = lines + some.count, input_tokens + read, output_tokens + made
        widest = max(widest, bound.wanted_output_tokens)
    return Estimate(
        input_tokens=input_tokens,
        choices=1,
        wanted_output_tokens=widest,
        least_output_tokens=widest,
        extra_output_tokens=output_tokens - widest,
        input_rate=0,  # all of the price stands in the fees: lines may have different rates
        output_rate=0,
        factor_bp=factor_bp,
        fees=-(-cost // UNITS_PER_PRICE) * UNITS_PER_PRICE,
        calls=lines,
        fixed=True,
    )


def asked_of_lines(model: str, lines: tuple[Lines, ...], stored: StoredUse) -> Asked:
    """A batch of lines of one model, which its provider goes on with after its answer."""
    every = [some.largest for some in lines]
    return Asked(
        model=model,
        stream=False,
        text_tokens=0,
        images=sum(each.images for each in every),
        unbounded=tuple(dict.fromkeys(part for each in every for part in each.unbounded)),
        service_tier=every[0].service_tier,
        long_cache_writes=any(each.long_cache_writes for each in every),
        sound=any(each.sound for each in every),
        fees=tuple(dict.fromkeys(fee for each in every for fee in each.fees)),
        stored=stored,
        deferred=True,
        lines=lines,
    )


def of_line(refusal: Refusal, name: str) -> Refusal:
    """A refusal of one line of a batch, which refuses all of it."""
    return msgspec.structs.replace(refusal, sentence=f"Line {shortened(name)}: {refusal.sentence}")


def shortened(name: str) -> str:
    """The name of a line, quoted, as it stands in a sentence."""
    return repr(name if len(name) <= _MOST_NAME_CHARACTERS else name[:_MOST_NAME_CHARACTERS] + "...")


def _possible_tiers(asked: Asked, tariff: Tariff) -> frozenset[str] | Refusal:
    """Every priced tier that the request can be billed in: the one asked for, or the default it falls back to.

    A request that leaves the tier open may be given any.
    """
    if not tariff:
        return _price_missing(asked.model, "its tokens")
    if asked.variant is not None:
        return frozenset({asked.variant if asked.variant in tariff else DEFAULT_TIER}) & tariff.tiers or tariff.tiers
    possible = asked.possible_tiers
    if asked.service_tier in {None, "auto"}:
        known = tariff.tiers if possible is None else tariff.tiers & possible
    else:
        named = tier_name(asked.service_tier or DEFAULT_TIER)
        if named not in tariff:
            return _price_missing(asked.model, f"service tier {asked.service_tier!r}")
        known = tariff.tiers & ({named, DEFAULT_TIER} if possible is None else possible)
    return known or tariff.tiers


def _reach(asked: Asked) -> Reach:
    return Reach(
        asked.audio_input,
        asked.audio_output,
        asked.images > 0,
        bool(asked.unbounded or asked.earlier),
        asked.long_cache_writes,
        asked.web_searches > 0,
        asked.file_searches > 0,
        asked.pictures > 0,
        asked.characters > 0,
        asked.sound,
    )


def _input_bound(asked: Asked, limits: ModelLimits, *, timed: bool) -> int | Refusal:
    if asked.images and limits.max_image_tokens is None:
        return _unbounded(asked.model, "images", "`max_image_tokens`")
    outside = asked.beyond if timed or not asked.sound else (*asked.beyond, "audio")
    if outside:
        if limits.context_window is None:
            return _unbounded(asked.model, _listed(outside), "`context_window`")
        return limits.context_window * asked.rounds
    images = asked.images * (limits.max_image_tokens or 0)
    bound = asked.text_tokens + _earlier_tokens(asked) + images + limits.overhead_tokens
    return bound if limits.context_window is None else min(bound, limits.context_window * asked.rounds)


def _earlier_tokens(asked: Asked) -> int:
    return sum(each.tokens or 0 for each in asked.earlier)


def _price_missing(model: str, what: str) -> Refusal:
    return Refusal(
        code="price_unknown",
        sentence=f"The price book has no price for {what} of model {model!r}.",
        hint="Ask whoever runs the gateway to add it under [[prices]] in registry.toml and run `comptroller apply`.",
    )


def _untimed(model: str) -> Refusal:
    return Refusal(
        code="estimate_unbounded",
        sentence=f"Model {model!r} is billed by the length of the audio, and this audio does not show how long it is.",
        hint="Send it as WAV (PCM) or MP3, whose bytes bound its length.",
    )


def _listed(words: tuple[str, ...]) -> str:
    """A few of them: a request can hold more kinds of parts than a sentence."""
    shown = ", ".join(words[:_MOST_WORDS])
    return shown if len(words) <= _MOST_WORDS else f"{shown} and {len(words) - _MOST_WORDS} more"


def _uncounted(model: str, what: str) -> Refusal:
    return Refusal(
        code="estimate_unbounded",
        sentence=f"Nothing bounds what this request may cost on model {model!r}: it has {what}.",
        hint="Leave that out: it is billed beside the tokens of this call, and no budget in USD or tokens can hold it.",
    )


def _unbounded(model: str, what: str, setting: str) -> Refusal:
    return Refusal(
        code="estimate_unbounded",
        sentence=f"Nothing bounds what {what} in this request may cost on model {model!r}.",
        hint=f"Leave that out, or ask whoever runs the gateway to set {setting} for this model in registry.toml.",
    )
