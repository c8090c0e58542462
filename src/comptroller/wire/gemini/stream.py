"""A streamGenerateContent stream of server-sent events: metered as it passes, every byte of it unchanged.

There is no end mark: an answer is whole when each of its candidates has said why it finished, or when the prompt was
blocked. Every event repeats the usage; the one that came with the end, or after it, stands for all.
"""

from __future__ import annotations

from typing import Any

import msgspec

from comptroller.core.pricing.usage import Usage
from comptroller.core.work.conversation import Call
from comptroller.wire.body import is_array, is_object
from comptroller.wire.called import MOST_CALLS
from comptroller.wire.event_meter import EventMeter
from comptroller.wire.event_stream import event_data, event_name
from comptroller.wire.gemini.functions import call_of
from comptroller.wire.gemini.usage import read_usage
from comptroller.wire.reported import MOST_TOKENS, read_name

# Billed and never shown: what begins and ends a candidate; the frame of a tool's call.
_TOKENS_PER_CANDIDATE = 8
_TOKENS_PER_PART = 24
_TOKENS_PER_MEDIUM = 4_096  # an image that was drawn, or a piece of speech: more than any is billed as
_BYTES_PER_NUMBER = 8  # or switch, among the arguments of a call

# Keys of a part that hold nothing the model generated, or not as it stands there.
_NOT_TEXT = frozenset({"thoughtSignature", "thought", "id", "mimeType", "fileUri", "data", "mediaResolution"})
_ENCODER = msgspec.json.Encoder()


class _Chunk(msgspec.Struct, rename="camel", gc=False):
    """One event. Any type is accepted everywhere, so that one odd field cannot hide the usage beside it."""

    candidates: Any = None
    prompt_feedback: Any = None
    usage_metadata: Any = None
    model_version: Any = None
    response_id: Any = None
    error: Any = None


_DECODER = msgspec.json.Decoder(_Chunk)


