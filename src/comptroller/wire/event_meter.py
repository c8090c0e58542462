"""What the meters of all dialects' streams have in common: events go on as they came, and each of them is read."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from comptroller.wire.event_stream import EventSplitter, EventTooLarge, event_data, event_name

E = TypeVar("E")
END_MARK = b"[DONE]"


class EventMeter(Generic[E]):
    """Reads one stream of events `E`. `feed` and `finish` return what goes on to the caller, in whole events.

    A dialect reads an event in `_take`. Nothing here raises.
    """

    def __init__(self, decoder: msgspec.json.Decoder[E]) -> None:
        self.malformed = False  # a data line that is not a JSON object of this dialect
        self.error = False  # the provider reported an error in mid-stream
        self.served_model: str | None = None
        self.started = False  # generated content came
        self._decoder = decoder
        self._splitter = EventSplitter()
        self._unreadable = False  # from here on the stream passes unread
        self._stale = False  # content came after the last report of usage
        self._seen: int = 0  # bytes of text, and tokens of what frames it

    def feed(self, chunk: bytes) -> bytes:
        """Meter what came; returns the whole events of it that go on to the caller."""
        if self._unreadable:
            self._seen += len(chunk)
            return chunk
        try:
            events = self._splitter.feed(chunk)
        except EventTooLarge:
            return self._give_up()
        if len(events) == 1:  # a provider's usual write
            return events[0] if self._take(events[0]) else b""
        return b"".join([event for event in events if self._take(event)])

    def finish(self) -> bytes:
        """The stream is at its end: meter and return what came after the last whole event."""
        rest = b"" if self._unreadable else self._splitter.rest()
        self._splitter = EventSplitter()
        data = event_data(rest)
        if data is not None and (data.strip() == END_MARK or self._decode(data) is not None):
            return rest if self._take(rest) else b""
        self.error = self.error or (data is None and event_name(rest) == b"error")
        half = len(rest.strip())  # cut in the middle of an event: not the provider's malformed JSON
        self.started = self.started or half > 0
        self._seen += half
        self._stale = self._stale or self._may_hold_content(rest)
        return rest

    def _take(self, event: bytes) -> bool:
        """Read a whole event; whether it goes on to the caller."""
        raise NotImplementedError

    def _may_hold_content(self, half: bytes) -> bool:
        """Whether half an event may hold generated content: its data has begun, and is not the end mark."""
        return not END_MARK.startswith((event_data(half) or b"").strip())

    def _decode(self, data: bytes) -> E | None:
        try:
            return self._decoder.decode(data)
        except (ValueError, RecursionError):
            return None

    def _give_up(self) -> bytes:
        """An event is longer than a stream may make us keep: whatever comes counts as text."""
        passed = self._splitter.rest()
        self._splitter = EventSplitter()
        self.malformed = self._unreadable = self.started = self._stale = True
        self._seen += len(passed)
        return passed
