"""OpenAI Responses as a surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from comptroller.sandbox.bill import Line
from comptroller.sandbox.chat.surface import OpenAISpoken
from comptroller.sandbox.compose import Answer
from comptroller.sandbox.errors import invalid
from comptroller.sandbox.files import Files
from comptroller.sandbox.order import Call, Order
from comptroller.sandbox.prompt import Segment
from comptroller.sandbox.responses.answers import ResponsesWriter
from comptroller.sandbox.responses.prompt import read_head, read_input
from comptroller.sandbox.responses.request import NamedTool, Read, ResponsesRequest, Tool, read_responses
from comptroller.sandbox.responses.stored import Entry, Stored, listed
from comptroller.sandbox.tokens import count_tokens


@dataclass(frozen=True, slots=True)
class ResponsesOrder(Order):
    """An order, and the request that it came as: parts of it are said again in the answer."""

    request: ResponsesRequest | None = None
    key: str = ""
    """The provider key that it came with: what is stored is stored under it."""
    conversation: tuple[Segment, ...] = ()
    """The prompt without what is of this request alone."""
    items: tuple[object, ...] = ()
    """The input, as it is listed."""
    background: bool = False


class ResponsesSurface(OpenAISpoken):
    """POST /v1/responses."""

    def __init__(self, stored: Stored, files: Files) -> None:
        """`stored`: where answers are kept; `files`: those that requests may name."""
        self._stored = stored
        self._files = files

    name = "responses"

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Order:
        """See request.py."""
        key = self.key(headers) or ""
        read = read_responses(body)
        named = read.request.previous_response_id
        earlier = self._stored.find(key, named) if named is not None else None
        if named is not None and earlier is None:
            message = f"Previous response with id '{named}' not found."
            raise invalid(message, param="previous_response_id", code="previous_response_not_found")
        return read_order(read, key, earlier.conversation if earlier is not None else (), self._read_files(key, read))

    def _read_files(self, key: str, read: Read) -> tuple[Segment, ...]:
        """The contents of the files that parts of the input name. Raises ApiError (400)."""
        found: list[Segment] = []
        parts = (part for item, _ in read.items if isinstance(item.content, list) for part in item.content)
        for part in parts:
            if part.file_id is None:
                continue
            file = self._files.find(key, part.file_id)
            if file is None:
                raise invalid(f"Files ['{part.file_id}'] were not found.", param="input")
            if part.type == "input_file":
                text = file.content.decode(errors="replace")
                found.append(Segment(file.content, count_tokens(file.name) + count_tokens(text)))
        return tuple(found)

    def writer(self, order: Order, answer: Answer, line: Line, usages: int) -> ResponsesWriter:
        """See answers.py."""
        if not isinstance(order, ResponsesOrder) or order.request is None:
            raise TypeError("an order of another surface")
        writer = ResponsesWriter(order, order.request, answer, line, usages)
        if order.request.store is not False:
            said = answer.choices[0]
            spoken = Segment(b"assistant" + said.text.encode(), len(said.tokens))
            conversation = (*order.conversation, spoken)
            self._stored.keep(order.key, writer.response_id, Entry(writer.whole, conversation, order.items))
        return writer


def read_order(read: Read, key: str, earlier: tuple[Segment, ...], files: tuple[Segment, ...] = ()) -> ResponsesOrder:
    """The order of a request that goes on with an earlier conversation, and names files."""
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
        segments=(*read_head(read), *earlier, *files, *read_input(read)),
        call=_call(read),
        offered=_offered(read.tools) if read.request.tool_choice != "none" else (),
        structured=wanted is not None and wanted.type != "text",
        schema=wanted.schema if wanted is not None else None,
        reasoning_tokens=asked if asked is not None else (None if model.reasons else 0),
        shows_reasoning=request.reasoning is not None and request.reasoning.summary is not None,
        request=request,
        key=key,
        conversation=(*earlier, *files, *read_input(read)),
        items=listed(read),
        background=bool(request.background),
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


def _offered(tools: list[Tool], namespace: str = "") -> tuple[tuple[str, str], ...]:
    """Functions, those of namespaces too."""
    found = [(namespace, tool.name) for tool in tools if tool.type == "function" and tool.name]
    for tool in tools:
        if tool.type == "namespace" and tool.tools:
            found += _offered(tool.tools, tool.name or "")
    return tuple(found)


def _called(tool: Tool) -> Call:
    return Call(tool.name or "", {"type": "object"} if tool.parameters is None else tool.parameters, "tool_calls")
