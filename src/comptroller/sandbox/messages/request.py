"""Reading a Messages request: the fields that matter here, and Anthropic's own refusals of bad ones."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from comptroller.sandbox.errors import ApiError, invalid, not_found
from comptroller.sandbox.faults import Control, check_control
from comptroller.sandbox.messages.blocks import Block, CacheControl, check_block
from comptroller.sandbox.prices import Model, find_model

# `flex` is not one of this API's.
TIERS = ("default", "priority")
LEAST_THINKING_TOKENS = 1_024
_ROLES = ("user", "assistant")
_LATER_ROLES = (*_ROLES, "system")  # what Claude Code sends in the middle of a conversation
_PARAM = re.compile(r" - at `\$\.?([^`]*)`$")


class Message(msgspec.Struct):
    """One message of the conversation."""

    role: str
    content: str | list[Block]


class Tool(msgspec.Struct):
    """An entry of `tools`."""

    name: str
    type: str | None = None
    input_schema: Any = None
    cache_control: CacheControl | None = None


class ToolChoice(msgspec.Struct):
    """Whether a tool shall be used, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None


class Thinking(msgspec.Struct):
    """Whether the model thinks first."""

    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(msgspec.Struct):
    """What shape the answer shall have."""

    type: Literal["json_schema"]
    schema: Any = None


class OutputConfig(msgspec.Struct):
    """How the answer shall be."""

    format: OutputFormat | None = None


class MessagesRequest(msgspec.Struct):
    """A request body; fields not named here are accepted and ignored."""

    model: str
    messages: list[Message]
    max_tokens: int
    system: str | list[Block] | None = None
    stream: bool | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    cache_control: CacheControl | None = None
    sandbox: Control | None = None

    @property
    def control(self) -> Control:
        """The request's own wishes to the sandbox."""
        return self.sandbox or Control()

    @property
    def thinks(self) -> bool:
        """Whether the model thinks before it answers."""
        return self.thinking is not None and self.thinking.type != "disabled"


_DECODER = msgspec.json.Decoder(MessagesRequest)


def read_messages(body: bytes) -> tuple[MessagesRequest, Model, list[Tool]]:
    """Read and check a request body. Raises ApiError (400, or 404 for an unknown model)."""
    request = _decode(body)
    model = find_model(request.model)
    if model is None:
        raise not_found("model: there is no such model.")
    tools = _read_tools(request)
    _check_messages(request)
    _check_limits(request, model)
    _check_tool_choice(request, tools)
    check_control(request.control, TIERS)
    return request, model, tools


def _decode(body: bytes) -> MessagesRequest:
    try:
        body.decode()  # msgspec does not look into what it keeps raw or skips
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise _wrong_type(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _not_json() from None


def _not_json() -> ApiError:
    return invalid("The request body is not valid JSON.")


def _wrong_type(detail: str) -> ApiError:
    """Say which field is wrong; msgspec names known fields only, so nothing of the caller's is echoed."""
    found = _PARAM.search(detail)
    param = found.group(1) if found else None
    return invalid(f"Invalid request: {detail}.", param=param or None)


def _read_tools(request: MessagesRequest) -> list[Tool]:
    try:
        return [msgspec.json.decode(tool, type=Tool) for tool in request.tools or ()]
    except msgspec.ValidationError as error:
        raise _wrong_type(str(error)) from None
    except (msgspec.DecodeError, RecursionError):
        raise _not_json() from None


def _check_messages(request: MessagesRequest) -> None:
    if not request.messages:
        raise invalid("messages: at least one message is required", param="messages")
    for index, message in enumerate(request.messages):
        where = f"messages.{index}"
        if message.role not in (_ROLES if index == 0 else _LATER_ROLES):
            raise invalid(f"{where}.role: Input should be 'user' or 'assistant'", param=f"{where}.role")
        if not message.content:
            raise invalid(f"{where}: all messages must have non-empty content", param=f"{where}.content")
        _check_content(message.content, f"{where}.content")
    _check_content(request.system or "", "system")


def _check_content(content: str | list[Block], where: str) -> None:
    if isinstance(content, list):
        for index, block in enumerate(content):
            check_block(block, f"{where}.{index}")


def _check_limits(request: MessagesRequest, model: Model) -> None:
    limit, most = request.max_tokens, model.max_output_tokens
    if limit < 0:
        raise invalid("max_tokens: Input should be greater than or equal to 0", param="max_tokens")
    if limit > most:
        raise invalid(f"max_tokens: {limit} > {most}, the most that this model can make", param="max_tokens")
    budget = request.thinking.budget_tokens if request.thinking is not None else None
    if request.thinking is None or request.thinking.type != "enabled":
        return
    if budget is None or budget < LEAST_THINKING_TOKENS:
        message = f"thinking.enabled.budget_tokens: Input should be greater than or equal to {LEAST_THINKING_TOKENS}"
        raise invalid(message, param="thinking.budget_tokens")
    if budget >= limit:
        raise invalid("`max_tokens` must be greater than `thinking.budget_tokens`.", param="max_tokens")


def _check_tool_choice(request: MessagesRequest, tools: list[Tool]) -> None:
    choice = request.tool_choice
    if choice is None:
        return
    if not tools and choice.type in {"any", "tool"}:
        raise invalid("tool_choice: may only be specified while providing tools", param="tool_choice")
    if choice.type == "tool" and choice.name not in {tool.name for tool in tools}:
        raise invalid("tool_choice.name: no tool has this name", param="tool_choice.name")
    if choice.type in {"any", "tool"} and request.thinks:
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.", param="thinking")
