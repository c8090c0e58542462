"""OpenAI Responses as a surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from comptroller.sandbox.bill import Line
from comptroller.sandbox.chat.surface import ChatSurface, bearer_key
from comptroller.sandbox.compose import Answer
from comptroller.sandbox.errors import Refusal
from comptroller.sandbox.order import Call, Order
from comptroller.sandbox.responses.answers import ResponsesWriter
from comptroller.sandbox.responses.prompt import read_segments
from comptroller.sandbox.responses.request import NamedTool, Read, ResponsesRequest, Tool, read_responses
from comptroller.sandbox.wire import Headers


@dataclass(frozen=True, slots=True)
class ResponsesOrder(Order):
    """An order, and the request that it came as: parts of it are said again in the answer."""

    request: ResponsesRequest | None = None


class ResponsesSurface:
    """POST /v1/responses."""

    name = "responses"
    no_key = ChatSurface.no_key
    wrong_key = ChatSurface.wrong_key

    def key(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The bearer token."""
        return bearer_key(headers)

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Order:
        """See request.py."""
        del headers
        return read_order(body)

    def error(self, refusal: Refusal) -> tuple[Headers, bytes]:
        """As OpenAI says it."""
        return (), refusal.body()

    def writer(self, order: Order, answer: Answer, line: Line, usages: int) -> ResponsesWriter:
        """See answers.py."""
        if not isinstance(order, ResponsesOrder) or order.request is None:
            raise TypeError("an order of another surface")
        return ResponsesWriter(order, order.request, answer, line, usages)


def read_order(body: bytes) -> ResponsesOrder:
    """The order in a request body. Raises ApiError."""
    read = read_responses(body)
    request, model = read.request, read.model
    wanted = request.text.format if request.text is not None else None
    asked = request.control.reasoning_tokens
    limit = request.max_output_tokens
    return ResponsesOrder(
        model=model,
        tier=request.tier,
        control=request.control,
        stream=bool(request.stream),
        output_limit=model.default_output_tokens if limit is None else limit,
        segments=read_segments(read),
        call=_call(read),
        structured=wanted is not None and wanted.type != "text",
        schema=wanted.schema if wanted is not None else None,
        reasoning_tokens=asked if asked is not None else (None if model.reasons else 0),
        shows_reasoning=request.reasoning is not None and request.reasoning.summary is not None,
        request=request,
    )


def _call(read: Read) -> Call | None:
    """The function to call."""
    functions = [tool for tool in read.tools if tool.type == "function" and tool.name]
    choice = read.request.tool_choice
    if isinstance(choice, NamedTool) and choice.type == "function":
        return _called(next(tool for tool in functions if tool.name == choice.name))
    if functions and (choice == "required" or (read.request.control.tool_call and choice != "none")):
        return _called(functions[0])
    return None


def _called(tool: Tool) -> Call:
    return Call(tool.name or "", {"type": "object"} if tool.parameters is None else tool.parameters, "tool_calls")
