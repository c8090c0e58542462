"""Counting a prompt, and the prompt cache.

Text is bounded by the body: a message's tokens cover distinct bytes of its JSON, and the overhead of
three a message is smaller than the JSON punctuation around it. Images and audio are counted beside it
by their own formula.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from comptroller.sandbox.request import ChatRequest, Message, Part
from comptroller.sandbox.tokens import count_tokens

MESSAGE_OVERHEAD_TOKENS = 3
IMAGE_TOKENS = 765
AUDIO_BYTES_PER_TOKEN = 100

_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Prefix:
    """The prompt up to some message: its tokens, and a digest of all of it."""

    tokens: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Prompt:
    """A counted prompt. The prefixes grow message by message; the tools come before the first."""

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


def count_prompt(request: ChatRequest, salt: bytes) -> Prompt:
    """Count a request's prompt; `salt` keeps the prefixes of different keys and models apart."""
    digest = blake2b(salt, digest_size=_DIGEST_BYTES).digest()
    tokens = 0
    prefixes: list[Prefix] = []
    if request.tools:
        tools = [bytes(tool) for tool in request.tools]
        tokens = sum(count_tokens(tool.decode()) for tool in tools)
        digest = _chain(digest, b"\0".join(tools))
        prefixes.append(Prefix(tokens, digest))
    audio_tokens = 0
    for message in request.messages:
        tokens += _message_tokens(message)
        audio_tokens += _audio_tokens(message)
        digest = _chain(digest, msgspec.json.encode(message))
        prefixes.append(Prefix(tokens, digest))
    return Prompt(tuple(prefixes), audio_tokens)


def _chain(digest: bytes, content: bytes) -> bytes:
    return blake2b(content, key=digest, digest_size=_DIGEST_BYTES).digest()


def _message_tokens(message: Message) -> int:
    tokens = MESSAGE_OVERHEAD_TOKENS + count_tokens(message.role) + count_tokens(message.name or "")
    tokens += sum(count_tokens(bytes(call).decode()) for call in message.tool_calls or ())
    if isinstance(message.content, list):
        return tokens + sum(_part_tokens(part) for part in message.content)
    return tokens + count_tokens(message.content or "")


def _part_tokens(part: Part) -> int:
    if part.type == "image_url":
        return IMAGE_TOKENS
    if part.type == "input_audio":
        return _part_audio_tokens(part)
    return count_tokens(part.text or part.refusal or "")


def _audio_tokens(message: Message) -> int:
    if not isinstance(message.content, list):
        return 0
    return sum(_part_audio_tokens(part) for part in message.content)


def _part_audio_tokens(part: Part) -> int:
    if part.type != "input_audio" or part.input_audio is None:
        return 0
    return -(-len(part.input_audio.data) // AUDIO_BYTES_PER_TOKEN)


class PromptCache:
    """Remembers prefixes of prompts, the most recently used `capacity` of them."""

    def __init__(self, capacity: int, min_tokens: int) -> None:
        self._capacity = capacity
        self._min_tokens = min_tokens
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def use(self, prompt: Prompt) -> int:
        """Tokens of the longest remembered prefix (0 when it is too short); remembers the whole prompt."""
        cached = max((prefix.tokens for prefix in prompt.prefixes if prefix.digest in self._seen), default=0)
        for prefix in prompt.prefixes:
            self._seen[prefix.digest] = None
            self._seen.move_to_end(prefix.digest)
        while len(self._seen) > self._capacity:
            self._seen.popitem(last=False)
        return cached if cached >= self._min_tokens else 0

    def clear(self) -> None:
        """Forget every prompt."""
        self._seen.clear()
