"""A Responses stream: metered as it passes, every byte of it unchanged."""

from __future__ import annotations

from typing import Any

import msgspec

from comptroller.core.pricing.usage import Usage
from comptroller.core.work.conversation import Call
from comptroller.wire.called import MOST_CALLS
from comptroller.wire.event_meter import EventMeter
from comptroller.wire.event_stream import event_data, event_name
from comptroller.wire.openai_responses.answer import read_answer
from comptroller.wire.openai_responses.functions import call_of
from comptroller.wire.openai_responses.outline import Outline

# Billed and never shown: the frame of an item (recorded in Chat Completions: 33 tokens for the calls of two functions),
# and the end mark.
_TOKENS_PER_ITEM = 24
_END_TOKENS = 8

# Events that end a stream.
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})
_OF_THE_RESPONSE = _LAST | {"response.created", "response.in_progress", "response.queued"}

# Events that say again what deltas have said, or that something goes on: nothing in them is newly generated.
_SAID_AGAIN = frozenset(
    {
        *("response.output_text.done", "response.refusal.done", "response.content_part.added"),
        *(
            "response.content_part.done",
            "response.function_call_arguments.done",
            "response.custom_tool_call_input.done",
        ),
        *("response.reasoning_summary_part.added", "response.reasoning_summary_part.done"),
        *("response.reasoning_summary_text.done", "response.reasoning_text.done"),
        *("response.audio.done", "response.audio.transcript.done", "response.mcp_call_arguments.done"),
        *("response.code_interpreter_call_code.done", "response.output_text.annotation.added"),
        *("response.shell_call_command.done", "response.shell_call_output_content.done"),
        *(f"response.web_search_call.{now}" for now in ("in_progress", "searching", "completed")),
        *(f"response.file_search_call.{now}" for now in ("in_progress", "searching", "completed")),
        *(f"response.code_interpreter_call.{now}" for now in ("in_progress", "interpreting", "completed")),
        *(f"response.image_generation_call.{now}" for now in ("in_progress", "generating", "completed")),
        *(f"response.mcp_call.{now}" for now in ("in_progress", "completed", "failed")),
        *(f"response.mcp_list_tools.{now}" for now in ("in_progress", "completed", "failed")),
        *("response.compaction.compacting", "keepalive", "ping"),
    }
)

# Texts of an event or an item that the model did not generate, or not as they stand there.
_NOT_TEXT = frozenset(
    {
        *("type", "id", "item_id", "call_id", "status", "role", "phase", "obfuscation", "logprobs", "annotations"),
        *("encrypted_content", "container_id", "server_label", "sources", "results", "tools", "execution"),
    }
)
_ITEM_KINDS_OF_SERVERS = frozenset({"tool_search_output", "mcp_list_tools"})  # made by a server, not by the model


class _Event(msgspec.Struct, gc=False):
    """One event. Any type is accepted everywhere, so that one odd field cannot hide the usage beside it."""

    type: Any = None
    delta: Any = None
    item: Any = None
    item_id: Any = None
    output_index: Any = None
    content_index: Any = None
    sequence_number: Any = None
    part: Any = None
    error: Any = None
    response: msgspec.Raw = msgspec.Raw(b"")


_DECODER = msgspec.json.Decoder(_Event)


