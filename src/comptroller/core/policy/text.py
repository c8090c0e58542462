"""The text of a policy file, taken apart into policies, so that a fault can be said with its line.

Cedar ends a policy with `;`, which stands nowhere else but in texts and comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import blake2s
from typing import NamedTuple

# A text in quotes, a comment, or the end of a policy; an open quote swallows the rest, as it does for Cedar.
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\Z)|//[^\n]*|;', re.DOTALL)
_BLANK = re.compile(r"(?:\s|//[^\n]*)*")


class Statement(NamedTuple):
    """One policy as it is written. `line`: where its first word stands, counted from 1."""

    file: str
    line: int
    text: str

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


def statements(file: str, text: str) -> Iterator[Statement]:
    """The policies of a file. What is left behind the last `;` comes too, for whoever parses it to refuse."""
    start = 0
    for mark in _MARKS.finditer(text):
        if mark.group() == ";":
            yield _statement(file, text, start, mark.end())
            start = mark.end()
    if _first_word(text, start) < len(text):
        yield _statement(file, text, start, len(text))


def version_of(files: Mapping[str, str]) -> str:
    """A short digest of a set of policy files, the same wherever their lines end and in whichever order they come."""
    digest = blake2s(digest_size=6)
    for name, text in sorted(files.items()):
        for part in (name.encode(), "\n".join(line.rstrip() for line in text.strip().splitlines()).encode()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _statement(file: str, text: str, start: int, end: int) -> Statement:
    first = _first_word(text, start)
    return Statement(file, text.count("\n", 0, first) + 1, text[first:end])


def _first_word(text: str, start: int) -> int:
    """Where the first thing after blanks and comments stands."""
    match = _BLANK.match(text, start)
    return match.end() if match is not None else start
