"""Streams of media: events with pieces of an image or of sound, and one at the end that says what was used.

The pieces say nothing of what they cost, so a call with such a stream is held in full.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from comptroller.core.pricing.usage import Usage
from comptroller.wire.event_stream import EventSplitter, EventTooLarge, event_data

_MOST_EVENT_BYTES = 64 * 1024 * 1024  # a large image in base64


class _Event(msgspec.Struct, gc=False):
    type: Any = None
    usage: Any = None
    error: Any = None


_DECODER = msgspec.json.Decoder(_Event, float_hook=Decimal)


class DoneStream:
    """Reads one stream; its bytes pass unchanged, in whole events. Nothing here raises.

    `ends`: the types of the event with which it is done. `read`: the usage that such an event reports, decoded.
    """

    served_model: str | None = None

    def __init__(self, ends: frozenset[str], read: Callable[[Any], Usage | None]) -> None:
        self.usage: Usage | None = None
        self.done = False
        self.malformed = False
        self.error = False
        self.started = False
        self._ends = ends
        self._read = read
        self._splitter = EventSplitter(_MOST_EVENT_BYTES)
        self._unreadable = False

    @property
    def usage_final(self) -> bool:
        """It is reported once, at the end."""
        return self.usage is not None

    @property
    def input_usage(self) -> Usage | None:
        """Not told before the end."""
        return None

    @property
    def seen_output_tokens(self) -> int:
        """Not visible: nobody asks, since these calls are held in full."""
        return 0

    def feed(self, chunk: bytes) -> bytes:
        """Meter what came; returns the whole events of it."""
        self.started = True
        if self._unreadable:
            return chunk
        try:
            events = self._splitter.feed(chunk)
        except EventTooLarge:
            self.malformed = self._unreadable = True
            return self._splitter.rest()
        for event in events:
            self._take(event)
        return b"".join(events)

    def finish(self) -> bytes:
        """The stream is at its end: what came after the last whole event."""
        rest = b"" if self._unreadable else self._splitter.rest()
        self._splitter = EventSplitter(_MOST_EVENT_BYTES)
        if rest.strip():
            self._take(rest)
        return rest

    def cut_short(self) -> bytes:
        """Nothing: clients take the pieces that they have."""
        return b""

    def _take(self, raw: bytes) -> None:
        data = event_data(raw)
        if data is None or not data.strip() or data.strip() == b"[DONE]":
            return
        try:
            event = _DECODER.decode(data)
        except (ValueError, RecursionError):
            self.malformed = self.malformed or raw.endswith((b"\n", b"\r"))  # half an event is a stream that was cut
            return
        if event.type == "error" or event.error:
            self.error = True
        if isinstance(event.type, str) and event.type in self._ends:
            self.done = True
            self.usage = self._read(event.usage)