class StreamMeter(EventMeter[_Event]):
    """Reads one stream. `feed` and `finish` return what goes on to the caller, in whole events; nothing here raises."""

    def __init__(self, long_cache: bool = False, input_bound: int = 0) -> None:
        """`input_bound`: tokens that a caller is told of an input whose size the provider did not come to tell."""
        super().__init__(_DECODER)
        self.usage: Usage | None = None
        self.input_usage: Usage | None = None  # this API tells it at the end only
        self.usage_malformed = False  # what was last reported cannot be, so there is no usage
        self.done = False
        self.service_tier: str | None = None
        self.object_id: str | None = None  # what the provider keeps the answer under
        self.items = ""  # the ids of what is in it, with spaces between them
        self.outline = Outline()  # what a clean end needs to know
        self._long_cache = long_cache
        self._input_bound = input_bound
        self._items: dict[Any, int] = {}  # what was counted of each item that is not done
        self._called: list[Call] = []

    @property
    def called(self) -> tuple[Call, ...]:
        """The tools that were called so far."""
        return tuple(self._called)

    @property
    def usage_final(self) -> bool:
        """Whether the usage stands for all that came: it was reported at the end, and no content followed it."""
        if self.usage is None or self._stale or not self.done:
            return False
        return not self._may_hold_content(self._splitter.rest())

    @property
    def pending(self) -> bool:
        """Whether the provider goes on with a response in the background, should the stream end here."""
        return self.object_id is not None and not self.done

    @property
    def seen_output_tokens(self) -> int:
        """No fewer tokens than were visible so far: a byte is a token at most, and each item has a few more.

        Half an event counts whole: what of it is text cannot be told. Reasoning that is summarized or left out is
        billed and not visible: such a model has no visible output.
        """
        half = self._splitter.half
        return self._seen + half + _END_TOKENS if self.started or half else 0

    def cut_short(self) -> bytes:
        """The events with which this stream ends at its output limit, as the provider would say it.

        Their usage is ours: bounds of what was billed, as nobody has told it.
        """
        return self.outline.incomplete("max_output_tokens", Usage(self._input_bound, self.seen_output_tokens))

    def _may_hold_content(self, half: bytes) -> bool:
        name = event_name(half).decode("utf-8", "replace")
        return super()._may_hold_content(half) and name not in _SAID_AGAIN and name not in _OF_THE_RESPONSE

    def _take(self, event: bytes) -> bool:
        self._read_raw(event)
        return True

    def _read_raw(self, raw: bytes) -> None:
        head, _, data = raw.partition(b"\ndata: ")
        usual = head.startswith(b"event: ") and b"\n" not in head
        event = self._decode(data) if usual else None  # line ends after the object are white space to JSON
        if event is None:  # other fields or data lines stand beside it, or it is malformed
            lines = (event_data(raw) or b"").strip()
            if not lines:
                self.error = self.error or event_name(raw) == b"error"
                return
            if lines == b"[DONE]":
                self.done = True
                return
            event = self._decode(lines)
        if event is None:
            self.malformed = True
            self.error = self.error or event_name(raw) == b"error"
        else:
            self._read(event, raw)

    def _read(self, event: _Event, raw: bytes) -> None:
        kind = event.type if event.type.__class__ is str else ""
        self.outline.number(event.sequence_number)
        if kind == "response.output_text.delta" and event.delta.__class__ is str:
            self._count_delta(event, len(event.delta) if event.delta.isascii() else len(event.delta.encode()))
            self.outline.text(event.output_index, event.content_index, event.delta)
        elif kind in _OF_THE_RESPONSE:
            self._report(kind, event.response)
        elif kind == "response.output_item.added":
            self._begin(event)
        elif kind == "response.output_item.done":
            self._end(event)
        elif kind == "error" or event.error or event_name(raw) == b"error":
            self.error = True
        elif kind in _SAID_AGAIN:
            if kind == "response.content_part.added":
                self.outline.begin_part(event.output_index, event.content_index, event.part)
        else:
            self._count_all(event, raw)

    def _report(self, kind: str, response: msgspec.Raw) -> None:
        answer = read_answer(response, self._long_cache)
        if answer.malformed:
            self.malformed = self.malformed or kind in _LAST
        else:
            self.served_model = answer.served_model or self.served_model
            self.object_id = self.object_id or answer.object_id
            self.items = answer.items or self.items
            self.service_tier = answer.service_tier or self.service_tier
            if answer.usage is not None or answer.usage_malformed:
                self.usage, self.usage_malformed, self._stale = answer.usage, answer.usage_malformed, False
            self.outline.response(response, last=kind in _LAST)
        if kind in _LAST:
            self.done = True
            self.error = self.error or kind == "response.failed"

    def _begin(self, event: _Event) -> None:
        made_by_server = event.item.__class__ is not dict or event.item.get("type") in _ITEM_KINDS_OF_SERVERS
        self._count_delta(event, _TOKENS_PER_ITEM + (0 if made_by_server else _texts(event.item)))
        self.outline.begin(event.output_index, event.item)

    def _end(self, event: _Event) -> None:
        """An item is done: what of it did not come in pieces came now."""
        item = event.item
        counted = self._items.pop(_key(event), None)
        if item.__class__ is dict and item.get("type") not in _ITEM_KINDS_OF_SERVERS:
            more = _TOKENS_PER_ITEM + _texts(item) - (counted or 0)
            if more > 0:
                self._add(more)
            call = call_of(item)
            if call is not None and len(self._called) < MOST_CALLS:
                self._called.append(call)
        self.outline.end(event.output_index, item)

    def _count_all(self, event: _Event, raw: bytes) -> None:
        """Count every text of an event, whatever its kind is: new ones come and are billed."""
        try:
            whole = msgspec.json.decode(event_data(raw) or b"null")
        except (ValueError, RecursionError):
            return
        counted = _texts(whole)
        if counted:
            self._count_delta(event, counted)
        if event.delta.__class__ is str:
            self.outline.text(event.output_index, event.content_index, event.delta)

    def _count_delta(self, event: _Event, tokens: int) -> None:
        key = _key(event)
        self._items[key] = self._items.get(key, 0) + tokens
        self._add(tokens)

    def _add(self, tokens: int) -> None:
        self.started = self._stale = True
        self._seen += tokens


def _key(event: _Event) -> Any:
    """Which item an event is about, for servers that number them, name them, or do neither."""
    if event.output_index.__class__ is int:
        return event.output_index
    named = event.item.get("id") if event.item.__class__ is dict else event.item_id
    return named if named.__class__ is str else None


def _texts(value: Any) -> int:
    """The bytes of every text in it that a model may have written. No recursion: depth is theirs."""
    found, waiting = 0, [value]
    while waiting:
        value = waiting.pop()
        if value.__class__ is str:
            found += len(value) if value.isascii() else len(value.encode())
        elif value.__class__ is dict:
            waiting += [each for key, each in value.items() if key not in _NOT_TEXT]
        elif value.__class__ is list:
            waiting += value
    return found
