"""Files of lines, each of them one JSON value, read as they come (JSONL)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from comptroller.core.pricing.deferral import Line

MOST_LINE_BYTES = 16 * 1024 * 1024  # one answer of one request, at the most


class LineReader(ABC):
    """Takes such a file in pieces; raises ValueError for what is none."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @abstractmethod
    def read(self, line: bytes) -> Iterable[Line]:
        """What one line says was used. Raises ValueError."""

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """The lines that end in this piece."""
        *whole, rest = chunk.split(b"\n")
        if whole:
            whole[0] = bytes(self._rest) + whole[0]
            self._rest.clear()
        self._rest += rest
        if len(self._rest) > MOST_LINE_BYTES:
            raise ValueError("a line is too long")
        for line in whole:
            if line.strip():
                yield from self.read(line)

    def finish(self) -> Iterator[Line]:
        """The last line, if no line break ends it."""
        if self._rest.strip():
            yield from self.read(bytes(self._rest))
        self._rest.clear()


class NoResults(LineReader):
    """Of work whose report has all that came of it."""

    def read(self, line: bytes) -> Iterable[Line]:
        """Raises ValueError: there is no file of them."""
        raise ValueError("its results stand in the report")
