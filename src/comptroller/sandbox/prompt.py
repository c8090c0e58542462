"""Counting a prompt, and the prompt cache.

Text is bounded by the body: the tokens of a segment cover distinct bytes of the request's JSON, and the overhead
of three a message is smaller than the JSON punctuation around it. Images and audio are counted beside it by their
own formula.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

Keep = Literal["5m", "1h"]

MESSAGE_OVERHEAD_TOKENS = 3
IMAGE_TOKENS = 765
AUDIO_BYTES_PER_TOKEN = 100

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the prompt, up to a place where the next request may go on otherwise."""

    content: bytes
    """All that tells it from others."""
    tokens: int
    audio_tokens: int = 0
    """Part of `tokens`."""
    keep: Keep | None = None
    """Everything up to here is marked to be kept in the cache for so long."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The prompt up to the end of some segment: its tokens, and a digest of all of it."""

    tokens: int
    digest: bytes
    keep: Keep | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """A counted prompt. The prefixes grow segment by segment."""

    prefixes: tuple[Prefix, ...]
    audio_tokens: int

    @property
    def tokens(self) -> int:
        """Input tokens of the whole prompt, images and audio included."""
        return self.prefixes[-1].tokens

    @property
    def seed(self) -> int:
        """A number drawn from everything in the prompt."""
        return int.from_bytes(self.prefixes[-1].digest, "big")


def count_prompt(segments: Iterable[Segment], salt: bytes) -> Prompt:
    """Add up a prompt; `salt` keeps the prefixes of different keys, models and surfaces apart."""
    digest = blake2b(salt, digest_size=_DIGEST_BYTES).digest()
    tokens = audio_tokens = 0
    prefixes: list[Prefix] = []
    for segment in segments:
        tokens += segment.tokens
        audio_tokens += segment.audio_tokens
        digest = blake2b(segment.content, key=digest, digest_size=_DIGEST_BYTES).digest()
        prefixes.append(Prefix(tokens, digest, segment.keep))
    return Prompt(tuple(prefixes), audio_tokens)


@dataclass(frozen=True, slots=True)
class Cached:
    """What the cache did for one prompt, in tokens of it."""

    read: int = 0
    written: int = 0
    """Kept from now on; reported and billed only where the request asked for it."""
    written_1h: int = 0
    """Part of `written`: kept for an hour."""


class PromptCache:
    """Remembers prefixes of prompts, the most recently used `capacity` of them. None expires."""

    def __init__(self, capacity: int, min_tokens: int) -> None:
        self._capacity = capacity
        self._min_tokens = min_tokens
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def use(self, prompt: Prompt) -> Cached:
        """Find the longest remembered prefix (none when it is too short); remember the whole prompt."""
        read = self._longest(prompt.prefixes)
        self._remember(prompt.prefixes)
        return Cached(read if read >= self._min_tokens else 0)

    def use_marks(self, prompt: Prompt) -> Cached:
        """Find the longest remembered prefix up to the last mark, and remember each prefix that is marked.

        What lies between is written, for as long as the next mark says. A mark on a prefix that is too short
        does nothing.
        """
        marks = [prefix for prefix in prompt.prefixes if prefix.keep and prefix.tokens >= self._min_tokens]
        if not marks:
            return Cached()
        read = self._longest(prefix for prefix in prompt.prefixes if prefix.tokens <= marks[-1].tokens)
        self._remember(marks)
        written = {"5m": 0, "1h": 0}
        begin = read
        for mark in marks:
            written[mark.keep or "5m"] += max(0, mark.tokens - begin)
            begin = max(begin, mark.tokens)
        return Cached(read, written["5m"] + written["1h"], written["1h"])

    def clear(self) -> None:
        """Forget every prompt."""
        self._seen.clear()

    def _longest(self, prefixes: Iterable[Prefix]) -> int:
        return max((prefix.tokens for prefix in prefixes if prefix.digest in self._seen), default=0)

    def _remember(self, prefixes: Iterable[Prefix]) -> None:
        for prefix in prefixes:
            self._seen[prefix.digest] = None
            self._seen.move_to_end(prefix.digest)
        while len(self._seen) > self._capacity:
            self._seen.popitem(last=False)
