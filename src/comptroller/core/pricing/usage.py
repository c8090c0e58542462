"""What a provider says it did, in meters that cost."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Token counts of one answer. `input_tokens` and `output_tokens` are totals; the others are parts of them."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0  # part of input: read from the prompt cache
    cache_write_tokens: int = 0  # part of input: written to the prompt cache
    audio_input_tokens: int = 0  # part of input
    reasoning_tokens: int = 0  # part of output: thinking, often invisible
    audio_output_tokens: int = 0  # part of output
    service_tier: str | None = None  # as the response says

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens
