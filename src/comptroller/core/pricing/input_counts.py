"""How many tokens the input of a request is, about: by what the session was billed for, byte by byte.

Money needs a bound, and has one (estimate.py); a cap on the context would bind at a quarter of what it says if it went
by that. So what the last answer of the session was billed for tells what a byte is worth; before the first one, three
bytes are a token. Nothing is held by these numbers.
"""

from __future__ import annotations

from typing import NamedTuple

from comptroller.core.pricing.estimate import Asked, ModelLimits

_ONE = 1_000_000
_FIRST = _ONE // 3
_LEAST = _ONE // 16  # a report of less than a token for so many bytes is not believed
_IMAGE_TOKENS = 1_600  # where the model's entry says nothing


class Count(NamedTuple):
    """What a session has sent so far, in tokens as they were billed."""

    total: int = 0
    most: int | None = None  # at once
    per_byte: int = _FIRST  # millionths of a token


NONE = Count()


class InputCounts:
    """The counts of the sessions that go on."""

    def __init__(self) -> None:
        self._of: dict[str, Count] = {}

    def of(self, session: str) -> Count:
        """The count of one session."""
        return self._of.get(session, NONE)

    def begin(self, session: str, total: int) -> None:
        """A session goes on that has sent so many tokens before."""
        if total:
            self._of[session] = Count(total)

    def note(self, session: str, asked: Asked, tokens: int | None) -> None:
        """A request has ended. `tokens`: as they were billed; None: nobody said."""
        before = self.of(session)
        if tokens is None:
            known = expected(asked, None, before)
            tokens = asked.text_tokens if known is None else known
            self._of[session] = Count(before.total + tokens, max(tokens, before.most or 0), before.per_byte)
            return
        per_byte = before.per_byte
        if asked.text_tokens and tokens and not (asked.images or asked.beyond or asked.earlier or asked.audio_input):
            per_byte = min(_ONE, max(_LEAST, -(-tokens * _ONE // asked.text_tokens)))
        self._of[session] = Count(before.total + tokens, max(tokens, before.most or 0), per_byte)

    def forget(self, session: str) -> None:
        """It is over."""
        self._of.pop(session, None)


def expected(asked: Asked, limits: ModelLimits | None, count: Count) -> int | None:
    """About how many tokens the input of a request is. None: nobody knows (`Asked.beyond` says why).

    Of a batch, those of its largest line: each is a request by itself.
    """
    if asked.lines:
        each = [expected(line.largest, limits, count) for line in asked.lines]
        known = [tokens for tokens in each if tokens is not None]
        return max(known) if len(known) == len(each) else None
    if asked.beyond:
        return None if limits is None or asked.fees else limits.context_window
    image = _IMAGE_TOKENS if limits is None or limits.max_image_tokens is None else limits.max_image_tokens
    text = -(-asked.text_tokens * count.per_byte // _ONE)
    return text + asked.images * image + sum(each.tokens or 0 for each in asked.earlier)
