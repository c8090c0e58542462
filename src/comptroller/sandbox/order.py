"""An order: what a request asks to be made, whichever surface it came through."""

from __future__ import annotations

from dataclasses import dataclass

from comptroller.sandbox.faults import Control
from comptroller.sandbox.prices import Model
from comptroller.sandbox.prompt import Segment


@dataclass(frozen=True, slots=True)
class Call:
    """A tool that shall be called instead of writing a text."""

    name: str
    schema: object
    """The JSON schema of its arguments."""
    finish: str
    """How an answer with this call finishes: `tool_calls`, or `stop` where the caller named the tool."""
    namespace: str = ""
    """In Responses: the namespace that the tool is in."""
    arguments: object = None
    """The arguments, where they are not made up."""


@dataclass(frozen=True, slots=True)
class Order:
    """A request that was read and is good."""

    model: Model
    tier: str
    """The service tier that it is served and billed at."""
    control: Control
    stream: bool
    output_limit: int
    """Output tokens that each choice may have, reasoning included."""
    segments: tuple[Segment, ...]
    """The prompt in its order; at least one."""
    usage_asked: bool = True
    """Whether a stream shall report usage."""
    marked: bool = False
    """Whether the prompt cache works only where the request marks it."""
    choices: int = 1
    call: Call | None = None
    offered: tuple[tuple[str, str], ...] = ()
    """The caller's own tools that may be called: namespace ("" for none) and name."""
    structured: bool = False
    """Whether the answer shall be JSON, of `schema` if there is one."""
    schema: object = None
    reasoning_tokens: int | None = 0
    """Tokens of reasoning before each answer; None is as many as the model likes."""
    most_reasoning_tokens: int | None = None
    shows_reasoning: bool = False
    """Whether the caller gets to read it."""
    shown: tuple[int, ...] = ()
    """In completions: those of the choices that the caller gets, the best of each prompt."""
    echoed: tuple[str, ...] = ()
    """In completions: the prompts, where the answers begin with them."""
