"""The chat tool by which people answer tickets: the secret that it shares with us, and which of its tokens are used."""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.settings.keys import UnusableKey, read_key
from comptroller.settings.values import KeySource

SHORTEST_SECRET = 32  # bytes, as HS256 wants (RFC 7518 section 3.2)
_TOKENS_KEPT = 10_000


class Chat:
    """One. `secret` None: nobody answers from a chat."""

    def __init__(self, secret: bytes | None = None) -> None:
        self.secret = secret
        self._used: dict[str, int] = {}  # when they are of no use any more, in seconds, by their ids

    def use(self, token_id: str, ends_s: int, now_s: int) -> bool:
        """Whether this is the first time. Where too many are in use at once, it is not."""
        if token_id in self._used:
            return False
        if len(self._used) >= _TOKENS_KEPT:
            self._used = {each: end for each, end in self._used.items() if end > now_s}
        if len(self._used) >= _TOKENS_KEPT:
            return False
        self._used[token_id] = ends_s
        return True


def read_chat(source: KeySource | None, environ: Mapping[str, str], warnings: list[str]) -> Chat:
    """The chat that the settings name; one whose secret cannot be read answers nothing, and a warning says so."""
    if source is None:
        return Chat()
    try:
        secret = read_key("The secret of the chat tool", source, environ, warnings)
        if len(secret) < SHORTEST_SECRET:
            raise UnusableKey(f"{source} is shorter than {SHORTEST_SECRET} bytes")
    except UnusableKey as reason:
        warnings.append(f"Nobody answers tickets from a chat: {reason}.")
        return Chat()
    return Chat(secret)
