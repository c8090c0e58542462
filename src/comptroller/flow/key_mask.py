"""The gateway's own key in what a provider says: nobody behind the gateway may read it there.

Providers do repeat keys, most of all in error texts. What is looked for:

- in everything that goes back to a caller or into a record, headers and names too: the whole key, also where JSON
  escapes a character that has to be, and where a stream's chunks cut it in two;
- in errors, every run of 16 of its characters, and any character of it written as a JSON escape.

Not found are other spellings (base64, one character to an event) and pieces of fewer than 16 characters: "sk-...aB3x"
is how providers name a key without giving it away. A key of fewer than 16 characters is a word ("EMPTY", "ollama")
that answers are full of, and is left alone.
"""

from __future__ import annotations

import re

SHORTEST_KEY = 16
RUN = 16  # of its characters in a row

_MASK = b"[key of the gateway]"
_LINE_ENDS = (b"\n", b"\r")  # no key has one
_SEED, _STRIDE = 9, 8  # every run of 16 holds one of the pieces of 9 that begin at each eighth character
_ESCAPE = re.compile(rb"\\(?:u00([2-7][0-9A-Fa-f])|.)", re.DOTALL)
_STAYS_ESCAPED = frozenset((b'"', b"\\"))


class KeyMask:
    """Knows keys and takes them out of texts. Without a key, or with a word for one, it changes nothing."""

    def __init__(self, *keys: bytes) -> None:
        secrets = sorted({key for key in keys if len(key) >= SHORTEST_KEY}, key=len, reverse=True)
        spellings = [spelling for secret in secrets for spelling in _spellings(secret)]
        self._spellings = tuple(dict.fromkeys(spellings))

    def plain(self, text: bytes) -> bytes:
        """The text without the key as a whole."""
        for spelling in self._spellings:
            if spelling in text:
                text = text.replace(spelling, _MASK)
        return text

    def thorough(self, text: bytes) -> bytes:
        """The text without runs of the key, however JSON spells them. Where there are none it is left as it is."""
        simple = _ESCAPE.sub(_simplest, text) if b"\\" in text else text
        masked = self._without_runs(simple)
        return self.plain(text if masked is simple else masked)

    def name(self, text: str | None) -> str | None:
        """A name that a provider reports, for headers and records; short ones cannot hold a key."""
        if text is None or len(text) < SHORTEST_KEY:
            return text
        return self.plain(text.encode()).decode()

    def stream(self) -> StreamMask:
        return StreamMask(self, self._spellings)

    def _without_runs(self, text: bytes) -> bytes:
        runs = [run for spelling in self._spellings for run in _runs(spelling, text)]
        if not runs:
            return text
        pieces: list[bytes] = []
        end = 0
        for left, right in sorted(runs):
            if left >= end:
                pieces += (text[end:left], _MASK)
            end = max(end, right)
        return b"".join((*pieces, text[end:]))


class StreamMask:
    """Takes the key out of one stream. Text that could be its beginning waits for what follows."""

    def __init__(self, mask: KeyMask, spellings: tuple[bytes, ...]) -> None:
        self._mask = mask
        self._spellings = spellings
        self._held = b""

    def feed(self, text: bytes, *, thorough: bool = False) -> bytes:
        """What goes on now. Whole events end in a line end, so of them nothing waits."""
        if text.endswith(_LINE_ENDS) and not (self._held or thorough):
            return self._mask.plain(text)  # as nearly always
        text, self._held = self._held + text, b""
        text = self._mask.thorough(text) if thorough else self._mask.plain(text)
        if not text.endswith(_LINE_ENDS):
            waits = max((_beginning(spelling, text) for spelling in self._spellings), default=0)
            if waits:
                text, self._held = text[:-waits], text[-waits:]
        return text

    def rest(self) -> bytes:
        """At the end of the stream: what waited, which is not the key."""
        held, self._held = self._held, b""
        return held


def _spellings(secret: bytes) -> tuple[bytes, ...]:
    """A key as it is, and as JSON may write it."""
    quoted = secret.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return secret, quoted, quoted.replace(b"/", b"\\/")


def _beginning(spelling: bytes, text: bytes) -> int:
    """How many bytes at the end of the text are the beginning of the key, but not all of it."""
    longest = min(len(spelling) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(spelling[:size])), 0)


def _runs(key: bytes, text: bytes) -> list[tuple[int, int]]:
    """Where runs of the key stand in the text: begin and end of each."""
    found: list[tuple[int, int]] = []
    for at in range(0, len(key) - _SEED + 1, _STRIDE):
        seed = key[at : at + _SEED]
        left = text.find(seed)
        while left >= 0:
            begin, end = _widest(key, text, at, left)
            if end - begin >= RUN:
                found.append((begin, end))
            left = text.find(seed, max(end, left + 1))
    return found


def _widest(key: bytes, text: bytes, at: int, left: int) -> tuple[int, int]:
    """The run around the piece of the key at `at` that stands at `left` in the text."""
    before = 0
    while before < min(at, left) and text[left - before - 1] == key[at - before - 1]:
        before += 1
    after = _SEED
    while after < min(len(key) - at, len(text) - left) and text[left + after] == key[at + after]:
        after += 1
    return left - before, left + after


def _simplest(escape: re.Match[bytes]) -> bytes:
    r"""One JSON escape as simple as JSON allows: \u0073 is s, \/ is /; the others stay."""
    if escape[1] is None:
        return b"/" if escape[0] == b"\\/" else escape[0]
    character = bytes((int(escape[1], 16),))
    return b"\\" + character if character in _STAYS_ESCAPED else character
