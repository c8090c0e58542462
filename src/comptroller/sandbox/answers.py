"""The JSON of answers: completions, stream chunks and usage, in OpenAI's shapes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import msgspec

from comptroller.sandbox.bill import Line
from comptroller.sandbox.compose import Answer, Choice, ToolCall
from comptroller.sandbox.prices import MODELS, Model

DONE = b"data: [DONE]\n\n"
BROKEN_EVENT = b'data: {"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{"index":0,"del\n\n'
NOT_HTTP = b"\x15\x03\x01\x00\x02\x02\x28 this is not HTTP\r\n\r\n\x00\xff\xfe"

_SYSTEM_FINGERPRINT = "fp_sandbox01"
_STARTED_SERVING = 1767225600  # 2026-01-01, the date of the dated model names


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every object of one response has in common."""

    id: str
    created: int
    """Unix time in seconds."""
    model: str
    tier: str

    def fields(self, kind: str) -> dict[str, object]:
        """The common fields of a `chat.completion` or a `chat.completion.chunk`."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "service_tier": self.tier,
            "system_fingerprint": _SYSTEM_FINGERPRINT,
        }


def make_envelope(model: Model, tier: str, now: float) -> Envelope:
    """A new response at Unix time `now`, with an id of its own."""
    return Envelope(f"chatcmpl-{uuid.uuid4().hex}", int(now), model.dated_name, tier)


def usage_of(line: Line) -> dict[str, object]:
    """The usage report of a request: exactly what its bill line says."""
    return {
        "prompt_tokens": line.input_tokens,
        "completion_tokens": line.output_tokens,
        "total_tokens": line.input_tokens + line.output_tokens,
        "prompt_tokens_details": {"cached_tokens": line.cached_tokens, "audio_tokens": line.audio_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": line.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def completion(envelope: Envelope, answer: Answer, line: Line, *, usages: int) -> bytes:
    """A whole answer as JSON, with `usage` written so many times (once is right, the rest are faults)."""
    fields = envelope.fields("chat.completion")
    fields["choices"] = [_choice(index, choice) for index, choice in enumerate(answer.choices)]
    body = msgspec.json.encode(fields)
    usage = b',"usage":' + msgspec.json.encode(usage_of(line))
    return body[:-1] + usage * usages + b"}"


def _choice(index: int, choice: Choice) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant", "content": choice.text, "refusal": None, "annotations": []}
    if choice.tool_call is not None:
        message["content"] = None
        message["tool_calls"] = [_tool_call(choice.tool_call, choice.text)]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": choice.finish_reason}


def _tool_call(call: ToolCall, arguments: str) -> dict[str, object]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


class ChunkWriter:
    """Writes the events of one stream; the constant parts are encoded once."""

    def __init__(self, envelope: Envelope, *, wants_usage: bool) -> None:
        common = msgspec.json.encode(envelope.fields("chat.completion.chunk"))[:-1]
        self._head = b"data: " + common + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if wants_usage else b"]}\n\n"

    def opening(self, index: int, choice: Choice) -> bytes:
        """The first events of a choice: its role, and the head of its tool call."""
        content = "" if choice.tool_call is None else None
        role = self._event(index, {"role": "assistant", "content": content, "refusal": None})
        if choice.tool_call is None:
            return role
        head = {"index": 0} | _tool_call(choice.tool_call, "")
        return role + self._event(index, {"tool_calls": [head]})

    def piece(self, index: int, choice: Choice, tokens: tuple[str, ...]) -> bytes:
        """The event of some tokens."""
        text = "".join(tokens)
        if choice.tool_call is None:
            return self._event(index, {"content": text})
        return self._event(index, {"tool_calls": [{"index": 0, "function": {"arguments": text}}]})

    def closing(self, index: int, choice: Choice) -> bytes:
        """The last event of a choice."""
        return self._event(index, {}, choice.finish_reason)

    def usage(self, line: Line) -> bytes:
        """The event of the usage report, which has no choices."""
        return self._head + b'],"usage":' + msgspec.json.encode(usage_of(line)) + b"}\n\n"

    def _event(self, index: int, delta: dict[str, object], finish_reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._head + msgspec.json.encode(choice) + self._tail


def model_list() -> bytes:
    """The answer of `GET /v1/models`."""
    names = [name for model in MODELS for name in (model.name, model.dated_name)]
    return msgspec.json.encode({"object": "list", "data": [_model(name) for name in names]})


def model_entry(name: str) -> bytes:
    """The answer of `GET /v1/models/{id}`."""
    return msgspec.json.encode(_model(name))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _STARTED_SERVING, "owned_by": "sandbox"}
