"""A chat completions stream: metered as it passes, its bytes unchanged."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import msgspec

from comptroller.core.pricing.usage import Usage
from comptroller.core.work.conversation import Call
from comptroller.wire.called import CallsInPieces
from comptroller.wire.event_meter import EventMeter
from comptroller.wire.event_stream import event_data, event_name
from comptroller.wire.openai_chat.ending import cut_short
from comptroller.wire.openai_chat.usage import read_usage, tells_writes
from comptroller.wire.reported import read_name

# Billed and never shown: role and end mark of a choice; the frame of a tool call (recorded: 33 tokens for two).
_TOKENS_PER_CHOICE = 8
_TOKENS_PER_TOOL_CALL = 24

# Keys of a delta that carry no generated text.
_NOT_TEXT = frozenset({"role", "id", "type", "index", "tool_call_id", "object", "format", "expires_at"})

# The same for a whole event, of which nothing was found where this API has its text.
_NOT_TEXT_ANYWHERE = _NOT_TEXT | frozenset(
    {
        *("created", "model", "system_fingerprint", "service_tier", "usage", "x_groq", "provider", "obfuscation"),
        *("finish_reason", "native_finish_reason", "stop_reason", "logprobs", "error", "request_id", "trace_id"),
        *("content_filter_results", "prompt_filter_results", "content_filter_offsets", "citations", "search_results"),
    }
)

_OTHER_TEXT_KEYS = ("text", "message")  # where servers put it that stream in another shape


class _Chunk(msgspec.Struct, gc=False):
    """One event. Any type is accepted everywhere, so that one odd field cannot hide the usage beside it."""

    choices: Any = None
    usage: Any = None
    model: Any = None
    service_tier: Any = None
    x_groq: Any = None
    error: Any = None


_DECODER = msgspec.json.Decoder(_Chunk)


class StreamMeter(EventMeter[_Chunk]):
    """Reads one stream. `feed` and `finish` return what goes on to the caller; nothing here raises.

    The provider's bytes pass unchanged, in whole events. Only the chunk that does nothing but report usage is
    taken out when the caller did not ask for it (the gateway did).
    """

    def __init__(self, usage_asked: bool, long_cache: bool = False, input_bound: int = 0, opening: bytes = b"") -> None:
        """`input_bound`: no more tokens than this are in the prompt. `opening`: an event like those that will come."""
        super().__init__(_DECODER)
        self.usage: Usage | None = None  # the last one reported; reports are running totals, never summed
        self.usage_malformed = False  # what was last reported cannot be, so there is no usage
        self.done = False
        self.service_tier: str | None = None
        self._usage_asked = usage_asked
        self._long_cache = long_cache
        self._input_bound = input_bound
        self._alone = False  # the usage came in a chunk of its own
        self._writes_told = False
        self._choices: set[int] = {0}
        self._finished: set[int] = set()  # those that came to their end
        self._last: bytes = opening  # whole event
        self._calls: set[tuple[int, int]] = set()  # choice and place of each tool call
        self._model: Any = None  # as the last chunk said
        self._tier: Any = None
        self._pieces: CallsInPieces | None = None
        self._ids: dict[tuple[int, int], Hashable] = {}  # what the call at a place is known by

    @property
    def called(self) -> tuple[Call, ...]:
        """The functions that were called so far."""
        return () if self._pieces is None else self._pieces.whole()

    @property
    def usage_final(self) -> bool:
        """Whether the usage stands for all that came: its chunk or the end mark says so, and no content followed it."""
        if self.usage is None or self._stale or not (self._alone or self.done):
            return False
        return not self._may_hold_content(self._splitter.rest())

    @property
    def seen_output_tokens(self) -> int:
        """No fewer tokens than were visible so far: a byte is a token at most, and choices and calls have a frame.

        Half an event counts whole: what of it is text cannot be told.
        """
        half = self._splitter.half
        if not self.started and not half:
            return 0
        frames = _TOKENS_PER_CHOICE * len(self._choices) + _TOKENS_PER_TOOL_CALL * len(self._calls)
        return self._seen + half + frames

    @property
    def input_usage(self) -> Usage | None:
        """The input side, as soon as a report has told it: some servers report with every chunk."""
        if self.usage is None:
            return None
        told = self.usage.input_side  # and until cache writes are told, all that can have been written counts as that
        return told if self._writes_told else told.all_written(long=self._long_cache)

    def cut_short(self) -> bytes:
        """The events with which this stream ends after what was passed on, as at the output limit of the provider.

        The counts of its usage, where none was reported, are upper bounds.
        """
        if self.done:
            return b""
        return cut_short(
            self._last,
            started=self.started,
            choices=sorted(self._choices - self._finished),
            usage=self._said_usage() if self._usage_asked and not self._alone else None,
        )

    def _said_usage(self) -> Usage:
        return self.usage or Usage(self._input_bound, self.seen_output_tokens)

    def _take(self, event: bytes) -> bool:
        self._last = event
        if event.startswith(b"data: {"):
            try:
                chunk = _DECODER.decode(event[6:])  # line ends after the object are white space to JSON
            except (ValueError, RecursionError):
                pass  # other fields or data lines follow, or it is malformed
            else:
                return self._read(chunk, event)
        return self._read_any(event)

    def _read_any(self, event: bytes) -> bool:
        if event_name(event) == b"error":
            self.error = True
        data = event_data(event)
        if data is None or not (data := data.strip()):
            return True
        if data == b"[DONE]":
            self.done = True
            return True
        chunk = self._decode(data)
        if chunk is None:
            self.malformed = True
            return True
        return self._read(chunk, event)

    def _read(self, chunk: _Chunk, event: bytes) -> bool:
        """Take a chunk's facts; whether it goes on. Every event comes through here, so this is written for speed."""
        if chunk.model != self._model or chunk.service_tier != self._tier:
            self._read_names(chunk)
        choices, reported, before = chunk.choices, chunk.usage, self._seen
        if choices.__class__ is list:
            for choice in choices:
                if choice.__class__ is dict:
                    self._read_choice(choice)
                    reported = choice.get("usage") or reported
        elif choices is not None:
            self.malformed = True
        if chunk.x_groq.__class__ is dict:
            reported = reported or chunk.x_groq.get("usage")
            self.error = self.error or bool(chunk.x_groq.get("error"))
        if chunk.error:
            self.error = True
        if self._seen == before:
            self._look_elsewhere(event)
        if not reported:
            return True
        alone = not choices and not chunk.error
        self._report(reported, alone)
        return self._usage_asked or not alone

    def _read_names(self, chunk: _Chunk) -> None:
        self._model, self._tier = chunk.model, chunk.service_tier
        self.served_model = read_name(chunk.model) or self.served_model
        self.service_tier = read_name(chunk.service_tier) or self.service_tier

    def _read_choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index", 0)
        if index and index.__class__ is int:
            self._choices.add(index)
        if choice.get("finish_reason"):
            self._finished.add(index if index.__class__ is int else 0)
        delta = choice.get("delta", False)
        if delta.__class__ is dict:
            for key, value in delta.items():
                if value.__class__ is str:
                    if value and key not in _NOT_TEXT:
                        self._count(value)
                elif value:
                    self._count_all(value)
                    if key == "tool_calls" or key == "function_call":  # noqa: PLR1714 - for speed
                        self._read_calls(value, index if index.__class__ is int else 0)
        elif delta:
            self._count_all(delta)
        for key in _OTHER_TEXT_KEYS:
            if key in choice:
                self._count_all(choice[key])

    def _read_calls(self, calls: Any, choice: int) -> None:
        if calls.__class__ is dict:  # the one call of the API before tools
            self._read_call((choice, None), calls)
        for call in calls if calls.__class__ is list else ():
            place = call.get("index", 0) if call.__class__ is dict else 0
            place = (choice, place if place.__class__ is int else 0)
            self._calls.add(place)
            self.started = self._stale = True
            told: Any = call.get("function") or call.get("custom") if call.__class__ is dict else None
            if told.__class__ is dict:  # some servers give all calls of a choice one place, and each an id
                named = call.get("id")
                known = (*place, named) if named and named.__class__ is str else self._ids.get(place, place)
                self._ids[place] = known
                self._read_call(known, told)

    def _read_call(self, key: Hashable, told: dict[str, Any]) -> None:
        if self._pieces is None:
            self._pieces = CallsInPieces()
        name = told.get("name")
        if name:
            self._pieces.begin(key, name)
        self._pieces.more(key, told.get("arguments", told.get("input")))

    def _count(self, text: str) -> None:
        self.started = self._stale = True
        self._seen += len(text) if text.isascii() else len(text.encode())

    def _count_all(self, value: Any) -> None:
        """Count every text in it, whatever its key is: new ones come and are billed. No recursion: depth is theirs."""
        waiting = [value]
        while waiting:
            value = waiting.pop()
            if value.__class__ is str and value:
                self._count(value)
            elif value.__class__ is dict:
                waiting += [each for key, each in value.items() if key not in _NOT_TEXT]
            elif value.__class__ is list:
                waiting += value

    def _look_elsewhere(self, event: bytes) -> None:
        """Count what an event holds under keys that nobody knows: a server may stream in a shape of its own.

        A report that came before stands: what is no text of this API is not taken for more of the answer.
        """
        try:
            waiting: list[Any] = [msgspec.json.decode(event_data(event) or b"null")]
        except (ValueError, RecursionError):
            return
        while waiting:
            value = waiting.pop()
            if value.__class__ is str and value:
                self.started = True
                self._seen += len(value.encode())
            elif value.__class__ is dict:
                waiting += [each for key, each in value.items() if key not in _NOT_TEXT_ANYWHERE]
            elif value.__class__ is list:
                waiting += value

    def _report(self, reported: Any, alone: bool) -> None:
        """Take a report: it covers the content of its own chunk and of all before it."""
        self.usage = read_usage(reported, self.service_tier, self._long_cache)
        self.usage_malformed = self.usage is None
        self._alone = alone
        self._stale = False
        self._writes_told = self._writes_told or tells_writes(reported)
