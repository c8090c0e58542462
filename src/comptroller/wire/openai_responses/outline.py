"""What a Responses stream has begun: enough to end it in its own words before its provider does.

A message that is being written is closed with what came of it. The unfinished call of a tool is not: a client may
run it, whatever its status says, so it stays what it is, a call that never came.
"""

from __future__ import annotations

from typing import Any

import msgspec

from comptroller.core.pricing.usage import Usage

_ENCODER = msgspec.json.Encoder()
_NO_ID = "resp_0"  # of a stream that is over before it began


class _Head(msgspec.Struct, gc=False):
    """What of a response is said in each event about it. Its instructions and tools are long, and the caller's own."""

    id: Any = _NO_ID
    object: Any = "response"
    created_at: Any = 0
    model: Any = ""
    max_output_tokens: Any = None
    metadata: Any = None
    parallel_tool_calls: Any = True
    previous_response_id: Any = None
    service_tier: Any = None
    store: Any = None
    temperature: Any = None
    tool_choice: Any = "auto"
    top_p: Any = None
    truncation: Any = "disabled"


_DECODER = msgspec.json.Decoder(_Head)


class _Part:
    """A part of a message, and what came of its text."""

    __slots__ = ("part", "text")

    def __init__(self, part: dict[str, Any]) -> None:
        self.part = part
        self.text = bytearray()  # a long answer comes in thousands of pieces, and as strings they are ten times that

    def whole(self) -> dict[str, Any]:
        return self.part | {self.key: self.text.decode()}

    @property
    def key(self) -> str:
        return "refusal" if self.part.get("type") == "refusal" else "text"


class Outline:
    """Fed by the meter, event by event; nothing here raises. Servers that number nothing leave it empty."""

    def __init__(self) -> None:
        self._head: _Head | None = None
        self._number = -1
        self._ended = False
        self._items: dict[int, Any] = {}  # those that are done
        self._messages: dict[int, dict[str, Any]] = {}  # those that are being written
        self._parts: dict[tuple[int, int], _Part] = {}  # of those, by output and content index

    def number(self, sequence_number: Any) -> None:
        """The number that an event has."""
        if sequence_number.__class__ is int:
            self._number = sequence_number

    def response(self, response: bytes, *, last: bool) -> None:
        """An event about the whole response."""
        self._ended = self._ended or last
        if self._head is None:
            try:
                self._head = _DECODER.decode(response)
            except (ValueError, RecursionError):
                self._head = None

    def begin(self, index: Any, item: Any) -> None:
        """An item begins."""
        if index.__class__ is int and item.__class__ is dict and item.get("type") == "message":
            self._messages[index] = item

    def begin_part(self, index: Any, content_index: Any, part: Any) -> None:
        """A part of an item begins."""
        if index.__class__ is content_index.__class__ is int and index in self._messages and part.__class__ is dict:
            self._parts[index, content_index] = _Part(part)

    def text(self, index: Any, content_index: Any, piece: str) -> None:
        """The next piece of a text."""
        if index.__class__ is content_index.__class__ is int and (index, content_index) in self._parts:
            self._parts[index, content_index].text += piece.encode()

    def end(self, index: Any, item: Any) -> None:
        """An item is done."""
        if index.__class__ is not int or item.__class__ is not dict:
            return
        self._items[index] = {**item, "result": None} if item.get("type") == "image_generation_call" else item
        self._messages.pop(index, None)
        for key in [key for key in self._parts if key[0] == index]:
            del self._parts[key]

    def incomplete(self, reason: str, usage: Usage) -> bytes:
        """The events that end the stream as one that reached a limit; none if it has ended."""
        if self._ended:
            return b""
        begun = self._begun(_NO_ID)
        closed = b"".join([self._close(index) for index in sorted(self._messages)])
        counts: dict[str, object] = {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "total_tokens": usage.total_tokens,
        }
        response = self._response(status="incomplete", incomplete_details={"reason": reason}, usage=counts)
        self._ended = True
        return begun + closed + self._event("response.incomplete", response=response)

    def failed(self, error: dict[str, object], known_as: str) -> bytes:
        """The event that ends the stream as one that failed. `known_as`: its id, if the provider gave it none."""
        begun = self._begun(known_as)
        return begun + self._event("response.failed", response=self._response(status="failed", error=error))

    def _begun(self, known_as: str) -> bytes:
        """The first event of a stream, where none came: SDKs take no other for the first."""
        if self._head is not None:
            return b""
        self._head = _Head(id=known_as)
        return self._event("response.created", response=self._response(status="in_progress"))

    def _close(self, index: int) -> bytes:
        message = self._messages.pop(index)
        parts = {key[1]: self._parts.pop(key) for key in sorted(self._parts) if key[0] == index}
        said = {"item_id": message.get("id"), "output_index": index}
        events = b""
        for place, part in parts.items():
            whole, kind = part.whole(), "refusal" if part.key == "refusal" else "output_text"
            text: dict[str, object] = {part.key: whole[part.key]}
            if kind != "refusal":
                text["logprobs"] = []
            events += self._event(f"response.{kind}.done", **said, content_index=place, **text)
            events += self._event("response.content_part.done", **said, content_index=place, part=whole)
        content = [part.whole() for part in parts.values()]
        item = self._items[index] = {**message, "status": "incomplete", "content": content}
        return events + self._event("response.output_item.done", output_index=index, item=item)

    def _response(self, **fields: object) -> dict[str, object]:
        output = [self._items[index] for index in sorted(self._items)]
        empty: dict[str, object] = {
            "instructions": None,
            "tools": [],
            "usage": None,
            "error": None,
            "incomplete_details": None,
        }
        head = msgspec.structs.asdict(self._head or _Head())
        return {**head, "metadata": head["metadata"] or {}, **empty, "output": output, **fields}

    def _event(self, kind: str, **fields: object) -> bytes:
        self._number += 1
        said = {"type": kind, "sequence_number": self._number, **fields}
        return b"event: " + kind.encode() + b"\ndata: " + _ENCODER.encode(said) + b"\n\n"
