"""The exact charge: the one place where usage and rates become money."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from comptroller.core.money import total_nanos
from comptroller.core.pricing.rates import Rates
from comptroller.core.pricing.usage import Usage


class Line(NamedTuple):
    """One meter of a charge, as an invoice would have it."""

    meter: str  # the rate's name in `Rates`; of a part without a rate of its own, too
    units: int
    rate: int  # nano-USD per million units


def charge_nanos(usage: Usage, rates: Rates) -> int:
    """What this usage costs, in nano-USD, rounded up once."""
    return total_nanos((line.units, line.rate) for line in charge_lines(usage, rates))


def charge_lines(usage: Usage, rates: Rates) -> list[Line]:
    """Every meter that is billed.

    The cache convention is explicit: cached, written, audio, image and video tokens are *inside* the input
    total, so each is taken out of it and billed at its own rate. A part that is said to be larger than what
    is left of its whole (seen from faulty servers) is billed in full all the same.
    """
    at = rates.at(usage.input_tokens)
    lines = (*_input(usage, at), *_output(usage, at), *_fees(usage, at))
    return [line for line in lines if line.units]


def unpriced_fees(usage: Usage, rates: Rates) -> tuple[str, ...]:
    """What was billed beside tokens and has no rate, in words. A charge would leave it out."""
    at = rates.at(usage.input_tokens)
    counted = (("web searches", usage.web_search_requests, at.web_search),)
    counted += (("file searches", usage.file_search_requests, at.file_search),)
    return tuple(words for words, units, rate in counted if units and rate is None)


def _input(usage: Usage, at: Rates) -> Iterator[Line]:
    cached_apart = usage.cached_audio_tokens + usage.cached_image_tokens
    written, for_long = usage.cache_write_tokens, usage.cache_write_1h_tokens
    heard = max(0, usage.audio_input_tokens - usage.cached_audio_tokens)
    seen = max(0, usage.image_input_tokens - usage.cached_image_tokens)
    watched = usage.video_input_tokens
    plain = usage.input_tokens - usage.cached_tokens - written - heard - seen - watched
    write_rate = _or(at.cache_write, at.input)
    yield Line("input", max(0, plain), at.input)
    yield Line("cache_read", max(0, usage.cached_tokens - cached_apart), _or(at.cache_read, at.input))
    yield Line("cache_write", max(0, written - for_long), write_rate)
    if for_long:
        yield Line("cache_write_1h", for_long, _or(at.cache_write_1h, write_rate))
    if usage.audio_input_tokens or usage.cached_audio_tokens:
        rate = _or(at.audio_input, at.input)
        yield Line("audio_input", heard, rate)
        yield Line("cache_read_audio", usage.cached_audio_tokens, _or(at.cache_read_audio, rate))
    if usage.image_input_tokens or usage.cached_image_tokens:
        rate = _or(at.image_input, at.input)
        yield Line("image_input", seen, rate)
        yield Line("cache_read_image", usage.cached_image_tokens, _or(at.cache_read_image, rate))
    if watched:
        yield Line("video_input", watched, _or(at.video_input, at.input))


def _output(usage: Usage, at: Rates) -> Iterator[Line]:
    thought, spoken, drawn = usage.reasoning_tokens, usage.audio_output_tokens, usage.image_output_tokens
    yield Line("output", max(0, usage.output_tokens - thought - spoken - drawn), at.output)
    yield Line("reasoning", thought, _or(at.reasoning, at.output))
    yield Line("audio_output", spoken, _or(at.audio_output, at.output))
    if drawn:
        yield Line("image_output", drawn, _or(at.image_output, at.output))


def _fees(usage: Usage, at: Rates) -> Iterator[Line]:
    if at.request is not None:
        yield Line("request", 1, at.request)
    if usage.web_search_requests:
        yield Line("web_search", usage.web_search_requests, at.web_search or 0)
    if usage.file_search_requests:
        yield Line("file_search", usage.file_search_requests, at.file_search or 0)


def _or(rate: int | None, whole: int) -> int:
    return whole if rate is None else rate
