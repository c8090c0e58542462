"""Rates: what each meter costs, for a prompt of each size.

A rate is an `int` of nano-USD per million units. A unit is a token, for fees one request, search or image; what else it
can be the rate says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

DEFAULT_TIER = "default"

# What some providers call the tier that everybody gets.
_ALIASES: Mapping[str, str] = dict.fromkeys(("standard", "standard_only", "on_demand", "auto"), DEFAULT_TIER)


class Rates(msgspec.Struct, frozen=True):
    """What one service tier costs. A part without a rate is billed as its whole; a fee without one is not known."""

    input: int
    output: int
    cache_read: int | None = None
    cache_write: int | None = None
    audio_input: int | None = None
    reasoning: int | None = None
    audio_output: int | None = None
    cache_write_1h: int | None = None  # or longer; left out: as cache_write
    image_input: int | None = None
    image_output: int | None = None
    video_input: int | None = None
    cache_read_audio: int | None = None  # left out: as audio_input, or as cache_read where that is left out too
    cache_read_image: int | None = None  # left out: as image_input, or as cache_read
    request: int | None = None  # for each call
    web_search: int | None = None  # for each search of a server-side tool
    file_search: int | None = None
    sizes: tuple[Size, ...] = ()  # dearer rates of longer prompts, shortest first
    image: int | None = None  # for each image that is made; left out: its tokens are billed
    character: int | None = None  # for each character that is spoken; left out: tokens are billed
    audio_hour: int | None = None  # of audio that is heard: for a million milliseconds; left out: tokens are billed
    result_unit: int | None = None  # for each unit of a tool's result

    def at(self, input_tokens: int) -> Rates:
        """The rates of a call with a prompt of this size, cached parts included: they apply to all of it."""
        found = self
        for size in self.sizes:
            if input_tokens > size.over_input_tokens:
                found = size.rates
        return found

    def up_to(self, most_input_tokens: int) -> Iterator[Rates]:
        """The rates of every prompt that is no longer than this."""
        yield self
        yield from (size.rates for size in self.sizes if most_input_tokens > size.over_input_tokens)


class Size(msgspec.Struct, frozen=True):
    """From here on another price: a prompt with more input tokens than this costs these rates."""

    over_input_tokens: int
    rates: Rates


FEES = ("request", "web_search", "file_search", "image", "result_unit")
METERS = tuple(name for name in Rates.__struct_fields__ if name != "sizes")


def per_hour(usd_nanos: int) -> int:
    """The rate of audio at a price for the hour, rounded up to a whole nano-USD per million milliseconds."""
    return -(-usd_nanos * 10 // 36)


def hourly(rate: int) -> int:
    """The price of an hour, in nano-USD: as precise as price lists are, which is a millionth of a USD."""
    return rate * 36 // 10 // 1_000 * 1_000


def tier_name(said: str) -> str:
    """A service tier by our name for it."""
    return _ALIASES.get(said, said)
