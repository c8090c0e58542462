"""Gemini as a surface: one for each model and method, since both stand in the path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from comptroller.sandbox.bill import Line
from comptroller.sandbox.compose import Answer
from comptroller.sandbox.errors import Refusal
from comptroller.sandbox.gemini.answers import GeminiWriter
from comptroller.sandbox.gemini.errors import error_body
from comptroller.sandbox.gemini.prompt import read_segments
from comptroller.sandbox.gemini.request import TIERS, GenerateRequest, read_generate
from comptroller.sandbox.order import Call, Order
from comptroller.sandbox.prices import Model
from comptroller.sandbox.wire import Headers


class GeminiSpoken:
    """What the API says before anything is asked of it."""

    no_key = Refusal(403, "Method doesn't allow unregistered callers: send an API key as x-goog-api-key.")
    wrong_key = Refusal(400, "API key not valid: the sandbox takes keys that start with 'sandbox-'.")

    def key(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The value of `x-goog-api-key`."""
        return headers.get(b"x-goog-api-key", b"").decode("latin-1").strip() or None

    def error(self, refusal: Refusal) -> tuple[Headers, bytes]:
        """As Google says it."""
        return (), error_body(refusal)


class GeminiSurface(GeminiSpoken):
    """POST models/M:generateContent, and with `stream` models/M:streamGenerateContent."""

    name = "gemini"

    def __init__(self, model_name: str, *, stream: bool) -> None:
        self._model_name = model_name
        self._stream = stream

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Order:
        """See request.py."""
        del headers
        request, model = read_generate(self._model_name, body)
        return _order(request, model, stream=self._stream)

    def writer(self, order: Order, answer: Answer, line: Line, usages: int) -> GeminiWriter:
        """See answers.py."""
        return GeminiWriter(order, answer, line, usages)


def _order(request: GenerateRequest, model: Model, *, stream: bool) -> Order:
    config, control = request.generation_config, request.control
    thinking, asked = config.thinking_config, control.reasoning_tokens
    schema = config.response_schema if config.response_json_schema is None else config.response_json_schema
    return Order(
        model=model,
        tier=control.served_tier or TIERS[request.service_tier],
        control=control,
        stream=stream,
        output_limit=config.max_output_tokens or model.default_output_tokens,
        segments=read_segments(request),
        choices=config.candidate_count,
        call=_call(request),
        offered=tuple(("", function.name) for function in request.functions),
        structured=config.response_mime_type == "application/json",
        schema=_plain(schema),
        reasoning_tokens=asked if asked is not None else (None if model.reasons else 0),
        most_reasoning_tokens=None if thinking.thinking_budget == -1 else thinking.thinking_budget,
        shows_reasoning=thinking.include_thoughts,
    )


def _call(request: GenerateRequest) -> Call | None:
    """The function to call."""
    mode = request.tool_config.function_calling_config.mode
    if not request.functions or not (mode == "ANY" or (request.control.tool_call and mode != "NONE")):
        return None
    function = request.functions[0]
    schema = function.parameters if function.parameters_json_schema is None else function.parameters_json_schema
    return Call(function.name, {"type": "object"} if schema is None else _plain(schema), "tool_calls")


def _plain(schema: Any) -> Any:
    """A schema with the names of its types as JSON Schema has them: this API writes OBJECT for object."""
    if isinstance(schema, dict):
        named = cast("dict[str, Any]", schema)
        lowered = {"type": kind.lower()} if isinstance(kind := named.get("type"), str) else {}
        return {name: _plain(each) for name, each in named.items()} | lowered
    if isinstance(schema, list):
        return [_plain(each) for each in cast("list[Any]", schema)]
    return schema
