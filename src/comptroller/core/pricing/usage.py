"""What a provider says it did, in meters that cost."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Counts of one answer. `input_tokens` and `output_tokens` are totals; other tokens are parts of them.

    A dialect whose provider counts a part beside its total adds it, so that every part is inside.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0  # part of input: read from the prompt cache
    cache_write_tokens: int = 0  # part of input: written to the prompt cache, for any time
    audio_input_tokens: int = 0  # part of input, cached audio included
    reasoning_tokens: int = 0  # part of output: thinking, often invisible
    audio_output_tokens: int = 0  # part of output
    service_tier: str | None = None  # as the response says; its speed where that is what sets the price
    cache_write_1h_tokens: int = 0  # part of cache_write_tokens: kept for an hour or longer
    image_input_tokens: int = 0  # part of input, cached images included
    image_output_tokens: int = 0  # part of output
    video_input_tokens: int = 0  # part of input
    cached_audio_tokens: int = 0  # part of both cached_tokens and audio_input_tokens
    cached_image_tokens: int = 0  # part of both cached_tokens and image_input_tokens
    web_search_requests: int = 0  # searches of a server-side tool
    file_search_requests: int = 0
    images: int = 0  # that were made, where each of them may be billed
    characters: int = 0  # that were spoken
    audio_ms: int = 0  # of audio that was heard, where its length may be billed
    result_bytes: int = 0  # of the result of a tool, as it was handed on
    result_units: int = 0  # that it is billed by (tool_estimate.py)
    asks: int = 0  # 1: a tool has not run, for its server asks for something first, and is called again

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def input_side(self) -> Usage:
        """The same without its output."""
        return msgspec.structs.replace(
            self, output_tokens=0, reasoning_tokens=0, audio_output_tokens=0, image_output_tokens=0
        )

    def all_written(self, *, long: bool) -> Usage:
        """The same if all that was not read from the cache was written to it. `long`: for an hour or longer."""
        written = max(0, self.input_tokens - self.cached_tokens)
        return msgspec.structs.replace(
            self, cache_write_tokens=written, cache_write_1h_tokens=written if long else self.cache_write_1h_tokens
        )

    @property
    def more_than_text(self) -> bool:
        """Audio, images or video are among its tokens."""
        return bool(
            self.audio_input_tokens
            or self.audio_output_tokens
            or self.image_input_tokens
            or self.image_output_tokens
            or self.video_input_tokens
            or self.cached_audio_tokens
            or self.cached_image_tokens
        )


COUNTS = tuple(name for name in Usage.__struct_fields__ if name not in {"service_tier", "tool_ran"})
