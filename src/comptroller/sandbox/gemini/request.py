"""Reading a generateContent request: the fields that matter here, and Google's own refusals of bad ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast

import msgspec

from comptroller.sandbox.errors import invalid, not_found
from comptroller.sandbox.faults import Control, check_control
from comptroller.sandbox.prices import Model, find_model

TIERS: Mapping[str, str] = {"standard": "default", "flex": "flex", "priority": "priority"}
MOST_CANDIDATES = 8
T = TypeVar("T")
_UNDERSCORE = re.compile(r"_([a-z])")


class Blob(msgspec.Struct, rename="camel"):
    """Bytes in base64, and what they are."""

    mime_type: str = ""
    data: str = ""


class Part(msgspec.Struct, rename="camel"):
    """One part of a content."""

    text: str | None = None
    inline_data: Blob | None = None
    function_call: Any = None
    function_response: Any = None
    thought_signature: str | None = None


class Content(msgspec.Struct, rename="camel"):
    """One turn."""

    parts: list[Part] = []
    role: str = "user"


class Declaration(msgspec.Struct, rename="camel", omit_defaults=True):
    """A function that may be called."""

    name: str
    parameters: Any = None
    parameters_json_schema: Any = None


class Tool(msgspec.Struct, rename="camel"):
    """An entry of `tools`."""

    function_declarations: list[Declaration] = []


class CallingConfig(msgspec.Struct, rename="camel"):
    """Whether a function shall be called."""

    mode: str = "AUTO"


class ToolConfig(msgspec.Struct, rename="camel"):
    """How tools are used."""

    function_calling_config: CallingConfig = msgspec.field(default_factory=CallingConfig)


class ThinkingConfig(msgspec.Struct, rename="camel"):
    """How much the model thinks first."""

    thinking_budget: int | None = None
    include_thoughts: bool = False


class Config(msgspec.Struct, rename="camel"):
    """How the answer shall be."""

    max_output_tokens: int | None = None
    candidate_count: int = 1
    response_mime_type: str = "text/plain"
    response_schema: Any = None
    response_json_schema: Any = None
    thinking_config: ThinkingConfig = msgspec.field(default_factory=ThinkingConfig)


class GenerateRequest(msgspec.Struct, rename="camel"):
    """A request body; fields not named here are accepted and ignored."""

    contents: list[Content]
    system_instruction: Content | None = None
    generation_config: Config = msgspec.field(default_factory=Config)
    tools: list[Tool] = []
    tool_config: ToolConfig = msgspec.field(default_factory=ToolConfig)
    service_tier: Literal["standard", "flex", "priority"] = "standard"
    sandbox: Control | None = None

    @property
    def control(self) -> Control:
        """The request's own wishes to the sandbox."""
        return self.sandbox or Control()

    @property
    def functions(self) -> list[Declaration]:
        """All that may be called."""
        return [function for tool in self.tools for function in tool.function_declarations]


def read_generate(model_name: str, body: bytes) -> tuple[GenerateRequest, Model]:
    """Read and check a request. Raises ApiError (400, or 404 for an unknown model)."""
    model = known_model(model_name)
    request = decode(body, GenerateRequest)
    config = request.generation_config
    if not request.contents:
        raise invalid("* GenerateContentRequest.contents: contents is not specified")
    if not 1 <= config.candidate_count <= MOST_CANDIDATES:
        raise invalid(f"Invalid candidate_count: it must be from 1 to {MOST_CANDIDATES}.")
    if config.max_output_tokens is not None and not 1 <= config.max_output_tokens <= model.max_output_tokens:
        raise invalid(
            f"Unable to submit request because it must have a maxOutputTokens from 1 to {model.max_output_tokens}."
        )
    check_control(request.control, tuple(TIERS.values()))
    return request, model


def known_model(name: str) -> Model:
    """The model that a path names. Raises ApiError (404)."""
    model = find_model(name)
    if model is None:
        raise not_found("The model is not found for this API version.")
    return model


def decode(body: bytes, kind: type[T]) -> T:
    """A body, its names in either of the two spellings. Raises ApiError (400)."""
    try:
        body.decode()
        return msgspec.convert(_camel(msgspec.json.decode(body)), kind)
    except msgspec.ValidationError as error:
        raise invalid(f"Invalid JSON payload received: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid("Invalid JSON payload received.") from None


def _camel(value: Any) -> Any:
    """Every name in camelCase; of a name in both spellings the last counts."""
    if isinstance(value, dict):
        named = cast("dict[str, Any]", value)
        kept = {"sandbox"}  # not this API's
        return {_camel_name(name): each if name in kept else _camel(each) for name, each in named.items()}
    if isinstance(value, list):
        return [_camel(each) for each in cast("list[Any]", value)]
    return value


def _camel_name(name: str) -> str:
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name)
