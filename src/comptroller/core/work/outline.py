"""The outline of a request: how much of what it carries, and what its last step was. Nothing of it is kept.

Caps on the context are about its numbers; who looks for loops compares last steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, cast

import msgspec

from comptroller.core.work.conversation import Entry, Result, last_of

MOST_CHARACTERS = 16_384  # of a text or of arguments: the first, and as many of the last
MOST_USES = 64  # tool calls of a step: the last ones
_CUT = "\n...\n"
_LOOKED_AT = 400  # characters of a result, where it says whether it is an error
_READ_MOST = 131_072  # characters of a text that is read as JSON: a longer one is compared as it is
_CANONICAL = msgspec.json.Encoder(order="sorted")

_ERROR = re.compile(
    r"\W*(?:\w*(?:error|exception)|traceback|failed|failure|fatal|panic)\b"
    r"|.{0,200}?\b(?:exit|return|status)[ _]?code\W{1,4}(?!0\b)-?\d+",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)
_ERROR_KEYS = ("error", "is_error", "isError", "errors")
_GOOD_KEYS = ("success", "ok")


class ToolUse(msgspec.Struct, frozen=True, gc=False):
    """A tool that was called, and what came of it."""

    name: str
    arguments: str  # canonical: keys in order, no spaces; a text that is no JSON is as it came
    failed: bool | None  # its result says error; None: there is no result


class Step(msgspec.Struct, frozen=True, gc=False):
    """What the model did last, and what it was told then."""

    by: Literal["user", "tool", ""] = ""  # who spoke; '': nobody
    text: str = ""  # what was said: the results of tools, and what a user said beside or after them
    uses: tuple[ToolUse, ...] = ()  # the tools that the model had called right before: the last of them

    @property
    def failed(self) -> bool:
        """Whether the last of its results says error."""
        ended = [each.failed for each in self.uses if each.failed is not None]
        return bool(ended) and ended[-1]


class Outline(msgspec.Struct, frozen=True, gc=False):
    """How much of what a request carries. Bytes are those of its body."""

    bytes: int
    messages: int  # or items, or contents; of embeddings: inputs
    tools: int = 0  # definitions
    tool_bytes: int = 0  # of those
    tool_results: int = 0
    tool_result_bytes: int = 0  # of all of them
    largest_tool_result_bytes: int = 0
    largest_tool: str = ""  # that it is of
    images: int = 0
    step: Step = Step()


def outline(entries: Sequence[Entry], *, body_bytes: int, tools: int, tool_bytes: int, images: int) -> Outline:
    """The outline of a conversation and of what goes with it."""
    results = [result for entry in entries if entry.results for result in entry.results]
    largest = max(results, key=lambda result: result.bytes, default=None)
    return Outline(
        bytes=body_bytes,
        messages=len(entries),
        tools=tools,
        tool_bytes=tool_bytes,
        tool_results=len(results),
        tool_result_bytes=sum(result.bytes for result in results),
        largest_tool_result_bytes=0 if largest is None else largest.bytes,
        largest_tool="" if largest is None else _named(entries, largest.call),
        images=images,
        step=_last_step(entries),
    )


def says_error(text: str) -> bool:
    """Whether a tool's result reads like an error: not every dialect has a field for that.

    It does where it begins with the word (or with the name of an exception), where it names an exit code other than 0
    near its beginning, and where it is a JSON object that says so.
    """
    head = text[:_LOOKED_AT].lstrip()
    if head.startswith("{"):
        said = _json(text)
        if isinstance(said, dict):
            return _object_says_error(cast("dict[str, object]", said))
    return _ERROR.match(head) is not None


def canonical(arguments: object) -> str:
    """Arguments in one spelling, bounded."""
    if isinstance(arguments, str):
        value = _json(arguments)
        return bounded(arguments if value is None else _CANONICAL.encode(value).decode())
    return bounded(_CANONICAL.encode(arguments).decode())


def bounded(text: str) -> str:
    """A text that is not too long: of a longer one its beginning and its end."""
    if len(text) <= 2 * MOST_CHARACTERS:
        return text
    return text[:MOST_CHARACTERS] + _CUT + text[-MOST_CHARACTERS:]


def _last_step(entries: Sequence[Entry]) -> Step:
    did, told = last_of(entries)
    results = [result for entry in told for result in entry.results]
    texts = [*_texts(results), *(text for entry in told if entry.part != "system" for text in entry.texts)]
    by: Literal["user", "tool", ""] = "tool" if results else "user" if any(each.part == "user" for each in told) else ""
    return Step(by, bounded("\n".join(texts)), _uses(did, results))


def _uses(did: Sequence[Entry], results: Sequence[Result]) -> tuple[ToolUse, ...]:
    calls = [call for entry in did for call in entry.calls][-MOST_USES:]
    asked = {call.id for call in calls}
    # Many calls may share an id, and so a result: it is read once.
    failed = {each.call: _failed(each) for each in {each.call: each for each in results}.values() if each.call in asked}
    return tuple(ToolUse(call.name, canonical(call.arguments), failed.get(call.id)) for call in calls)


def _named(entries: Sequence[Entry], call_id: str) -> str:
    """The tool of a call, short enough for a sentence."""
    names = (call.name for entry in entries for call in entry.calls if call.id == call_id)
    return next(names, "")[:64]


def _failed(result: Result) -> bool:
    return says_error("\n".join(result.texts)) if result.failed is None else result.failed


def _texts(results: Iterable[Result]) -> Iterable[str]:
    for result in results:
        yield from result.texts


def _json(text: str) -> object:
    """What a text is as JSON; None if it is none, or too long to be worth the reading."""
    if len(text) > _READ_MOST:
        return None
    try:
        return cast("object", msgspec.json.decode(text))
    except (ValueError, RecursionError):
        return None


def _object_says_error(said: Mapping[str, object]) -> bool:
    inner = said.get("metadata")
    codes = (said.get("exit_code"), cast("dict[str, object]", inner).get("exit_code") if isinstance(inner, dict) else 0)
    if any(isinstance(code, int) and code != 0 for code in codes):
        return True
    return any(said.get(key) for key in _ERROR_KEYS) or any(said.get(key) is False for key in _GOOD_KEYS)
