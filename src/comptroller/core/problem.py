"""What is wrong in a file that a person wrote, said so that they can mend it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One fault, or one thing to look at. `where` is the dotted path of the key, as it stands in the file."""

    where: str
    sentence: str
    hint: str = ""

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.where}: {self.sentence} {self.hint}".rstrip()


class Fault(Exception):
    """Raised by the reader of one value; whoever knows where the value stands makes a `Problem` of it."""

    def __init__(self, sentence: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.hint = hint

    def at(self, where: str) -> Problem:
        return Problem(where, self.sentence, self.hint)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The closest known word as a question; else all of them where they are few; else nothing."""
    words = sorted(known)
    listed = f"Known: {', '.join(words)}." if 0 < len(words) <= 20 else ""
    return nearest(word, words) or listed


def nearest(word: str, known: Iterable[str]) -> str:
    """The closest known word as a question, if one is close."""
    close = get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else ""


def join(where: str, key: str) -> str:
    """The dotted path of a key, quoted as TOML wants it where the key is not a bare one."""
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    word = key if bare else '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{where}.{word}" if where else word
