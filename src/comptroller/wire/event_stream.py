"""Server-sent events as bytes: where one event ends, and what its data is.

Source: the "event stream" format of the WHATWG HTML standard. Lines end in LF, CRLF or CR; an event ends
at a blank line; the data lines of one event are joined by LF.
"""

from __future__ import annotations

import re

MOST_EVENT_BYTES = 8 * 1024 * 1024  # a generated image can come as one event of some MB; beyond this it is an attack

_BLANK_LINE = re.compile(rb"(?:\r\n|\r(?!\n)|\n)(?:\r\n|\r|\n)")
_LONGEST_BLANK_LINE = 4
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """One event is longer than a stream may make us keep. Everything that was not handed out is in `rest()`."""


class EventSplitter:
    """Cuts a stream into whole events, byte for byte: all that `feed` returned, then `rest()`, is the input.

    An event is handed out as soon as its blank line is complete. A CRLF that is cut in two between chunks may
    leave its LF at the head of the next event, where it means nothing.
    """

    def __init__(self, most_event_bytes: int = MOST_EVENT_BYTES) -> None:
        self.half = 0  # bytes of the event that has begun, without the white space around it
        self._most = most_event_bytes
        self._pending = bytearray()
        self._blank = 0  # bytes of white space that it begins with
        self._carriage_return = False  # one is in `_pending`

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that this chunk completes, each with its terminator. Raises EventTooLarge."""
        before = len(self._pending)
        if not before and len(chunk) <= self._most and _is_one_event(chunk):
            return [chunk]  # the usual write of Google and of MCP servers
        if b"\r" in chunk:
            self._carriage_return = True
        if not before:
            if 0 <= chunk.find(b"\n\n") == len(chunk) - 2 and not self._carriage_return and len(chunk) <= self._most:
                return [chunk]  # a provider's usual write: one event
            return self._split(chunk)
        self._grow(chunk)
        # What was here before has no blank line in it, so only one that reaches into the new part can end it.
        if self._ends_after(max(0, before - _LONGEST_BLANK_LINE)):
            return self._split(bytes(self._pending))
        self._check(len(self._pending))
        return []

    def rest(self) -> bytes:
        """What came after the last whole event: a copy, which can be megabytes. How much it is says `half`."""
        return bytes(self._pending)

    def _grow(self, chunk: bytes) -> None:
        """Looks at the new part only, for it is asked at each arrival how much there is by now."""
        before = len(self._pending)
        self._pending += chunk
        end = len(chunk.rstrip())
        if end:
            if not self.half:
                self._blank = before + len(chunk) - len(chunk.lstrip())
            self.half = before + end - self._blank

    def _ends_after(self, start: int) -> bool:
        if self._carriage_return:
            return _BLANK_LINE.search(self._pending, start) is not None
        return self._pending.find(b"\n\n", start) >= 0

    def _split(self, data: bytes) -> list[bytes]:
        if self._carriage_return:
            events, rest = _split_at_any(data)
        else:
            parts = data.split(b"\n\n")
            rest = parts.pop()
            events = [part + b"\n\n" for part in parts]
        if len(data) > self._most:
            self._pending = bytearray(data)  # until we know that nothing is too large
            self._check(max(len(rest), *map(len, events)) if events else len(rest))
        self._pending, self.half = bytearray(), 0
        if rest:
            self._grow(rest)
        self._carriage_return = self._carriage_return and b"\r" in rest
        return events

    def _check(self, length: int) -> None:
        if length > self._most:
            raise EventTooLarge(f"an event of more than {self._most} bytes")


def _is_one_event(chunk: bytes) -> bool:
    """Whether all lines of a chunk end in CRLF, and the only blank one is its end."""
    if not chunk.endswith(b"\r\n\r\n") or chunk.find(b"\r\n\r\n") != len(chunk) - _LONGEST_BLANK_LINE:
        return False
    lines = chunk.count(b"\r\n")
    return chunk.count(b"\r") == lines == chunk.count(b"\n")


def _split_at_any(data: bytes) -> tuple[list[bytes], bytes]:
    events: list[bytes] = []
    start = 0
    for blank in _BLANK_LINE.finditer(data):
        events.append(data[start : blank.end()])
        start = blank.end()
    return events, data[start:]


def event_data(raw: bytes) -> bytes | None:
    """The data of one raw event, its data lines joined by LF; None for comments and events without data."""
    if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw:
        return raw[6:-2]
    values = _field(raw, b"data")
    return b"\n".join(values) if values else None


def event_name(raw: bytes) -> bytes:
    """The `event` field of one raw event; empty if it has none."""
    values = _field(raw, b"event")
    return values[-1] if values else b""


def _field(raw: bytes, wanted: bytes) -> list[bytes]:
    values: list[bytes] = []
    for line in raw.removeprefix(_BYTE_ORDER_MARK).splitlines():
        name, _, value = line.partition(b":")
        if name == wanted:
            values.append(value.removeprefix(b" "))
    return values
