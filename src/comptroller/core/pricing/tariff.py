"""A tariff: the rates of one model, and the dearest of them that a request can reach.

The latter is worked out once for each kind of request and kept, for the path of a call asks it every time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from comptroller.core.pricing.rates import Rates


class Reach(NamedTuple):
    """What one request can lead to, beside plain text."""

    audio_input: bool = False
    audio_output: bool = False
    images: bool = False
    anything: bool = False  # parts of any kind that are not in the body
    long_cache_writes: bool = False
    web_searches: bool = False
    file_searches: bool = False
    pictures: bool = False  # images are made
    speech: bool = False  # a text is spoken
    sound: bool = False  # audio is heard, and billed by its length or its tokens


class Dearest(NamedTuple):
    """The most that a unit can cost in a prompt of at most some size. Nano-USD per million units."""

    over_input_tokens: int  # holds for prompts longer than this, up to where the next begins
    input: int
    output: int
    request: int
    web_search: int
    file_search: int
    image: int
    character: int
    audio_hour: int
    missing: str | None  # what the request leads to and no rate is for, in words


NOTHING = Dearest(0, 0, 0, 0, 0, 0, 0, 0, 0, None)


class Tariff(dict[str, Rates]):
    """What a model costs, by service tier. Does not change."""

    __slots__ = ("_kept", "tiers")

    def __init__(self, rates: Mapping[str, Rates]) -> None:
        super().__init__(rates)
        self.tiers = frozenset(rates)
        self._kept: dict[tuple[frozenset[str], Reach], Sequence[Dearest]] = {}

    def timed(self, tiers: frozenset[str]) -> bool:
        """Whether audio is billed by its length in all of these tiers."""
        return bool(tiers) and all(self[tier].audio_hour is not None for tier in tiers)

    def dearest(self, tiers: frozenset[str], reach: Reach, most_input_tokens: int) -> Dearest:
        """Over some of its tiers, for a prompt of at most so many tokens. Over none everything costs nothing."""
        steps = self._kept.get((tiers, reach))
        if steps is None:
            steps = self._kept[tiers, reach] = tuple(_steps([self[tier] for tier in tiers], reach))
        found = NOTHING
        for step in steps:
            if step.over_input_tokens and most_input_tokens <= step.over_input_tokens:
                break
            found = step
        return found


def _steps(possible: Sequence[Rates], reach: Reach) -> Iterator[Dearest]:
    """One for each size of prompt at which a price begins, the shortest first; none without rates."""
    sizes = {size.over_input_tokens for rates in possible for size in rates.sizes}
    for over in sorted({0, *sizes} if possible else sizes):
        every = [each for rates in possible for each in rates.up_to(over + 1)]
        yield Dearest(
            over_input_tokens=over,
            input=max(_input(reach, each) for each in every),
            output=max(_output(reach, each) for each in every),
            request=max(each.request or 0 for each in every),
            web_search=max(each.web_search or 0 for each in every),
            file_search=max(each.file_search or 0 for each in every),
            image=max(each.image or 0 for each in every),
            character=max(each.character or 0 for each in every),
            audio_hour=max(each.audio_hour or 0 for each in every),
            missing=next((what for each in every for what in _missing(reach, each)), None),
        )


def _input(reach: Reach, rates: Rates) -> int:
    """The most that one token of input can cost."""
    dearest = max(rates.input, rates.cache_read or 0, rates.cache_write or 0)
    if reach.long_cache_writes:
        dearest = max(dearest, rates.cache_write_1h or 0)
    if reach.audio_input or reach.anything or reach.sound:
        dearest = max(dearest, rates.audio_input or 0, rates.cache_read_audio or 0)
    if reach.images or reach.anything:
        dearest = max(dearest, rates.image_input or 0, rates.cache_read_image or 0)
    return max(dearest, rates.video_input or 0) if reach.anything else dearest


def _output(reach: Reach, rates: Rates) -> int:
    """The most that one token of output can cost. A model that can draw may do so unasked."""
    dearest = max(rates.output, rates.reasoning or 0, rates.image_output or 0)
    return max(dearest, rates.audio_output or 0) if reach.audio_output or reach.speech else dearest


def _missing(reach: Reach, rates: Rates) -> Iterator[str]:
    """What has no price; a part that is billed as its whole is not among it."""
    if reach.audio_input and rates.audio_input is None:
        yield "audio input (`audio_input`)"
    if reach.audio_output and rates.audio_output is None:
        yield "audio output (`audio_output`)"
    if reach.web_searches and rates.web_search is None:
        yield "web searches (`web_search`)"
    if reach.file_searches and rates.file_search is None:
        yield "file searches (`file_search`)"
    if reach.pictures and rates.image is None and not (rates.output or rates.image_output):
        yield "images (`image`, or `output` where their tokens are billed)"
    if reach.speech and rates.character is None and not (rates.output or rates.audio_output):
        yield "characters (`character`, or `output` where tokens are billed)"
    if reach.sound and rates.audio_hour is None and not (rates.input or rates.audio_input):
        yield "audio by its length (`audio_hour`, or `audio_input` where its tokens are billed)"
    # Whoever takes more for a cache write takes still more for one that lasts.
    if reach.long_cache_writes and rates.cache_write is not None and rates.cache_write_1h is None:
        yield "cache writes that last an hour or longer (`cache_write_1h`)"