class StreamMeter(EventMeter[_Chunk]):
    """Reads one stream. `feed` and `finish` return what goes on to the caller, in whole events; nothing here raises."""

    def __init__(self, candidates: int = 1) -> None:
        super().__init__(_DECODER)
        self.input_usage: Usage | None = None  # the input side of the first report: it is known early
        self._blocked = False
        self._begun: set[int] = {0}
        self._finished: set[int] = set()
        self._expected = candidates
        self._parts = 0
        self._reported_output = 0  # the most that any report said
        self._reported: Any = None  # the last one, as it came: reports are running totals, never summed
        self._usage: Usage | None = None  # in our meters, once somebody asks
        self._usage_read = True
        self._response_id: Any = None
        self._model: Any = None
        self._called: list[Call] = []

    @property
    def called(self) -> tuple[Call, ...]:
        """The tools that were called so far."""
        return tuple(self._called)

    @property
    def usage(self) -> Usage | None:
        """The last report; None if there is none, or if what it says cannot be."""
        if not self._usage_read:  # every event brings one, and only the last is asked for
            self._usage, self._usage_read = read_usage(self._reported), True
        return self._usage

    @property
    def usage_malformed(self) -> bool:
        """Whether what was last reported cannot be, so that there is no usage."""
        return self._reported is not None and self.usage is None

    @property
    def done(self) -> bool:
        """Whether every candidate has finished, or there will be none."""
        return self._blocked or (len(self._finished) >= self._expected and self._begun <= self._finished)

    @property
    def usage_final(self) -> bool:
        """Whether the usage stands for all that came: it came with the end or after it, and no content followed."""
        if self.usage is None or self._stale or not self.done:
            return False
        return not self._may_hold_content(self._splitter.rest())

    @property
    def seen_output_tokens(self) -> int:
        """No fewer tokens than were visible or reported so far: a byte is a token at most, and parts have a frame.

        Half an event counts whole: what of it is text cannot be told.
        """
        half = self._splitter.half
        if not self.started and not half:
            return self._reported_output
        frames = _TOKENS_PER_CANDIDATE * len(self._begun) + _TOKENS_PER_PART * self._parts
        return max(self._reported_output, self._seen + frames) + half

    def cut_short(self) -> bytes:
        """The event that ends this stream at a limit: every candidate that goes on has reached its output limit.

        Nothing if the stream has already ended.
        """
        if self.done:
            return b""
        seen = {"candidatesTokenCount": self.seen_output_tokens}
        usage = self._reported if self.usage is not None else seen
        ended = [
            {
                "content": {"parts": [{"text": ""}], "role": "model"},
                "finishReason": "MAX_TOKENS",
                "index": index,
            }
            for index in sorted(self._begun - self._finished)
        ]
        names = {"modelVersion": self._model, "responseId": self._response_id}
        said = {name: value for name, value in names.items() if isinstance(value, str)}
        return b"data: " + _ENCODER.encode({"candidates": ended, "usageMetadata": usage, **said}) + b"\r\n\r\n"

    def _may_hold_content(self, half: bytes) -> bool:
        """No event of this API is without."""
        return bool(half.strip())

    def _take(self, event: bytes) -> bool:
        self._read_raw(event)
        return True

    def _read_raw(self, raw: bytes) -> None:
        if raw.startswith(b"data: {"):
            chunk = self._decode(raw[6:])  # line ends after the object are white space to JSON
            if chunk is not None:
                self._read(chunk)
                return
        data = (event_data(raw) or b"").strip()
        if not data or data == b"[DONE]":
            # What google-genai is ready for: an error that breaks into the stream as plain lines of JSON.
            bare = self._decode(raw) if raw.lstrip().startswith(b"{") else None
            self.error = self.error or event_name(raw) == b"error" or (bare is not None and bool(bare.error))
            return
        chunk = self._decode(data)
        if chunk is None:
            self.malformed = True
            self.error = self.error or event_name(raw) == b"error"
        else:
            self._read(chunk)

    def _read(self, chunk: _Chunk) -> None:
        self.error = self.error or bool(chunk.error)
        if chunk.model_version is not None and chunk.model_version != self._model:
            self.served_model = read_name(chunk.model_version) or self.served_model
            self._model = chunk.model_version
        self._response_id = chunk.response_id or self._response_id
        if is_array(chunk.candidates):
            for candidate in chunk.candidates:
                self._read_candidate(candidate)
        elif chunk.candidates is not None:
            self.malformed = True
        if is_object(chunk.prompt_feedback) and chunk.prompt_feedback.get("blockReason"):
            self._blocked = True
        if chunk.usage_metadata:
            self._report(chunk.usage_metadata)

    def _read_candidate(self, candidate: object) -> None:
        if not is_object(candidate):
            self.malformed = True
            return
        index = candidate.get("index")
        place = index if isinstance(index, int) else 0
        self._begun.add(place)
        content = candidate.get("content")
        parts = content.get("parts") if is_object(content) else None
        for part in parts if is_array(parts) else ():
            self._read_part(part)
        if candidate.get("finishReason"):
            self._finished.add(place)
            self._stale = True  # unless a report comes with it, there is none of the whole

    def _read_part(self, part: object) -> None:
        if is_object(part) and len(part) == 1 and isinstance(text := part.get("text"), str):  # as nearly always
            self._count_text(text)
            return
        if is_object(part) and not part.keys() <= {"text", "thought"}:
            self._parts += 1
            call = call_of(part)
            if call is not None and len(self._called) < MOST_CALLS:
                self._called.append(call)
            self._seen += _TOKENS_PER_MEDIUM if part.get("inlineData") else 0
        waiting = [part]
        while waiting:  # no recursion: depth is theirs
            value = waiting.pop()
            if isinstance(value, str):
                self._count_text(value)
            elif is_object(value):
                self._stale = True
                waiting += [each for key, each in value.items() if key not in _NOT_TEXT]
                self._seen += sum(map(len, value)) if value is not part else 0  # names of arguments are made, too
            elif is_array(value):
                waiting += value
            else:
                self._seen += _BYTES_PER_NUMBER

    def _count_text(self, text: str) -> None:
        if text:
            self.started = self._stale = True
            self._seen += len(text) if text.isascii() else len(text.encode())

    def _report(self, reported: Any) -> None:
        """Take a report: it covers the content of its own event and of all before it."""
        self._reported, self._usage_read, self._stale = reported, False, False
        if reported.__class__ is dict:
            output = _count(reported.get("candidatesTokenCount")) + _count(reported.get("thoughtsTokenCount"))
            self._reported_output = max(self._reported_output, output)
        if self.input_usage is None and self.usage is not None:
            self.input_usage = msgspec.structs.replace(self.usage, output_tokens=0, reasoning_tokens=0)


def _count(value: Any) -> int:
    return value if value.__class__ is int and 0 <= value <= MOST_TOKENS else 0
