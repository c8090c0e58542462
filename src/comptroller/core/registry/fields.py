"""Readers of single values, and of a table made of them. A reader returns the normalised value or raises `Fault`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, datetime
from typing import cast
from zoneinfo import ZoneInfo

import msgspec

from comptroller.core.budget.soft import in_order
from comptroller.core.ids import is_name
from comptroller.core.money import NANOS_PER_USD, format_usd, parse_usd
from comptroller.core.problem import Fault, Problem, did_you_mean, join
from comptroller.core.registry.entries import Entry, Value

Reader = Callable[[object], Value]

# Bounds that keep every amount well inside a signed 64-bit column: a billion USD is 10^18 nano-USD.
MOST_USD = 1_000_000_000
MOST_PRICE_USD = 1_000_000
MOST_COUNT = 10**15
MOST_TOKENS = 10**9
COUNTED = ("tokens", "calls", "tool_calls", "result_bytes")
"""Units of budgets beside USD."""
UNBOUNDED = "unbounded"
OFF = "off"

_TEXT_LENGTH = 500
_PATTERN = re.compile(r"[A-Za-z0-9*?][A-Za-z0-9._:/@+*?~-]{0,199}", re.ASCII)
_UPSTREAM_NAME = re.compile(r"[A-Za-z0-9@][A-Za-z0-9._:/@+~-]{0,199}", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9+_-]{1,40}(?:/[A-Za-z0-9+_-]{1,40}){0,3}", re.ASCII)
_LIMIT = re.compile(r"(\S+) +(\S+)")
_COUNT = re.compile(r"\d+(?:_\d+)*", re.ASCII)


class Field(msgspec.Struct, frozen=True):
    """One key of a table: how it is read, and what it is when it is left out (None: absent)."""

    name: str
    read: Reader | tuple[Field, ...]  # fields: a table in the table
    default: Value | None = None
    mandatory: bool = False


def read_table(where: str, raw: object, fields: Iterable[Field], problems: list[Problem]) -> Entry:
    """The fields of one table. Every fault is added to `problems`; a faulty field is left out."""
    if not isinstance(raw, dict):
        problems.append(Problem(where, f"This must be a table, not {name_of(raw)}."))
        return {}
    raw = cast("dict[str, object]", raw)
    known = {field.name: field for field in fields}
    refuse_unknown(where, raw, known, problems)
    entry: Entry = {}
    for field in known.values():
        path = join(where, field.name)
        if field.name not in raw:
            if field.mandatory:
                problems.append(Problem(path, f"`{field.name}` is missing, and it is mandatory."))
            elif field.default is not None:
                entry[field.name] = field.default
            continue
        if not callable(field.read):
            entry[field.name] = cast("dict[str, list[str]]", read_table(path, raw[field.name], field.read, problems))
            continue
        try:
            entry[field.name] = field.read(raw[field.name])
        except Fault as fault:
            problems.append(fault.at(path))
    return entry


def refuse_unknown(where: str, raw: Mapping[str, object], known: Collection[str], problems: list[Problem]) -> None:
    """A key that nobody reads is a limit that nobody keeps."""
    problems.extend(
        Problem(join(where, key), "Nothing here has this name.", did_you_mean(key, known))
        for key in raw
        if key not in known
    )


def text(raw: object) -> str:
    """One line of words."""
    words = _string(raw).strip()
    if not words:
        raise Fault("This is empty.")
    if len(words) > _TEXT_LENGTH or not words.isprintable():
        raise Fault(f"This must be one line of at most {_TEXT_LENGTH} printable characters.")
    return words


def name(raw: object) -> str:
    """The name of a team, owner, provider, budget, ..."""
    word = _string(raw)
    if not is_name(word):
        raise Fault(f"{word!r} is not a name.", "Use letters, digits and . _ @ -, at most 128, no sign first.")
    return word


def pattern(raw: object) -> str:
    """The name of a model, or a pattern with * and ?."""
    word = _string(raw)
    if _PATTERN.fullmatch(word) is None:
        raise Fault(f"{word!r} is not a model.", "Use letters, digits and . _ : / @ + ~ -, with * and ? as wildcards.")
    return word


def choice(*known: str) -> Reader:
    """One of a few words."""

    def read(raw: object) -> str:
        word = _string(raw)
        if word not in known:
            raise Fault(f"{word!r} is not one of {', '.join(known)}.", _nearest(word, known))
        return word

    return read


def names(one: Reader, *, empty: bool = False, ordered: bool = True) -> Reader:
    """A list of different names, sorted where their order means nothing. A single one may stand without brackets."""

    def read(raw: object) -> list[str]:
        items: list[object] = cast("list[object]", raw) if isinstance(raw, list) else [raw]
        words = [str(one(item)) for item in items]
        if not words and not empty:
            raise Fault("This list is empty.")
        twice = sorted({word for word in words if words.count(word) > 1})
        if twice:
            raise Fault(f"{twice[0]!r} is named twice.")
        return words if ordered else sorted(words)

    return read


def by_provider(raw: object) -> dict[str, list[str]]:
    """A table of providers, each with the one name that it has for something."""
    if not isinstance(raw, dict):
        raise Fault(f'This must be a table such as {{ PROVIDER = "NAME" }}, not {name_of(raw)}.')
    table = cast("dict[str, object]", raw)
    return {name(provider): [upstream_name(given)] for provider, given in sorted(table.items())}


def upstream_name(raw: object) -> str:
    """What a provider calls a model or a deployment."""
    word = _string(raw)
    if _UPSTREAM_NAME.fullmatch(word) is None:
        raise Fault(f"{word!r} is no name of a model at a provider.", "Use letters, digits and . _ : / @ + ~ -.")
    return word


def count(least: int, most: int = MOST_TOKENS) -> Reader:
    """A whole number, of tokens if nothing else is said."""

    def read(raw: object) -> int:
        return _number(raw, least, most)

    return read


def bound(most: int) -> Reader:
    """A whole number, or the word that says that there is none."""

    def read(raw: object) -> int | str:
        if raw == UNBOUNDED:
            return UNBOUNDED
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise Fault(f"This must be a whole number or '{UNBOUNDED}', not {name_of(raw)}.")
        if not 0 <= raw <= most:
            raise Fault(f"{raw} is not between 0 and {most:_}.")
        return raw

    return read


def unless_off(least: int, most: int) -> Reader:
    """A whole number, or the word that switches it off."""

    def read(raw: object) -> int | str:
        return OFF if raw == OFF else _number(raw, least, most, f" or '{OFF}'")

    return read


def money_bound(raw: object) -> str:
    """USD as a decimal string, or the word that says that there is no bound."""
    if raw == UNBOUNDED:
        return UNBOUNDED
    amount_nanos = _usd(raw)
    if amount_nanos > MOST_USD * NANOS_PER_USD:
        raise Fault(f"{raw!r} is more than can be counted.")
    return format_usd(amount_nanos)


def flag(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise Fault(f"This must be true or false, not {name_of(raw)}.")
    return raw


def day(raw: object) -> str:
    """A TOML date, kept as 2027-06-30."""
    if isinstance(raw, datetime) or not isinstance(raw, date):
        raise Fault(f"This must be a date, not {name_of(raw)}.", "Write it without quotes and time: 2027-06-30.")
    return raw.isoformat()


def price(raw: object) -> str:
    """USD per million tokens, as a decimal string."""
    amount_nanos = _usd(raw)
    if amount_nanos > MOST_PRICE_USD * NANOS_PER_USD:
        raise Fault(f"A price above {MOST_PRICE_USD:_} USD per million tokens is not believed.")
    return format_usd(amount_nanos)


def zone(raw: object) -> str:
    """The name of a time zone."""
    word = _string(raw)
    hint = "Use a name of the IANA time zone database, such as 'Europe/Berlin' or 'UTC'."
    if _ZONE.fullmatch(word) is None:
        raise Fault(f"{word!r} is not a time zone.", hint)
    try:
        ZoneInfo(word)
    except (KeyError, ValueError, OSError) as error:
        raise Fault(f"There is no time zone {word!r}.", hint) from error
    return word


def limit(raw: object) -> str:
    """`200.00 USD`, `2_000_000 tokens`, `500 calls`, `500 tool_calls` or `10_000_000 result_bytes`."""
    amount, unit = parse_limit(raw)
    return f"{format_usd(amount)} USD" if unit == "usd" else f"{amount:_} {unit}"


def parse_limit(raw: object) -> tuple[int, str]:
    """The amount (nano-USD, or a whole number) and its unit (`usd`, or one of COUNTED). Raises Fault."""
    hint = "Write '200.00 USD', '2_000_000 tokens', '500 calls', '500 tool_calls' or '10_000_000 result_bytes'."
    if not isinstance(raw, str):
        raise Fault(f"A limit is a text with its unit, not {name_of(raw)}.", hint)
    match = _LIMIT.fullmatch(raw.strip())
    if match is None:
        raise Fault(f"{raw!r} is not an amount with its unit.", hint)
    digits, unit = match.group(1), match.group(2)
    if unit == "USD":
        amount, unit, most = _usd(_without_marks(digits)), "usd", MOST_USD * NANOS_PER_USD
    elif unit in COUNTED:
        if _COUNT.fullmatch(digits) is None or len(digits) > 40:
            raise Fault(f"{digits!r} is not a whole number of {unit}.", hint)
        amount, most = int(digits), MOST_COUNT
    else:
        raise Fault(f"{unit!r} is not a unit.", _nearest(unit, ("USD", *COUNTED)) or hint)
    if amount > most:
        raise Fault(f"{raw!r} is more than can be counted.")
    return amount, unit


def soft(raw: object) -> list[str]:
    """The steps of a budget below its limit, lowest share first. A single one may stand without brackets."""
    items: list[object] = cast("list[object]", raw) if isinstance(raw, list) else [raw]
    return [str(step) for step in in_order([_string(item) for item in items])]


def name_of(raw: object) -> str:
    """What TOML calls the type of a value."""
    for kind, word in _TOML_WORDS:
        if isinstance(raw, kind):
            return word
    return "a time" if raw is not None else "nothing"


_TOML_WORDS: tuple[tuple[type, str], ...] = (
    (str, "a text"),
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number with decimals"),
    (datetime, "a date with a time"),
    (date, "a date"),
    (list, "a list"),
    (dict, "a table"),
)


def _number(raw: object, least: int, most: int, other: str = "") -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise Fault(f"This must be a whole number{other}, not {name_of(raw)}.")
    if not least <= raw <= most:
        raise Fault(f"{raw} is not between {least} and {most:_}.")
    return raw


def _string(raw: object) -> str:
    if not isinstance(raw, str):
        raise Fault(f"This must be a text in quotes, not {name_of(raw)}.")
    return raw


def _usd(raw: object) -> int:
    if not isinstance(raw, str):
        raise Fault(f"Money is a text in quotes, not {name_of(raw)}.", "Write '3.00': decimals in a file get rounded.")
    try:
        amount_nanos = parse_usd(raw)
    except ValueError as error:
        hint = "Write digits with at most 9 decimals, such as '12.50'."
        raise Fault(f"{raw!r} is not an amount of USD.", hint) from error
    if amount_nanos < 0:
        raise Fault(f"{raw!r} is below zero.")
    return amount_nanos


def _without_marks(digits: str) -> str:
    whole, point, decimals = digits.partition(".")
    return whole.replace("_", "") + point + decimals if _COUNT.fullmatch(whole) else digits


def _nearest(word: str, known: Iterable[str]) -> str:
    found = did_you_mean(word, known)
    return found if found.startswith("Did") else ""
