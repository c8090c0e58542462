"""A Messages stream: metered as it passes, every byte of it unchanged."""

from __future__ import annotations

from typing import Any

import msgspec

from comptroller.core.pricing.usage import Usage
from comptroller.core.work.conversation import Call
from comptroller.wire.anthropic_messages.ending import cut_short
from comptroller.wire.anthropic_messages.functions import called
from comptroller.wire.anthropic_messages.usage import Reported, merge, read_input, read_usage, says_zero
from comptroller.wire.body import is_array, is_object
from comptroller.wire.called import CallsInPieces
from comptroller.wire.event_meter import EventMeter
from comptroller.wire.event_stream import event_data, event_name
from comptroller.wire.reported import read_name

_TOKENS_PER_BLOCK = 64  # a block's frame, which is billed and never shown: the call of a tool has the largest
_TOKENS_PER_CITATION = 16  # the mark that the model writes; what it quotes is not output
_END_TOKENS = 8

# Events without generated content, whatever half of them came.
_WITHOUT_CONTENT = frozenset({b"message_stop", b"message_delta", b"content_block_stop", b"ping"})

# Texts of a delta or block that the model did not generate, or not as they stand there.
_NOT_TEXT = frozenset({"type", "id", "tool_use_id", "signature", "encrypted_content", "container"})
_ENCODER = msgspec.json.Encoder()


class _Event(msgspec.Struct, gc=False):
    """One event. Any type is accepted everywhere, so that one odd field cannot hide the usage beside it."""

    type: Any = None
    index: Any = None
    delta: Any = None
    content_block: Any = None
    message: Any = None
    usage: Any = None
    error: Any = None


_DECODER = msgspec.json.Decoder(_Event)


