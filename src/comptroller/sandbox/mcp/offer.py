"""The sandbox's tools: how each is defined, what it does, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from comptroller.core.money import format_usd, parse_usd

Json = dict[str, object]

SEARCH_NANOS = parse_usd("0.01")
KIB_NANOS = parse_usd("0.000001")

_MOST_KIB = 64 * 1024
_WORDS = "the quick brown fox jumps over the lazy dog and pays for every word of it "


@dataclass(frozen=True, slots=True)
class Done:
    """What a tool made, and what is taken for it."""

    text: str
    structured: Json | None = None
    is_error: bool = False
    charge_nanos: int = 0
    units: int = 0
    """What a tool counts its result by: results of `search`, KiB of `big`."""


class BadArguments(Exception):
    """Raised where a tool cannot read its arguments; the text says why."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `does` makes its result at once; `slow` and `ask` are told apart by their name."""

    name: str
    title: str
    description: str
    input_schema: Json
    annotations: Json
    does: Callable[[Mapping[str, object]], Done]
    output_schema: Json | None = None

    def definition(self) -> Json:
        """The tool as `tools/list` shows it."""
        said: Json = {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": self.input_schema,
            "annotations": self.annotations,
        }
        return said if self.output_schema is None else said | {"outputSchema": self.output_schema}


class _Echo(msgspec.Struct):
    text: str


class _Search(msgspec.Struct):
    query: str
    limit: int = 3


class _Url(msgspec.Struct):
    url: str


class _Big(msgspec.Struct):
    kib: int = 64


class Slow(msgspec.Struct):
    """Arguments of `slow`."""

    delay_s: float = 1.0
    steps: int = 3


class _Fail(msgspec.Struct):
    message: str = "this tool failed, as it was asked to"


class _Name(msgspec.Struct):
    name: str


class _Pay(msgspec.Struct):
    to: str
    amount_usd: str


class Ask(msgspec.Struct):
    """Arguments of `ask`; with `url` the person is sent there."""

    question: str
    url: str = ""


Read = TypeVar("Read", bound=msgspec.Struct)


def read_arguments(arguments: Mapping[str, object], shape: type[Read]) -> Read:
    """The arguments of a tool. Raises BadArguments."""
    try:
        return msgspec.convert(arguments, shape)
    except msgspec.ValidationError as error:
        raise BadArguments(str(error)) from None


def text_of(kib: int) -> str:
    """So many KiB of text."""
    return (_WORDS * (kib * 1024 // len(_WORDS) + 1))[: kib * 1024]


def _echo(arguments: Mapping[str, object]) -> Done:
    text = read_arguments(arguments, _Echo).text
    return Done(text, {"text": text})


def _search(arguments: Mapping[str, object]) -> Done:
    asked = read_arguments(arguments, _Search)
    count = max(0, min(asked.limit, 100))
    results = [
        {"title": f"{asked.query} {number}", "url": f"https://docs.example/{number}"} for number in range(1, count + 1)
    ]
    text = "\n".join(f"{each['title']}: {each['url']}" for each in results)
    return Done(text, {"results": results}, charge_nanos=SEARCH_NANOS, units=count)


def _fetch(arguments: Mapping[str, object]) -> Done:
    return Done(f"A page that was never fetched from {read_arguments(arguments, _Url).url}.")


def _big(arguments: Mapping[str, object]) -> Done:
    kib = max(0, min(read_arguments(arguments, _Big).kib, _MOST_KIB))
    return Done(text_of(kib), charge_nanos=kib * KIB_NANOS, units=kib)


def _slow(arguments: Mapping[str, object]) -> Done:
    return Done(f"done after {read_arguments(arguments, Slow).delay_s} s")


def _fail(arguments: Mapping[str, object]) -> Done:
    return Done(read_arguments(arguments, _Fail).message, is_error=True)


def _delete_thing(arguments: Mapping[str, object]) -> Done:
    return Done(f"{read_arguments(arguments, _Name).name} is deleted")


def _pay(arguments: Mapping[str, object]) -> Done:
    asked = read_arguments(arguments, _Pay)
    try:
        amount_nanos = parse_usd(asked.amount_usd)
    except ValueError as error:
        raise BadArguments(str(error)) from None
    return Done(f"{format_usd(amount_nanos)} USD paid to {asked.to}", charge_nanos=amount_nanos)


def _ask(arguments: Mapping[str, object]) -> Done:
    return Done(read_arguments(arguments, Ask).question)


def _object(required: str, **properties: str) -> Json:
    """A schema: `required` names separated by spaces, and the type of each property."""
    return {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": required.split(),
    }


_READ: Json = {"readOnlyHint": True, "openWorldHint": False}
_OPEN: Json = {"readOnlyHint": True, "openWorldHint": True}
_CHANGES: Json = {"readOnlyHint": False, "destructiveHint": True}

_RESULT = _object("title url", title="string", url="string")
_RESULTS: Json = {
    "type": "object",
    "properties": {"results": {"type": "array", "items": _RESULT}},
    "required": ["results"],
}

TOOLS = (
    Tool(
        "echo",
        "Echo",
        "Says a text again.",
        _object("text", text="string"),
        _READ,
        _echo,
        _object("text", text="string"),
    ),
    Tool(
        "search",
        "Search",
        "Searches a made-up index. Costs 0.01 USD a call.",
        _object("query", query="string", limit="integer"),
        _OPEN,
        _search,
        _RESULTS,
    ),
    Tool("fetch", "Fetch", "Reads a page.", _object("url", url="string"), _OPEN, _fetch),
    Tool("big", "Big", "Answers with so many KiB. Costs 0.000001 USD a KiB.", _object("", kib="integer"), _READ, _big),
    Tool("slow", "Slow", "Takes its time.", _object("", delay_s="number", steps="integer"), _READ, _slow),
    Tool("fail", "Fail", "Fails.", _object("", message="string"), _READ, _fail),
    Tool("delete_thing", "Delete", "Deletes a thing.", _object("name", name="string"), _CHANGES, _delete_thing),
    Tool(
        "pay",
        "Pay",
        "Pays somebody, for the amount that it pays.",
        _object("to amount_usd", to="string", amount_usd="string"),
        _CHANGES,
        _pay,
    ),
    Tool(
        "ask", "Ask", "Asks the person a question.", _object("question", question="string", url="string"), _READ, _ask
    ),
)


def price_list() -> list[Json]:
    """What is taken, in USD, for each tool that is not free."""
    return [
        {"tool": "search", "request": format_usd(SEARCH_NANOS)},
        {"tool": "big", "kib": format_usd(KIB_NANOS)},
        {"tool": "pay", "request": "the amount"},
    ]
