"""OpenAI Chat Completions as a surface."""

from __future__ import annotations

import time
from collections.abc import Mapping

from comptroller.sandbox.bill import Line
from comptroller.sandbox.chat.answers import ChatWriter, make_envelope
from comptroller.sandbox.chat.prompt import read_segments
from comptroller.sandbox.chat.request import ChatRequest, Function, NamedTool, read_chat, read_functions
from comptroller.sandbox.compose import Answer
from comptroller.sandbox.errors import Refusal
from comptroller.sandbox.order import Call, Order
from comptroller.sandbox.prices import Model
from comptroller.sandbox.wire import Headers


class OpenAISpoken:
    """What OpenAI's API says before anything is asked of it."""

    no_key = Refusal(401, "You didn't provide an API key: send it as 'Authorization: Bearer KEY'.")
    wrong_key = Refusal(
        401, "Incorrect API key provided. The sandbox takes keys that start with 'sandbox-'.", code="invalid_api_key"
    )

    def key(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The bearer token."""
        return bearer_key(headers)

    def error(self, refusal: Refusal) -> tuple[Headers, bytes]:
        """As OpenAI says it."""
        return (), refusal.body()


class ChatSurface(OpenAISpoken):
    """POST /v1/chat/completions."""

    name = "chat"

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Order:
        """See request.py."""
        del headers
        return read_order(body)

    def writer(self, order: Order, answer: Answer, line: Line, usages: int) -> ChatWriter:
        """See answers.py."""
        return ChatWriter(make_envelope(order.model, order.tier, time.time()), answer, line, usages)


def bearer_key(headers: Mapping[bytes, bytes]) -> str | None:
    """The key in `Authorization: Bearer KEY`, or None when there is none."""
    scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def read_order(body: bytes) -> Order:
    """The order in a request body. Raises ApiError."""
    request, model = read_chat(body)
    wanted = request.response_format
    return Order(
        model=model,
        tier=request.tier,
        control=request.control,
        stream=bool(request.stream),
        output_limit=request.output_limit(model),
        segments=read_segments(request),
        usage_asked=request.wants_usage,
        choices=request.choices,
        call=_call(request),
        offered=tuple(("", function.name) for function in read_functions(request)),
        structured=wanted is not None and wanted.type != "text",
        schema=wanted.json_schema.schema if wanted is not None and wanted.json_schema is not None else None,
        reasoning_tokens=_reasoning_tokens(request, model),
    )


def _reasoning_tokens(request: ChatRequest, model: Model) -> int | None:
    asked = request.control.reasoning_tokens
    if asked is not None:
        return asked
    return None if model.reasons else 0


def _call(request: ChatRequest) -> Call | None:
    """The function to call."""
    functions = read_functions(request)
    choice = request.tool_choice
    if isinstance(choice, NamedTool) and choice.function is not None:
        named = choice.function.name
        return _called(next(function for function in functions if function.name == named), "stop")
    if functions and (choice == "required" or (request.control.tool_call and choice != "none")):
        return _called(functions[0], "tool_calls")
    return None


def _called(function: Function, finish: str) -> Call:
    schema = {"type": "object"} if function.parameters is None else function.parameters
    return Call(function.name, schema, finish)
