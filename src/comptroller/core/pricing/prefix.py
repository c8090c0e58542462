"""Exact prefixes: a prompt that extends one which was metered is bounded by that exact count and the bytes of the rest.

Bytes bound what nobody has counted, and agents send the same growing conversation again and again: after the first
call nearly all of it has been counted, by whoever bills it. Nothing here guesses: everything that feeds the prompt
stands in the digests, and the longer of two bounds never counts.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

SESSIONS_MOST = 4_096
_KEPT = 8  # prompts of one session, those that came last: sub-agents take turns
_BYTES_A_TOKEN_MOST = 16  # a report that says less of a prompt than this is not believed


class Prompt(msgspec.Struct, frozen=True, gc=False):
    """What feeds a prompt, as digests: one before the messages, then one after each of them, each of all before it."""

    digests: tuple[bytes, ...]
    sizes: tuple[int, ...]  # of the messages, in bytes
    body_bytes: int
    extra_tokens: int  # that the request adds beside the bytes of its body

    @property
    def whole(self) -> bytes:
        return self.digests[-1]


class _Counted(msgspec.Struct, frozen=True, gc=False):
    tokens: int
    extra_tokens: int


_Key = tuple[str, str, bytes]
"""Provider, model as the provider calls it, digest."""


class Prefixes:
    """Prompts that were metered, by session: a few of each, of those sessions that called last."""

    def __init__(self) -> None:
        # None: not to be relied on.
        self._sessions: OrderedDict[str, OrderedDict[_Key, _Counted] | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def bound(self, session: str, provider: str, model: str, prompt: Prompt) -> int | None:
        """No more tokens than this are in the prompt; None: no part of it was metered."""
        known = self._sessions.get(session)
        if known is None:
            return None
        rest = 0
        for place in range(len(prompt.sizes), -1, -1):
            counted = known.get((provider, model, prompt.digests[place]))
            if counted is not None:
                return counted.tokens + rest + max(0, prompt.extra_tokens - counted.extra_tokens)
            rest += prompt.sizes[place - 1] if place else 0
        return None

    def remember(self, session: str, provider: str, model: str, prompt: Prompt, input_tokens: int) -> None:
        """The provider has billed so many tokens for this prompt."""
        if not is_believed(input_tokens, prompt.body_bytes):
            return
        fresh: OrderedDict[_Key, _Counted] = OrderedDict()
        known = self._sessions.get(session, fresh)
        if known is None:
            return
        self._put(session, known)
        key = (provider, model, prompt.whole)
        known[key] = _Counted(input_tokens, prompt.extra_tokens)
        known.move_to_end(key)
        if len(known) > _KEPT:
            known.popitem(last=False)

    def distrust(self, session: str) -> None:
        """What was counted of its prompts turned out not to bound one: from now on their bytes do."""
        self._put(session, None)

    def _put(self, session: str, known: OrderedDict[_Key, _Counted] | None) -> None:
        if session not in self._sessions and len(self._sessions) >= SESSIONS_MOST:
            self._sessions.popitem(last=False)
        self._sessions[session] = known
        self._sessions.move_to_end(session)


def is_believed(input_tokens: int, body_bytes: int) -> bool:
    """Whether a report of the input can be of so many bytes: some servers begin a stream with a stand-in for it."""
    return input_tokens * _BYTES_A_TOKEN_MOST >= body_bytes