class StreamMeter(EventMeter[_Event]):
    """Reads one stream. `feed` and `finish` return what goes on to the caller, in whole events; nothing here raises."""

    def __init__(self, hour_cache: bool = False) -> None:
        super().__init__(_DECODER)
        self.reported: Reported | None = None  # of all reports so far, once one of them has told the output
        self.input_usage: Usage | None = None  # as the head of the stream tells it: the input side is known early
        self.usage_malformed = False  # what was last reported cannot be, so there is no usage
        self.done = False
        self._hour_cache = hour_cache
        self._stopped = False  # a report came with the reason why the answer stopped
        self._usage: dict[str, Any] = {}
        self._begun = False  # the head of the message came
        self._told = False  # why the message stopped
        self._open: list[int] = []  # blocks that began and have not ended, by index
        self._pieces: CallsInPieces | None = None

    @property
    def called(self) -> tuple[Call, ...]:
        """The tools that were called so far."""
        return () if self._pieces is None else self._pieces.whole()

    @property
    def usage(self) -> Usage | None:
        return self.reported.usage if self.reported is not None else None

    @property
    def usage_final(self) -> bool:
        """Whether the report stands for all that came: the answer or the stream had ended, and no content followed."""
        if self.reported is None or self._stale or not (self._stopped or self.done):
            return False
        return not self._may_hold_content(self._splitter.rest())

    @property
    def seen_output_tokens(self) -> int:
        """No fewer tokens than were visible so far: a byte is a token at most, and each block has a few more.

        Half an event counts whole: what of it is text cannot be told. Thinking that is summarized or left out is
        billed and not visible: such a model has no visible output.
        """
        half = self._splitter.half
        return self._seen + half + _END_TOKENS if self.started or half else 0

    def cut_short(self) -> bytes:
        """The events with which this stream ends after what was passed on, as at the output limit of the provider.

        The output that it tells, where none was reported, is an upper bound.
        """
        if self.done:
            return b""
        reported = self.usage
        said = reported.output_tokens if reported is not None else self.seen_output_tokens
        return cut_short(begun=self._begun, blocks=self._open, told=self._told, output_tokens=said)

    def _may_hold_content(self, half: bytes) -> bool:
        return super()._may_hold_content(half) and event_name(half) not in _WITHOUT_CONTENT

    def _take(self, event: bytes) -> bool:
        self._read_raw(event)
        return True

    def _read_raw(self, raw: bytes) -> None:
        head, _, data = raw.partition(b"\ndata: ")
        usual = head.startswith(b"event: ") and b"\n" not in head
        event = self._decode(data) if usual else None  # line ends after the object are white space to JSON
        if event is None:  # other fields or data lines stand beside it, or it is malformed
            lines = (event_data(raw) or b"").strip()
            if not lines or lines == b"[DONE]":
                return
            event = self._decode(lines)
        if event is None:
            self.malformed = True
            self.error = self.error or event_name(raw) == b"error"
        else:
            self._read(event, raw)

    def _read(self, event: _Event, raw: bytes) -> None:
        match event.type:
            case "content_block_delta":
                self._count(event.delta)
                if self._pieces is not None and is_object(event.delta) and type(event.index) is int:
                    self._pieces.more(event.index, event.delta.get("partial_json"))
            case "content_block_start":
                if type(event.index) is int:
                    self._open.append(event.index)
                    self._begin_call(event.index, event.content_block)
                self._count_block(event.content_block)
            case "message_start":
                self._start(event.message)
            case "message_delta":
                stopped = is_object(event.delta) and bool(event.delta.get("stop_reason"))
                self._told = self._told or stopped
                self._report(event.usage, stopped=stopped)
            case "message_stop":
                self.done = True
            case "content_block_stop":
                if event.index in self._open:
                    self._open.remove(event.index)
            case "ping":
                pass
            case _:
                failed = event.type == "error" or bool(event.error) or event_name(raw) == b"error"
                self.error = self.error or failed
                if not failed:
                    self._count_any(raw)

    def _start(self, message: Any) -> None:
        self._begun = True
        if not is_object(message):
            self.malformed = True
            return
        self.served_model = read_name(message.get("model")) or self.served_model
        reported = message.get("usage")
        if is_object(reported):
            self._usage = merge(self._usage, reported)
            self.input_usage = read_input(self._usage, self._hour_cache)

    def _report(self, reported: Any, *, stopped: bool) -> None:
        if not reported:
            return
        if is_object(reported):
            self._usage = merge(self._usage, reported)
            # A head of zeros is a stand-in; an end of zeros that nothing contradicts is a report.
            said = reported if "input_tokens" not in self._usage and says_zero(reported) else self._usage
            self.reported = read_usage(said, self._hour_cache)
        else:
            self.reported = None
        self.usage_malformed = self.reported is None
        self._stopped = stopped or (self._stopped and not self._stale and self.reported is not None)
        self._stale = False

    def _count(self, delta: Any) -> None:
        """Add the bytes of every text in a delta, whatever its key is: new ones come and are billed."""
        if not is_object(delta):
            self.malformed = True
            return
        for key, value in delta.items():
            if key == "citation":
                self._stale = True
                self._seen += _TOKENS_PER_CITATION
            elif isinstance(value, str) and value and key not in _NOT_TEXT:
                self.started = self._stale = True
                self._seen += len(value) if value.isascii() else len(value.encode())

    def _begin_call(self, index: int, block: Any) -> None:
        name = called(block) if is_object(block) else ""
        if not name:
            return
        if self._pieces is None:
            self._pieces = CallsInPieces()
        self._pieces.begin(index, name)
        given = block.get("input")
        if given:  # servers that do not send it in pieces
            self._pieces.more(index, _ENCODER.encode(given).decode())

    def _count_any(self, raw: bytes) -> None:
        """Count every text of an event of an unknown kind: a header can turn one on, and it may be billed."""
        try:
            waiting: list[object] = [msgspec.json.decode(event_data(raw) or b"null")]
        except (ValueError, RecursionError):
            return
        while waiting:  # no recursion: depth is theirs
            value = waiting.pop()
            if isinstance(value, str):
                self.started = True
                self._seen += len(value.encode())
            elif is_object(value):
                waiting += [each for key, each in value.items() if key not in _NOT_TEXT]
            elif is_array(value):
                waiting += value

    def _count_block(self, block: Any) -> None:
        if not is_object(block):
            self.malformed = True
            return
        self._stale = True
        kind = block.get("type")
        if isinstance(kind, str) and (kind == "fallback" or kind.endswith("_result")):
            return  # made by a server, not by the model
        self.started = True
        self._seen += _TOKENS_PER_BLOCK
        given = block.get("input")
        if given:
            self._seen += len(_ENCODER.encode(given))
        self._count(block)
