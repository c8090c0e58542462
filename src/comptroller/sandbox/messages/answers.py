"""The JSON of a message: answers, stream events and usage, in Anthropic's shapes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import msgspec

from comptroller.sandbox.bill import Line
from comptroller.sandbox.compose import Answer, Choice
from comptroller.sandbox.errors import Refusal
from comptroller.sandbox.messages.errors import error_body
from comptroller.sandbox.order import Order
from comptroller.sandbox.prices import MODELS
from comptroller.sandbox.wire import Headers

_BROKEN_EVENT = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"del\n\n'
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_SIGNATURE = "c2FuZGJveA=="
_CREATED_AT = "2026-01-01T00:00:00Z"
_STOP_REASONS: Mapping[str, str] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_TIERS: Mapping[str, str] = {"default": "standard", "priority": "priority", "batch": "batch"}


def counts_of(line: Line) -> dict[str, object]:
    """The counts of a request, exactly what its bill line says: the cache's stand beside those of the rest."""
    counts: dict[str, object] = {
        "input_tokens": line.input_tokens - line.cached_tokens - line.cache_write_tokens,
        "cache_creation_input_tokens": line.cache_write_tokens,
        "cache_read_input_tokens": line.cached_tokens,
        "output_tokens": line.output_tokens,
    }
    if line.reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": line.reasoning_tokens}
    return counts


def usage_of(line: Line) -> dict[str, object]:
    """The whole usage report of a request."""
    creation = {
        "ephemeral_5m_input_tokens": line.cache_write_tokens - line.cache_write_1h_tokens,
        "ephemeral_1h_input_tokens": line.cache_write_1h_tokens,
    }
    return counts_of(line) | {"cache_creation": creation, "service_tier": _TIERS[line.tier]}


class MessagesWriter:
    """Writes one answer: a thinking block if it thought, then a text or the call of a tool."""

    broken_event = _BROKEN_EVENT

    def __init__(self, order: Order, answer: Answer, line: Line, usages: int) -> None:
        self._request_id = f"req_{uuid.uuid4().hex}"
        self.headers: Headers = (
            (b"request-id", self._request_id.encode()),
            (b"anthropic-organization-id", b"sandbox"),
        )
        self._message_id = f"msg_{uuid.uuid4().hex}"
        self._model = order.model.dated_name
        self._choice: Choice = answer.choices[0]
        self._line = line
        self._usages = usages
        self._index = -1  # of the block that is open, or was last
        self._open = ""  # its type

    def whole(self) -> bytes:
        """The answer as JSON; more than one usage is the key `usage` written more than once."""
        message = self._message(self._blocks(), self._stop_reason)
        usage = b',"usage":' + msgspec.json.encode(usage_of(self._line))
        return msgspec.json.encode(message)[:-1] + usage * self._usages + b"}"

    def opening(self) -> bytes:
        """The head of the message, with the usage of its prompt."""
        message = self._message([], None)
        if self._usages:
            message["usage"] = usage_of(self._line)
        thinking = self._start("thinking") if self._choice.reasoning_tokens else b""
        return _event("message_start", {"message": message}) + thinking + _PING

    def reasoning(self, tokens: tuple[str, ...]) -> bytes:
        """The event of some tokens of thinking."""
        return self._delta({"type": "thinking_delta", "thinking": "".join(tokens)})

    def piece(self, index: int, tokens: tuple[str, ...]) -> bytes:
        """The event of some tokens of the answer; the first ends the thinking."""
        del index  # there is one choice
        kind = "text" if self._choice.tool_call is None else "tool_use"
        start = b"" if self._open == kind else self._stop() + self._start(kind)
        text = "".join(tokens)
        if kind == "text":
            return start + self._delta({"type": "text_delta", "text": text})
        return start + self._delta({"type": "input_json_delta", "partial_json": text})

    def closing(self) -> bytes:
        """Why the answer stopped, with all of the usage."""
        fields: dict[str, object] = {"delta": {"stop_reason": self._stop_reason, "stop_sequence": None}}
        if self._usages:
            fields["usage"] = counts_of(self._line)
        ends = _event("message_delta", fields) * max(1, self._usages)
        return self._stop() + ends + _event("message_stop", {})

    def failure(self, refusal: Refusal) -> bytes:
        """The event of an error."""
        return b"event: error\ndata: " + error_body(refusal, self._request_id) + b"\n\n"

    @property
    def _stop_reason(self) -> str:
        if self._choice.tool_call is not None and self._choice.finish_reason != "length":
            return "tool_use"  # even where the caller named the tool
        return _STOP_REASONS[self._choice.finish_reason]

    def _message(self, content: list[dict[str, object]], stop_reason: str | None) -> dict[str, object]:
        return {
            "model": self._model,
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
        }

    def _blocks(self) -> list[dict[str, object]]:
        blocks: list[dict[str, object]] = []
        if self._choice.reasoning_tokens:
            thinking = "".join(self._choice.thoughts)
            blocks.append({"type": "thinking", "thinking": thinking, "signature": _SIGNATURE})
        if self._choice.tool_call is not None:
            blocks.append(self._head("tool_use") | {"input": _value(self._choice.text)})
        elif self._choice.tokens:
            blocks.append({"type": "text", "text": self._choice.text})
        return blocks

    def _head(self, kind: str) -> dict[str, object]:
        call = self._choice.tool_call
        if call is not None and kind == "tool_use":
            return {"type": kind, "id": f"toolu_{call.id}", "name": call.name, "input": {}}
        if kind == "thinking":
            return {"type": kind, "thinking": "", "signature": ""}
        return {"type": kind, "text": ""}

    def _start(self, kind: str) -> bytes:
        self._index += 1
        self._open = kind
        return _event("content_block_start", {"index": self._index, "content_block": self._head(kind)})

    def _stop(self) -> bytes:
        if not self._open:
            return b""
        signature = self._delta({"type": "signature_delta", "signature": _SIGNATURE})
        before = signature if self._open == "thinking" else b""
        self._open = ""
        return before + _event("content_block_stop", {"index": self._index})

    def _delta(self, delta: dict[str, object]) -> bytes:
        return _event("content_block_delta", {"index": self._index, "delta": delta})


def _event(kind: str, fields: dict[str, object]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode({"type": kind, **fields}) + b"\n\n"


def _value(text: str) -> object:
    """The arguments of a tool; none where the output limit cut them in the middle."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}


def model_page() -> bytes:
    """The answer of `GET /v1/models`."""
    names = [name for model in MODELS for name in (model.name, model.dated_name)]
    data = [_model(name) for name in names]
    return msgspec.json.encode({"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]})


def model_entry(name: str) -> bytes:
    """The answer of `GET /v1/models/{id}`."""
    return msgspec.json.encode(_model(name))


def _model(name: str) -> dict[str, object]:
    return {"type": "model", "id": name, "display_name": name, "created_at": _CREATED_AT}
