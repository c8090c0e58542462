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
    return total_nanos([(units, rate) for _, units, rate in _lines(usage, rates.at(usage.input_tokens))])


def charge_lines(usage: Usage, rates: Rates) -> list[Line]:
    """Every meter that is billed. They add up to the charge."""
    return [Line(*line) for line in _lines(usage, rates.at(usage.input_tokens))]


def unpriced(usage: Usage, rates: Rates, *, images_sent: bool = False, sound: bool = False) -> tuple[str, ...]:
    """What was billed and no price can be put on, in words: a charge would leave it out, or bill it as text.

    A fee without a rate; what has no tokens, and no rate of its own either; and images that have a price of their own,
    where the report does not say how much of the tokens they were. `images_sent`: there may be some in the input.
    `sound`: audio was heard.
    """
    at = rates.at(usage.input_tokens)
    found: list[str] = []
    unmetered = not usage.total_tokens
    if usage.images and at.image is None and unmetered:
        found.append("images")
    if usage.characters and at.character is None and unmetered:
        found.append("characters")
    if usage.audio_ms and at.audio_hour is None and unmetered:
        found.append("audio by its length")
    if sound and at.audio_hour is not None and not usage.audio_ms:
        found.append("audio whose length it does not say")
    if usage.web_search_requests and at.web_search is None:
        found.append("web searches")
    if usage.file_search_requests and at.file_search is None:
        found.append("file searches")
    if images_sent and not usage.image_input_tokens and at.image_input not in {None, at.input}:
        found.append("images that it does not count apart")
    if usage.output_tokens and not usage.image_output_tokens and at.image_output not in {None, at.output}:
        found.append("images that it may have drawn and does not count apart")
    return tuple(found)


def _lines(usage: Usage, at: Rates) -> list[tuple[str, int, int]]:
    """(meter, units, rate in nano-USD per million units), for each meter that counted something.

    The cache convention is explicit: cached, written, audio, image and video tokens are *inside* the input
    total, so each is taken out of it and billed at its own rate. A part that is said to be larger than what
    is left of its whole (seen from faulty servers) is billed in full all the same.
    """
    cached, written, thought = usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens
    plain_in, plain_out = usage.input_tokens - cached - written, usage.output_tokens - thought
    lines: list[tuple[str, int, int]] = []
    if written or usage.cache_write_1h_tokens:
        lines += _writes(usage, at)
    if usage.more_than_text:
        lines += _media(usage, at)
        cached -= usage.cached_audio_tokens + usage.cached_image_tokens
        plain_in -= _heard(usage) + _seen(usage) + usage.video_input_tokens
        plain_out -= usage.audio_output_tokens + usage.image_output_tokens
    if plain_in > 0:
        lines.append(("input", plain_in, at.input))
    if cached > 0:
        lines.append(("cache_read", cached, _or(at.cache_read, at.input)))
    if plain_out > 0:
        lines.append(("output", plain_out, at.output))
    if thought:
        lines.append(("reasoning", thought, _or(at.reasoning, at.output)))
    if at.request:
        lines.append(("request", 1, at.request))
    if usage.web_search_requests:
        lines.append(("web_search", usage.web_search_requests, at.web_search or 0))
    if usage.file_search_requests:
        lines.append(("file_search", usage.file_search_requests, at.file_search or 0))
    if usage.images or usage.characters or usage.audio_ms or usage.result_units:
        lines += _beside_tokens(usage, at)
    return lines


def _beside_tokens(usage: Usage, at: Rates) -> Iterator[tuple[str, int, int]]:
    """What has a rate of its own here; without one its tokens are billed."""
    counted = (
        ("image", usage.images, at.image),
        ("character", usage.characters, at.character),
        ("audio_hour", usage.audio_ms, at.audio_hour),
        ("result_unit", usage.result_units, at.result_unit),
    )
    for meter, units, rate in counted:
        if units and rate is not None:
            yield meter, units, rate


def _writes(usage: Usage, at: Rates) -> Iterator[tuple[str, int, int]]:
    for_long, rate = usage.cache_write_1h_tokens, _or(at.cache_write, at.input)
    if usage.cache_write_tokens > for_long:
        yield "cache_write", usage.cache_write_tokens - for_long, rate
    if for_long:
        yield "cache_write_1h", for_long, _or(at.cache_write_1h, rate)


def _media(usage: Usage, at: Rates) -> list[tuple[str, int, int]]:
    cached = _or(at.cache_read, at.input)
    counted = (
        ("audio_input", _heard(usage), _or(at.audio_input, at.input)),
        ("cache_read_audio", usage.cached_audio_tokens, _or(at.cache_read_audio, _or(at.audio_input, cached))),
        ("image_input", _seen(usage), _or(at.image_input, at.input)),
        ("cache_read_image", usage.cached_image_tokens, _or(at.cache_read_image, _or(at.image_input, cached))),
        ("video_input", usage.video_input_tokens, _or(at.video_input, at.input)),
        ("audio_output", usage.audio_output_tokens, _or(at.audio_output, at.output)),
        ("image_output", usage.image_output_tokens, _or(at.image_output, at.output)),
    )
    return [line for line in counted if line[1]]


def _heard(usage: Usage) -> int:
    return max(0, usage.audio_input_tokens - usage.cached_audio_tokens)


def _seen(usage: Usage) -> int:
    return max(0, usage.image_input_tokens - usage.cached_image_tokens)


def _or(rate: int | None, whole: int) -> int:
    return whole if rate is None else rate
