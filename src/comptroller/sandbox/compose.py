"""Making up the answer: deterministic tokens from the prompt's seed, within the output limit.

The whole answer is laid out before the first token is billed; `generation.py` then plays it out in time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from comptroller.sandbox.prices import Model
from comptroller.sandbox.request import ChatRequest, Function, NamedTool, read_functions
from comptroller.sandbox.schema import sample_value
from comptroller.sandbox.tokens import split_tokens

# At most four letters each, so that " word" is one token and an answer sent back counts the same.
_WORDS = (
    "able also area back bank base bill book card care case cash cent city coin cost data date deal "
    "debt desk door each east even fact fair farm fast fee file find five fund gain gate give gold "
    "good goes hand have held hold idea into item just keep kind land last late lend less line list "
    "loan long look made main many mark mind mint more much name near need next note once only open "
    "over owed own paid part past plan post rate read rest rule sale save sell sent side sign size "
    "some sort sum take tax team term than that them then this time unit upon used wage want week"
).split()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The head of a tool call; its arguments are the choice's tokens."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer: hidden reasoning first, then visible tokens."""

    reasoning_tokens: int
    tokens: tuple[str, ...]
    finish_reason: str
    tool_call: ToolCall | None = None

    @property
    def text(self) -> str:
        """The visible answer, or the arguments of the tool call."""
        return "".join(self.tokens)


@dataclass(frozen=True, slots=True)
class Answer:
    """All choices of one response."""

    choices: tuple[Choice, ...]

    @property
    def reasoning_tokens(self) -> int:
        """Hidden tokens of all choices."""
        return sum(choice.reasoning_tokens for choice in self.choices)

    @property
    def output_tokens(self) -> int:
        """Tokens of all choices, hidden and visible."""
        return self.reasoning_tokens + sum(len(choice.tokens) for choice in self.choices)

    def pieces(self, size: int) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Visible tokens in the order they are streamed: up to `size` of each choice in turn."""
        longest = max(len(choice.tokens) for choice in self.choices)
        for start in range(0, longest, size):
            for index, choice in enumerate(self.choices):
                piece = choice.tokens[start : start + size]
                if piece:
                    yield index, piece


def compose_answer(request: ChatRequest, model: Model, seed: int, *, beyond_limit: int = 0) -> Answer:
    """Lay out the answer to a request.

    `beyond_limit` (fault `overrun`) makes each choice a text of exactly so many tokens over its limit.
    """
    called = _called_function(request)
    dice = (random.Random(f"{seed}/{index}") for index in range(request.choices))
    return Answer(tuple(_compose_choice(request, model, called, die, beyond_limit) for die in dice))


def _compose_choice(
    request: ChatRequest, model: Model, called: tuple[Function | None, str], dice: random.Random, beyond_limit: int
) -> Choice:
    limit = request.output_limit(model)
    wanted = _reasoning_tokens(request, model, dice)
    reasoning = min(wanted, limit)
    room = limit - reasoning
    if beyond_limit:
        return Choice(reasoning, _words(dice, room + beyond_limit), "length")
    # One more than fits is enough to see that the limit cuts; the rest is never made.
    tokens, finish, tool_call = _compose_visible(request, called, dice, room + 1)
    if len(tokens) > room or wanted > limit:
        finish = "length"
    return Choice(reasoning, tokens[:room], finish, tool_call)


def _reasoning_tokens(request: ChatRequest, model: Model, dice: random.Random) -> int:
    asked = request.control.reasoning_tokens
    if asked is not None:
        return asked
    return dice.randint(20, 200) if model.reasons else 0


def _compose_visible(
    request: ChatRequest, called: tuple[Function | None, str], dice: random.Random, most: int
) -> tuple[tuple[str, ...], str, ToolCall | None]:
    function, finish = called
    if function is not None:
        schema = {"type": "object"} if function.parameters is None else function.parameters
        call = ToolCall(f"call_{dice.getrandbits(96):024x}", function.name)
        return _json_tokens(sample_value(schema)), finish, call
    if request.response_format is not None and request.response_format.type != "text":
        return _json_tokens(_structured(request, dice)), "stop", None
    asked = request.control.output_tokens
    count = dice.randint(5, 60) if asked is None else asked
    return _words(dice, min(count, most)), "stop", None


def _called_function(request: ChatRequest) -> tuple[Function | None, str]:
    """The function to call, and how such an answer finishes ("stop" when the caller named it)."""
    functions = read_functions(request)
    choice = request.tool_choice
    if isinstance(choice, NamedTool) and choice.function is not None:
        named = choice.function.name
        return next(function for function in functions if function.name == named), "stop"
    if functions and (choice == "required" or (request.control.tool_call and choice != "none")):
        return functions[0], "tool_calls"
    return None, "stop"


def _structured(request: ChatRequest, dice: random.Random) -> object:
    wanted = request.response_format
    if wanted is not None and wanted.json_schema is not None and wanted.json_schema.schema is not None:
        return sample_value(wanted.json_schema.schema)
    return {"answer": "".join(_words(dice, 4))}


def _json_tokens(value: object) -> tuple[str, ...]:
    return tuple(split_tokens(msgspec.json.encode(value).decode()))


def _words(dice: random.Random, count: int) -> tuple[str, ...]:
    words = [" " + word for word in dice.choices(_WORDS, k=count)]
    if words:
        words[0] = words[0].lstrip()
    return tuple(words)
