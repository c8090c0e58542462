"""The JSON of a chat completion: answers, stream chunks and usage, in OpenAI's shapes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import msgspec

from comptroller.sandbox.bill import Line
from comptroller.sandbox.compose import Answer, Choice, ToolCall
from comptroller.sandbox.errors import Refusal
from comptroller.sandbox.prices import MODELS, Model
from comptroller.sandbox.wire import Headers

_DONE = b"data: [DONE]\n\n"
_BROKEN_EVENT = b'data: {"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{"index":0,"del\n\n'

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


def _choice(index: int, choice: Choice) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant", "content": choice.text, "refusal": None, "annotations": []}
    if choice.tool_call is not None:
        message["content"] = None
        message["tool_calls"] = [_tool_call(choice.tool_call, choice.text)]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": choice.finish_reason}


def _tool_call(call: ToolCall, arguments: str) -> dict[str, object]:
    return {"id": f"call_{call.id}", "type": "function", "function": {"name": call.name, "arguments": arguments}}


class ChatWriter:
    """Writes one answer; the constant parts of its events are encoded once."""

    broken_event = _BROKEN_EVENT

    def __init__(self, envelope: Envelope, answer: Answer, line: Line, usages: int) -> None:
        self.headers: Headers = ((b"x-request-id", envelope.id.encode()), (b"openai-version", b"2020-10-01"))
        self._envelope = envelope
        self._choices = answer.choices
        self._line = line
        self._usages = usages
        common = msgspec.json.encode(envelope.fields("chat.completion.chunk"))[:-1]
        self._head = b"data: " + common + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if usages else b"]}\n\n"

    def whole(self) -> bytes:
        """The answer as JSON; more than one usage is the key `usage` written more than once."""
        fields = self._envelope.fields("chat.completion")
        fields["choices"] = [_choice(index, choice) for index, choice in enumerate(self._choices)]
        usage = b',"usage":' + msgspec.json.encode(usage_of(self._line))
        return msgspec.json.encode(fields)[:-1] + usage * self._usages + b"}"

    def opening(self) -> bytes:
        """Of each choice its role, and the head of its tool call."""
        return b"".join(self._opening(index, choice) for index, choice in enumerate(self._choices))

    def reasoning(self, tokens: tuple[str, ...]) -> bytes:
        """Nothing: this API does not show reasoning."""
        del tokens
        return b""

    def piece(self, index: int, tokens: tuple[str, ...]) -> bytes:
        """The event of some tokens."""
        text = "".join(tokens)
        if self._choices[index].tool_call is None:
            return self._event(index, {"content": text})
        return self._event(index, {"tool_calls": [{"index": 0, "function": {"arguments": text}}]})

    def closing(self) -> bytes:
        """How each choice finished, then the usage in an event without choices."""
        events = [self._event(index, {}, choice.finish_reason) for index, choice in enumerate(self._choices)]
        usage = self._head + b'],"usage":' + msgspec.json.encode(usage_of(self._line)) + b"}\n\n"
        return b"".join(events) + usage * self._usages + _DONE

    def failure(self, refusal: Refusal) -> bytes:
        """The event of an error."""
        return b"data: " + refusal.body() + b"\n\n"

    def _opening(self, index: int, choice: Choice) -> bytes:
        content = "" if choice.tool_call is None else None
        role = self._event(index, {"role": "assistant", "content": content, "refusal": None})
        if choice.tool_call is None:
            return role
        head = {"index": 0} | _tool_call(choice.tool_call, "")
        return role + self._event(index, {"tool_calls": [head]})

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
