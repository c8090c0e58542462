"""How many tokens the input of a request is, about: by what the session was billed for, byte by byte.

Money needs a bound, and has one (estimate.py); a cap on the context would bind at a quarter of what it says if it went
by that. So what the last answer of the session was billed for tells what a byte is worth; before the first one, three
bytes are a token. Nothing is held by these numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    under_way: int = 0  # part of total: of requests that have not ended

    def in_tokens(self) -> Count:
        """The same for a request whose text is counted in tokens already."""
        return self._replace(per_byte=_ONE)


NONE = Count()


class InputCounts:
    """The counts of the sessions that go on."""

    def __init__(self) -> None:
        self._of: dict[str, Count] = {}

    def of(self, session: str) -> Count:
        """The count of one session."""
        return self._of.get(session, NONE)

    def ended(self, sessions: Iterable[str]) -> Mapping[str, int]:
        """What each of these sessions has sent with requests that have ended, as far as it was counted here."""
        counts = {each: self._of.setdefault(each, NONE) for each in sessions}
        return {each: count.total - count.under_way for each, count in counts.items()}

    def begin(self, session: str, total: int, known: int = 0) -> None:
        """A session goes on that had sent so many tokens when only `known` of them were counted here (`ended`)."""
        count = self._of.get(session)
        if count is not None:
            self._of[session] = count._replace(total=count.total + total - known)

    def take(self, session: str, asked: Asked) -> int:
        """A request leaves: what it will come to, about, is counted at once. Returns that."""
        count = self.of(session)
        tokens = in_all(asked, count)
        self._of[session] = count._replace(total=count.total + tokens, under_way=count.under_way + tokens)
        return tokens

    def end(self, session: str, taken: int, billed: int, text: int = 0) -> None:
        """It has ended. `taken`: what was counted for it; `billed`: tokens of input, 0 where it was not.

        `text`: the bound of its text, where it had nothing else; 0: it had.
        """
        count = self._of.get(session)
        if count is None:  # the session is over, and nobody asks for it any more
            return
        per_byte = count.per_byte
        if billed and text:
            per_byte = min(_ONE, max(_LEAST, -(-billed * _ONE // text)))
        most = max(billed, count.most or 0) if billed else count.most
        self._of[session] = Count(count.total + billed - taken, most, per_byte, count.under_way - taken)

    def keep(self, session: str, taken: int) -> None:
        """It has ended here and goes on at its provider: what was counted for it stays."""
        count = self._of.get(session)
        if count is not None:
            self._of[session] = count._replace(under_way=count.under_way - taken)

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


def in_all(asked: Asked, count: Count) -> int:
    """About how many tokens are sent with a request: of a batch, those of all its lines."""
    if asked.lines:
        return sum(-(-line.text_tokens * count.per_byte // _ONE) for line in asked.lines)
    tokens = expected(asked, None, count)
    return asked.text_tokens if tokens is None else tokens


def is_text(asked: Asked) -> bool:
    """Whether its input is nothing but text that stands in it: only then its bytes tell what one is worth."""
    return not (asked.images or asked.audio_input or asked.beyond or asked.earlier or asked.lines)
