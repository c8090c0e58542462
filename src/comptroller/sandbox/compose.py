"""Making up the answer: deterministic tokens from the prompt's seed, within the output limit.

The whole answer is laid out before the first token is billed; `generation.py` then plays it out in time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from comptroller.sandbox.order import Order
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


Piece = tuple[int, tuple[str, ...]]  # tokens of one choice


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The head of a tool call; its arguments are the choice's tokens."""

    id: str
    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer: reasoning first, then visible tokens."""

    reasoning_tokens: int
    tokens: tuple[str, ...]
    finish_reason: str
    """`stop`, `length` or `tool_calls`."""
    tool_call: ToolCall | None = None
    thoughts: tuple[str, ...] = ()
    """The tokens of the reasoning, where the caller gets to read them."""

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
        """Reasoning tokens of all choices."""
        return sum(choice.reasoning_tokens for choice in self.choices)

    @property
    def output_tokens(self) -> int:
        """Tokens of all choices, reasoning and visible."""
        return self.reasoning_tokens + sum(len(choice.tokens) for choice in self.choices)

    def thoughts(self, size: int) -> Iterator[Piece]:
        """Tokens of reasoning that is shown, up to `size` at once."""
        for index, choice in enumerate(self.choices):
            for start in range(0, len(choice.thoughts), size):
                yield index, choice.thoughts[start : start + size]

    def pieces(self, size: int) -> Iterator[Piece]:
        """Visible tokens in the order they are streamed: up to `size` of each choice in turn."""
        longest = max(len(choice.tokens) for choice in self.choices)
        for start in range(0, longest, size):
            for index, choice in enumerate(self.choices):
                piece = choice.tokens[start : start + size]
                if piece:
                    yield index, piece


def compose_answer(order: Order, seed: int, *, beyond_limit: int = 0, usual: int = 0) -> Answer:
    """Lay out the answer to an order. `usual`: half of those that say nothing have more tokens; 0: 5 to 60 by chance.

    `beyond_limit` (fault `overrun`) makes each choice a text of exactly so many tokens over its limit.
    """
    dice = (random.Random(f"{seed}/{index}") for index in range(order.choices))
    return Answer(tuple(_compose_choice(order, die, beyond_limit, usual) for die in dice))


def _compose_choice(order: Order, dice: random.Random, beyond_limit: int, usual: int) -> Choice:
    wanted = _reasoning_tokens(order, dice)
    reasoning = min(wanted, order.output_limit)
    room = order.output_limit - reasoning
    if beyond_limit:
        tokens, finish, tool_call = _words(dice, room + beyond_limit), "length", None
    else:
        # One more than fits is enough to see that the limit cuts; the rest is never made.
        tokens, finish, tool_call = _compose_visible(order, dice, room + 1, usual)
        if len(tokens) > room or wanted > order.output_limit:
            finish = "length"
        tokens = tokens[:room]
    thoughts = _words(dice, reasoning) if order.shows_reasoning else ()
    return Choice(reasoning, tokens, finish, tool_call, thoughts)


def _reasoning_tokens(order: Order, dice: random.Random) -> int:
    wanted = dice.randint(20, 200) if order.reasoning_tokens is None else order.reasoning_tokens
    return wanted if order.most_reasoning_tokens is None else min(wanted, order.most_reasoning_tokens)


def _compose_visible(
    order: Order, dice: random.Random, most: int, usual: int
) -> tuple[tuple[str, ...], str, ToolCall | None]:
    if order.call is not None:
        call = order.call
        tool_call = ToolCall(f"{dice.getrandbits(96):024x}", call.name, call.namespace)
        arguments = sample_value(call.schema) if call.arguments is None else call.arguments
        return _json_tokens(arguments), call.finish, tool_call
    if order.structured:
        value = {"answer": "".join(_words(dice, 4))} if order.schema is None else sample_value(order.schema)
        return _json_tokens(value), "stop", None
    asked = order.control.output_tokens
    count = _usual_tokens(dice, usual) if asked is None else asked
    return _words(dice, min(count, most)), "stop", None


def _usual_tokens(dice: random.Random, usual: int) -> int:
    return max(1, round(usual * dice.lognormvariate(0, 0.6))) if usual else dice.randint(5, 60)


def _json_tokens(value: object) -> tuple[str, ...]:
    return tuple(split_tokens(msgspec.json.encode(value).decode()))


def _words(dice: random.Random, count: int) -> tuple[str, ...]:
    words = [" " + word for word in dice.choices(_WORDS, k=count)]
    if words:
        words[0] = words[0].lstrip()
    return tuple(words)
