"""Anthropic Messages as a surface."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping

from comptroller.sandbox.bill import Line
from comptroller.sandbox.compose import Answer
from comptroller.sandbox.errors import Refusal, invalid
from comptroller.sandbox.messages.answers import MessagesWriter
from comptroller.sandbox.messages.errors import error_body
from comptroller.sandbox.messages.prompt import read_segments
from comptroller.sandbox.messages.request import MessagesRequest, Tool, read_messages
from comptroller.sandbox.order import Call, Order
from comptroller.sandbox.wire import Headers

_VERSION = re.compile(rb"20\d\d-\d\d-\d\d")
_BEARER = "bearer"


class MessagesSurface:
    """POST /v1/messages."""

    name = "messages"
    no_key = Refusal(401, "x-api-key header is required")
    wrong_key = Refusal(401, "invalid x-api-key: the sandbox takes keys that start with 'sandbox-'")

    def key(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The value of `x-api-key`, else the bearer token."""
        key = headers.get(b"x-api-key", b"").decode("latin-1").strip()
        scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        return key or (token.strip() if scheme.lower() == _BEARER else "") or None

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Order:
        """See request.py; the API's version must be said."""
        check_version(headers)
        return read_order(body)

    def error(self, refusal: Refusal) -> tuple[Headers, bytes]:
        """As Anthropic says it."""
        request_id = f"req_{uuid.uuid4().hex}"
        return ((b"request-id", request_id.encode()),), error_body(refusal, request_id)

    def writer(self, order: Order, answer: Answer, line: Line, usages: int) -> MessagesWriter:
        """See answers.py."""
        return MessagesWriter(order, answer, line, usages)


def check_version(headers: Mapping[bytes, bytes]) -> None:
    """Raises ApiError (400) unless the API's version is said."""
    version = headers.get(b"anthropic-version")
    if version is None:
        raise invalid("anthropic-version: header is required")
    if _VERSION.fullmatch(version) is None:
        raise invalid("anthropic-version: not a valid version; 2023-06-01 is one")


def read_order(body: bytes) -> Order:
    """The order in a request body. Raises ApiError."""
    request, model, tools = read_messages(body)
    wanted = request.output_config.format if request.output_config is not None else None
    thinking = request.thinking
    return Order(
        model=model,
        tier=request.control.served_tier or "default",
        control=request.control,
        stream=bool(request.stream),
        output_limit=request.max_tokens,
        segments=read_segments(request, tools),
        marked=True,
        call=_call(request, tools),
        offered=tuple(("", tool.name) for tool in tools if tool.name),
        structured=wanted is not None,
        schema=wanted.schema if wanted is not None else None,
        reasoning_tokens=request.control.reasoning_tokens if request.thinks else 0,
        most_reasoning_tokens=thinking.budget_tokens if thinking is not None else None,
        shows_reasoning=thinking is not None and thinking.display != "omitted",
    )


def _call(request: MessagesRequest, tools: list[Tool]) -> Call | None:
    """The tool to call."""
    choice = request.tool_choice
    kind = "auto" if choice is None else choice.type
    if choice is not None and kind == "tool":
        tool = next(tool for tool in tools if tool.name == choice.name)
    elif tools and (kind == "any" or (request.control.tool_call and kind != "none")):
        tool = tools[0]
    else:
        return None
    schema = {"type": "object"} if tool.input_schema is None else tool.input_schema
    return Call(tool.name, schema, "tool_calls")
