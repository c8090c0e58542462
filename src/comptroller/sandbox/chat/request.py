"""Reading a Chat Completions request: the fields that matter here, and OpenAI's own refusals of bad ones."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from comptroller.sandbox.errors import ApiError, invalid, not_found
from comptroller.sandbox.faults import Control, check_control
from comptroller.sandbox.prices import TIERS, Model, find_model

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_PART_TYPES = frozenset({"text", "refusal", "image_url", "input_audio"})
_FORMATS = frozenset({"text", "json_object", "json_schema"})
_PARAM = re.compile(r" - at `\$\.?([^`]*)`$")
_MAX_CHOICES = 128


class ImageUrl(msgspec.Struct):
    """Where an image is; never fetched."""

    url: str


class InputAudio(msgspec.Struct):
    """Audio in the request, as base64."""

    data: str
    format: str | None = None


class Part(msgspec.Struct):
    """One part of a message's content."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | None = None
    input_audio: InputAudio | None = None


class Message(msgspec.Struct):
    """One message of the conversation."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class Function(msgspec.Struct):
    """A function that the model may call."""

    name: str
    parameters: Any = None


class Tool(msgspec.Struct):
    """An entry of `tools`."""

    type: str = "function"
    function: Function | None = None


class FunctionName(msgspec.Struct):
    """The function that `tool_choice` names."""

    name: str


class NamedTool(msgspec.Struct):
    """A `tool_choice` in its object form."""

    type: str
    function: FunctionName | None = None


class JsonSchema(msgspec.Struct):
    """The schema of a structured answer."""

    schema: Any = None


class ResponseFormat(msgspec.Struct):
    """What shape the answer shall have."""

    type: str
    json_schema: JsonSchema | None = None


class StreamOptions(msgspec.Struct):
    """Options of a streamed answer."""

    include_usage: bool | None = None


class ChatRequest(msgspec.Struct):
    """A request body; fields not named here are accepted and ignored."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    service_tier: str | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: str | NamedTool | None = None
    response_format: ResponseFormat | None = None
    sandbox: Control | None = None

    @property
    def choices(self) -> int:
        """How many answers are asked."""
        return 1 if self.n is None else self.n

    @property
    def wants_usage(self) -> bool:
        """Whether a stream shall end with a usage chunk."""
        return self.stream_options is not None and self.stream_options.include_usage is True

    @property
    def control(self) -> Control:
        """The request's own wishes to the sandbox."""
        return self.sandbox or Control()

    @property
    def tier(self) -> str:
        """The service tier that this request is served and billed at."""
        wanted = self.control.served_tier or self.service_tier
        return wanted if wanted in TIERS else "default"

    def output_limit(self, model: Model) -> int:
        """Output tokens that each choice may have, reasoning included."""
        limits = [limit for limit in (self.max_tokens, self.max_completion_tokens) if limit is not None]
        return min(limits, default=model.default_output_tokens)


_DECODER = msgspec.json.Decoder(ChatRequest)


def read_chat(body: bytes) -> tuple[ChatRequest, Model]:
    """Read and check a request body. Raises ApiError (400, or 404 for an unknown model)."""
    request = _decode(body)
    model = find_model(request.model)
    if model is None:
        raise not_found("The model does not exist or you do not have access to it.", "model_not_found")
    _check_messages(request.messages)
    _check_numbers(request, model)
    _check_options(request)
    _check_tools(request)
    return request, model


def _decode(body: bytes) -> ChatRequest:
    try:
        body.decode()  # msgspec does not look into what it keeps raw or skips
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise _wrong_type(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _not_json() from None


def _not_json() -> ApiError:
    return invalid("We could not parse the JSON body of your request. (HINT: it must be one JSON object in UTF-8.)")


def _wrong_type(detail: str) -> ApiError:
    """Say which field is wrong; msgspec names known fields only, so nothing of the caller's is echoed."""
    found = _PARAM.search(detail)
    param = found.group(1) if found else None
    return invalid(f"Invalid request: {detail}.", param=param or None, code="invalid_type")


def _check_messages(messages: list[Message]) -> None:
    if not messages:
        message = "Invalid 'messages': empty array. Expected an array with minimum length 1."
        raise invalid(message, param="messages", code="empty_array")
    for index, message in enumerate(messages):
        if message.role not in _ROLES:
            raise invalid(
                f"Invalid value. Supported values are: {', '.join(sorted(_ROLES))}.",
                param=f"messages[{index}].role",
                code="invalid_value",
            )
        if isinstance(message.content, list):
            _check_parts(message.content, f"messages[{index}].content")


def _check_parts(parts: list[Part], where: str) -> None:
    for index, part in enumerate(parts):
        if part.type not in _PART_TYPES:
            message = f"Invalid value. Supported values are: {', '.join(sorted(_PART_TYPES))}."
            raise invalid(message, param=f"{where}[{index}].type", code="invalid_value")
        if getattr(part, part.type) is None:
            message = f"Missing required parameter: '{where}[{index}].{part.type}'."
            raise invalid(message, param=f"{where}[{index}].{part.type}", code="missing_required_parameter")


def _check_numbers(request: ChatRequest, model: Model) -> None:
    for param, limit in (("max_tokens", request.max_tokens), ("max_completion_tokens", request.max_completion_tokens)):
        if limit is not None and limit < 1:
            message = f"Invalid '{param}': integer below minimum value. Expected a value >= 1."
            raise invalid(message, param=param, code="integer_below_min_value")
        if limit is not None and limit > model.max_output_tokens:
            message = f"{param} is too large. This model supports at most {model.max_output_tokens} completion tokens."
            raise invalid(message, param=param, code="invalid_value")
    if not 1 <= request.choices <= _MAX_CHOICES:
        message = f"Invalid 'n': integer out of range. Expected a value from 1 to {_MAX_CHOICES}."
        raise invalid(message, param="n", code="integer_out_of_range")


def _check_options(request: ChatRequest) -> None:
    if request.stream_options is not None and not request.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise invalid(message, param="stream_options")
    if request.service_tier not in (None, "auto", *TIERS):
        message = f"Invalid value. Supported values are: auto, {', '.join(TIERS)}."
        raise invalid(message, param="service_tier", code="invalid_value")
    if request.response_format is not None and request.response_format.type not in _FORMATS:
        message = f"Invalid value. Supported values are: {', '.join(sorted(_FORMATS))}."
        raise invalid(message, param="response_format.type", code="invalid_value")
    check_control(request.control, TIERS)


def _check_tools(request: ChatRequest) -> None:
    choice = request.tool_choice
    if choice is not None and not request.tools:
        message = "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."
        raise invalid(message, param="tool_choice")
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        message = "Invalid value. Supported values are: none, auto, required."
        raise invalid(message, param="tool_choice", code="invalid_value")
    names = {function.name for function in read_functions(request)}
    if isinstance(choice, NamedTool) and choice.function is not None and choice.function.name not in names:
        raise invalid("Invalid value for 'tool_choice': no tool has this name.", param="tool_choice")


def read_functions(request: ChatRequest) -> list[Function]:
    """The functions among the tools. Raises ApiError (400) for a tool of a wrong shape."""
    try:
        tools = [msgspec.json.decode(tool, type=Tool) for tool in request.tools or ()]
    except msgspec.ValidationError as error:
        raise _wrong_type(str(error)) from None
    except (msgspec.DecodeError, RecursionError):
        raise _not_json() from None
    return [tool.function for tool in tools if tool.function is not None]
