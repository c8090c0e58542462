"""Reading a Responses request: the fields that matter here, and OpenAI's own refusals of bad ones."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from comptroller.sandbox.errors import ApiError, invalid, not_found
from comptroller.sandbox.faults import Control, check_control
from comptroller.sandbox.prices import TIERS, Model, find_model

LEAST_OUTPUT_TOKENS = 16
_ROLES = frozenset({"system", "developer", "user", "assistant"})
_FORMATS = frozenset({"text", "json_object", "json_schema"})
_PARAM = re.compile(r" - at `\$\.?([^`]*)`$")


class Part(msgspec.Struct):
    """One part of a content."""

    type: str
    file_id: str | None = None
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None


class Item(msgspec.Struct):
    """One item of the input; those of a kind that is not known here count by their whole JSON."""

    type: str = "message"
    role: str | None = None
    content: str | list[Part] | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: str | list[Part] | None = None


class Tool(msgspec.Struct):
    """An entry of `tools`."""

    type: str
    name: str | None = None
    parameters: Any = None
    tools: list[Tool] | None = None
    """Of a namespace."""


class NamedTool(msgspec.Struct):
    """A `tool_choice` in its object form."""

    type: str
    name: str | None = None


class Format(msgspec.Struct):
    """What shape the answer shall have."""

    type: str
    schema: Any = None


class Text(msgspec.Struct):
    """How the text of the answer shall be."""

    format: Format | None = None


class Reasoning(msgspec.Struct):
    """How the model thinks."""

    effort: str | None = None
    summary: str | None = None


class ResponsesRequest(msgspec.Struct):
    """A request body; fields not named here are accepted and ignored."""

    model: str
    input: str | list[msgspec.Raw]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    service_tier: str | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: str | NamedTool | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    include: list[str] | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    background: bool | None = None
    sandbox: Control | None = None

    @property
    def control(self) -> Control:
        """The request's own wishes to the sandbox."""
        return self.sandbox or Control()

    @property
    def tier(self) -> str:
        """The service tier that this request is served and billed at."""
        wanted = self.control.served_tier or self.service_tier
        return wanted if wanted in TIERS else "default"

    @property
    def wants_encrypted(self) -> bool:
        """Whether reasoning shall come back in a form that can be sent again."""
        return "reasoning.encrypted_content" in (self.include or ())


class Read(msgspec.Struct):
    """A request that was read and is good."""

    request: ResponsesRequest
    model: Model
    items: list[tuple[Item, bytes]]  # with the JSON that each came as
    tools: list[Tool]


_DECODER = msgspec.json.Decoder(ResponsesRequest)


def read_responses(body: bytes) -> Read:
    """Read and check a request body. Raises ApiError (400, or 404 for an unknown model)."""
    try:
        body.decode()  # msgspec does not look into what it keeps raw or skips
        request = _DECODER.decode(body)
        given = [] if isinstance(request.input, str) else request.input
        items = [(msgspec.json.decode(item, type=Item), bytes(item)) for item in given]
        tools = [msgspec.json.decode(tool, type=Tool) for tool in request.tools or ()]
    except msgspec.ValidationError as error:
        raise _wrong_type(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid("We could not parse the JSON body of your request.") from None
    model = find_model(request.model)
    if model is None:
        raise not_found("The requested model does not exist.", "model_not_found")
    _check_items([item for item, _ in items])
    _check_options(request, model)
    _check_tools(request, tools)
    check_control(request.control, TIERS)
    return Read(request, model, items, tools)


def _wrong_type(detail: str) -> ApiError:
    """Say which field is wrong; msgspec names known fields only, so nothing of the caller's is echoed."""
    found = _PARAM.search(detail)
    param = found.group(1) if found else None
    return invalid(f"Invalid request: {detail}.", param=param or None, code="invalid_type")


def _check_items(items: list[Item]) -> None:
    for index, item in enumerate(items):
        if item.type == "message" and item.role not in _ROLES:
            message = f"Invalid value. Supported values are: {', '.join(sorted(_ROLES))}."
            raise invalid(message, param=f"input[{index}].role", code="invalid_value")


def _check_options(request: ResponsesRequest, model: Model) -> None:
    limit = request.max_output_tokens
    if limit is not None and limit < LEAST_OUTPUT_TOKENS:
        message = f"Invalid 'max_output_tokens': integer below minimum value. Expected >= {LEAST_OUTPUT_TOKENS}."
        raise invalid(message, param="max_output_tokens", code="integer_below_min_value")
    if limit is not None and limit > model.max_output_tokens:
        message = f"max_output_tokens is too large: this model makes at most {model.max_output_tokens} tokens."
        raise invalid(message, param="max_output_tokens", code="invalid_value")
    if request.background and request.store is False:
        raise invalid("Background mode requires 'store' to be true.", param="background")
    if request.service_tier not in (None, "auto", *TIERS):
        message = f"Invalid value. Supported values are: auto, {', '.join(TIERS)}."
        raise invalid(message, param="service_tier", code="invalid_value")
    wanted = request.text.format if request.text is not None else None
    if wanted is not None and wanted.type not in _FORMATS:
        message = f"Invalid value. Supported values are: {', '.join(sorted(_FORMATS))}."
        raise invalid(message, param="text.format.type", code="invalid_value")


def _check_tools(request: ResponsesRequest, tools: list[Tool]) -> None:
    choice = request.tool_choice
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        message = "Invalid value. Supported values are: none, auto, required."
        raise invalid(message, param="tool_choice", code="invalid_value")
    if isinstance(choice, NamedTool) and choice.type == "function" and choice.name not in {tool.name for tool in tools}:
        raise invalid("Tool choice 'function' not found in 'tools' parameter.", param="tool_choice")
