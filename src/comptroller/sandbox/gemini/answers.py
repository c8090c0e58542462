"""The JSON of a generated content: answers, stream events and usage, in Google's shapes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import msgspec

from comptroller.sandbox.bill import Line
from comptroller.sandbox.compose import Answer, Choice
from comptroller.sandbox.errors import Refusal
from comptroller.sandbox.gemini.errors import error_body
from comptroller.sandbox.order import Order
from comptroller.sandbox.prices import MODELS
from comptroller.sandbox.wire import Headers

_BROKEN_EVENT = b'data: {"candidates": [{"content": {"par\r\n\r\n'
_FINISH_REASONS: Mapping[str, str] = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
_TIERS: Mapping[str, str] = {
    "default": "standard",
    "priority": "priority",
    "flex": "flex",
    "batch": "standard",  # a batch is nothing that an answer tells
}


def usage_of(line: Line) -> dict[str, object]:
    """The usage report of a request, exactly what its bill line says: thoughts stand beside the candidates."""
    details = [{"modality": "TEXT", "tokenCount": line.input_tokens - line.audio_tokens}]
    if line.audio_tokens:
        details.append({"modality": "AUDIO", "tokenCount": line.audio_tokens})
    usage: dict[str, object] = {
        "promptTokenCount": line.input_tokens,
        "candidatesTokenCount": line.output_tokens - line.reasoning_tokens,
        "totalTokenCount": line.input_tokens + line.output_tokens,
        "promptTokensDetails": details,
        "serviceTier": _TIERS[line.tier],
    }
    if line.reasoning_tokens:
        usage["thoughtsTokenCount"] = line.reasoning_tokens
    if line.cached_tokens:
        usage["cachedContentTokenCount"] = line.cached_tokens
    return usage


class GeminiWriter:
    """Writes one answer. In a stream every event has the usage so far; the call of a function comes whole."""

    headers: Headers = ()
    broken_event = _BROKEN_EVENT

    def __init__(self, order: Order, answer: Answer, line: Line, usages: int) -> None:
        self._response_id = uuid.uuid4().hex
        self._model = order.model.dated_name
        self._choices = answer.choices
        self._line = line
        self._usages = usages

    def whole(self) -> bytes:
        """The answer as JSON; more than one usage is the key written more than once."""
        candidates = [_candidate(index, _parts(each), each) for index, each in enumerate(self._choices)]
        usage = b',"usageMetadata":' + msgspec.json.encode(usage_of(self._line))
        return msgspec.json.encode(self._response(candidates))[:-1] + usage * self._usages + b"}"

    def opening(self) -> bytes:
        """Nothing: this API begins with the first tokens."""
        return b""

    def reasoning(self, tokens: tuple[str, ...]) -> bytes:
        """The event of some thoughts."""
        return self._event([_candidate(0, [{"text": "".join(tokens), "thought": True}])])

    def piece(self, index: int, tokens: tuple[str, ...]) -> bytes:
        """The event of some tokens; none of those that are a call."""
        if self._choices[index].tool_call is not None:
            return b""
        return self._event([_candidate(index, [{"text": "".join(tokens)}])])

    def closing(self) -> bytes:
        """Calls, why each candidate finished, and all of the usage."""
        ends = [
            _candidate(index, _parts(each) if each.tool_call is not None else [{"text": ""}], each)
            for index, each in enumerate(self._choices)
        ]
        return self._event(ends) + self._event([]) * (self._usages - 1)

    def failure(self, refusal: Refusal) -> bytes:
        """The event of an error."""
        return b"data: " + error_body(refusal) + b"\r\n\r\n"

    def _event(self, candidates: list[dict[str, object]]) -> bytes:
        response = self._response(candidates)
        if self._usages:
            response["usageMetadata"] = usage_of(self._line)
        return b"data: " + msgspec.json.encode(response) + b"\r\n\r\n"

    def _response(self, candidates: list[dict[str, object]]) -> dict[str, object]:
        head: dict[str, object] = {"candidates": candidates} if candidates else {}
        return {**head, "modelVersion": self._model, "responseId": self._response_id}


def _parts(choice: Choice) -> list[dict[str, object]]:
    """All parts of a whole answer."""
    thoughts: list[dict[str, object]] = [{"text": "".join(choice.thoughts), "thought": True}] if choice.thoughts else []
    if choice.tool_call is None:
        return [*thoughts, {"text": choice.text}]
    return [*thoughts, {"functionCall": {"name": choice.tool_call.name, "args": _value(choice.text)}}]


def _candidate(index: int, parts: list[dict[str, object]], ended: Choice | None = None) -> dict[str, object]:
    finish: dict[str, object] = {} if ended is None else {"finishReason": _FINISH_REASONS[ended.finish_reason]}
    return {"content": {"parts": parts, "role": "model"}, **finish, "index": index}


def _value(text: str) -> object:
    """The arguments of a call; none where the output limit cut them in the middle."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {}


def model_page() -> bytes:
    """The answer of `GET /v1beta/models`."""
    names = [name for model in MODELS for name in (model.name, model.dated_name)]
    return msgspec.json.encode({"models": [_model(name) for name in names]})


def model_entry(name: str) -> bytes:
    """The answer of `GET /v1beta/models/{id}`."""
    return msgspec.json.encode(_model(name))


def _model(name: str) -> dict[str, object]:
    return {"name": f"models/{name}", "version": "2026-01-01", "displayName": name}
