"""JSON Schema for the arguments of tools: what a rule may say, and a validator of it.

It is draft 2020-12 (https://json-schema.org/draft/2020-12) without references, so that nothing is fetched and nothing
recurses, and with two keywords of ours: `under` (folders) and `hosts`. Patterns are matched in linear time. A keyword
that nobody knows is an error: a rule that is misspelt would bind nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

import msgspec

from comptroller.core.problem import Fault, did_you_mean
from comptroller.core.tool.places import is_folder, is_under, leads_to

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator, ValidationError

MOST_BYTES = 16_384
DEEPEST = 24
_PATTERN_BYTES = 1 << 20  # of a compiled pattern

FORMATS = ("date", "date-time", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid")

# Where schemas stand inside a schema.
_BY_NAME = ("properties", "patternProperties", "dependentSchemas")
_LISTED = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = (
    "items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames", "unevaluatedProperties",
    "unevaluatedItems",
)  # fmt: skip
_TURNED = frozenset({"not", "if"})  # what is asked there is not what the arguments must be

# What a keyword says something about. Where no type is written, it has to be that one.
_ABOUT: Mapping[str, str] = {
    **dict.fromkeys(("pattern", "minLength", "maxLength", "format", "under", "hosts"), "string"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), "number"),
    **dict.fromkeys(
        ("items", "prefixItems", "contains", "minContains", "maxContains", "minItems", "maxItems", "uniqueItems",
         "unevaluatedItems"), "array",
    ),
    **dict.fromkeys(
        ("properties", "patternProperties", "additionalProperties", "propertyNames", "unevaluatedProperties",
         "required", "minProperties", "maxProperties", "dependentRequired", "dependentSchemas"), "object",
    ),
}  # fmt: skip
_ANY_TYPE = ("type", "enum", "const", "title", "description", "$comment", *_LISTED, *_SINGLE)
KEYWORDS = frozenset({*_ABOUT, *_ANY_TYPE})

_OWN_WORDS: Mapping[str, str] = {
    "additionalProperties": "there is a name that the rule does not list",
    "unevaluatedProperties": "there is a name that the rule does not list",
    "unevaluatedItems": "there are more items than the rule lists",
    "propertyNames": "there is a name that is not as the rule asks",
}
"""Where the library would repeat what the arguments say."""

_NAME = "it"
_SAID_LENGTH = 300


def read_schema(raw: object) -> str:
    """A schema as it stands in a file, as JSON. Raises Fault."""
    if not isinstance(raw, dict):
        raise Fault("This must be a table that is a JSON Schema, such as { required = ['path'] }.")
    _check_json(cast("object", raw), 0)
    _check(cast("object", raw), "", 0)
    text = msgspec.json.encode(raw, order="sorted").decode()
    if len(text) > MOST_BYTES:
        raise Fault(f"This schema has {len(text)} bytes of JSON, and may have {MOST_BYTES}.")
    ArgumentSchema(text)
    return text


class ArgumentSchema:
    """A schema that arguments are held against."""

    def __init__(self, text: str) -> None:
        """Raises Fault for one that is not valid."""
        from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError  # 50 ms, 8 MB: where one is used

        schema = cast("dict[str, object]", _typed(msgspec.json.decode(text)))
        schema.setdefault("type", "object")
        try:
            self._validator: Draft202012Validator = Draft202012Validator(
                schema,
                validate_formats=True,
                ignore_unknown_formats=False,
                mask=_NAME,
                offline=True,
                pattern_options=RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES),
                keywords={"under": _Under, "hosts": _Hosts},
            )
        except ValidationError as error:
            place = "".join(f"[{part!r}]" for part in error.instance_path)
            raise Fault(f"This is no valid JSON Schema: {error.message}{f' at {place}' if place else ''}.") from error
        self._names = frozenset(_names(schema))

    def fault(self, arguments: object) -> str | None:
        """What is wrong with the arguments, in words that repeat nothing of theirs; None if nothing is."""
        if self._validator.is_valid(arguments):
            return None
        for error in self._validator.iter_errors(arguments):
            return self._say(error)
        return "they are not valid"

    def _say(self, error: ValidationError) -> str:
        keyword = error.kind.name
        words = _OWN_WORDS.get(keyword) or error.message
        if len(words) > _SAID_LENGTH:
            words = f"{_NAME} is not as `{keyword}` asks"
        place = self._place(error.instance_path)
        return f"at `{place}`, {words}" if place else words

    def _place(self, path: list[str | int]) -> str:
        """Names that the schema has, as they are; others stand in the arguments alone."""
        parts = (f"[{part}]" if isinstance(part, int) else f".{part if part in self._names else '*'}" for part in path)
        return "".join(parts).removeprefix(".")


class _Under:
    def __init__(self, parent_schema: dict[str, object], value: object, schema_path: list[str | int]) -> None:
        self._folders = cast("list[str]", value)
        self._said = f"{_NAME} is not under {' or '.join(self._folders)}"

    def validate(self, instance: object) -> None:
        if isinstance(instance, str) and not is_under(instance, self._folders):
            raise ValueError(self._said)


class _Hosts:
    def __init__(self, parent_schema: dict[str, object], value: object, schema_path: list[str | int]) -> None:
        self._hosts = cast("list[str]", value)
        self._said = f"{_NAME} does not lead to {' or '.join(self._hosts)}"

    def validate(self, instance: object) -> None:
        if isinstance(instance, str) and not leads_to(instance, self._hosts):
            raise ValueError(self._said)


def _check_json(value: object, depth: int) -> None:
    """TOML has more than JSON: dates, times, infinities."""
    if depth > 2 * DEEPEST:
        raise Fault(f"Schemas may stand {DEEPEST} deep in each other.")
    if isinstance(value, dict):
        for each in cast("dict[str, object]", value).values():
            _check_json(each, depth + 1)
    elif isinstance(value, list):
        for each in cast("list[object]", value):
            _check_json(each, depth + 1)
    elif not isinstance(value, str | int) and not (isinstance(value, float) and math.isfinite(value)):
        raise Fault(f"{value} has no form in JSON.", "Write texts, numbers, true, false, lists and tables.")


def _check(raw: object, place: str, depth: int) -> None:
    """What the validator would not say: unknown keywords and formats, and what is no list of texts. Raises Fault."""
    if depth > DEEPEST:
        raise Fault(f"Schemas may stand {DEEPEST} deep in each other.")
    if isinstance(raw, bool):
        return
    if not isinstance(raw, dict):
        raise Fault(f"{place or 'this'} must be a schema: a table, true or false.")
    schema = cast("dict[str, object]", raw)
    for name, value in schema.items():
        where = f"{place}.{name}".removeprefix(".")
        if name not in KEYWORDS:
            raise Fault(f"{where}: there is no keyword `{name}` here.", _advice(name))
        if name == "format" and value not in FORMATS:
            raise Fault(f"{where}: {value!r} is not a format.", did_you_mean(str(value), FORMATS))
        if name in {"under", "hosts"}:
            _check_places(where, name, value)
        for key, inner in _inside(name, value):
            _check(inner, f"{where}{key}", depth + 1)


def _check_places(where: str, keyword: str, value: object) -> None:
    texts = cast("list[object]", value) if isinstance(value, list) else []
    if not texts or not all(isinstance(each, str) and each.strip() == each and each for each in texts):
        raise Fault(f"{where}: this must be a list of texts.", f"Such as {_SUCH_AS[keyword]}.")
    for each in cast("list[str]", texts):
        if keyword == "under" and not is_folder(each):
            raise Fault(f"{where}: {each!r} is not a plain path.", f"Such as {_SUCH_AS[keyword]}.")
        if keyword == "hosts" and not leads_to(each.removeprefix("*."), [each.removeprefix("*.")]):
            raise Fault(f"{where}: {each!r} is not a host.", f"Such as {_SUCH_AS[keyword]}.")


_SUCH_AS = {"under": '["/srv/docs"]', "hosts": '["docs.acme.example", "*.acme.example"]'}


def _advice(keyword: str) -> str:
    if keyword in {"$ref", "$dynamicRef", "$defs", "$id", "$anchor", "$schema", "definitions"}:
        return "Write each schema where it holds: there are no references, and the draft is 2020-12."
    return did_you_mean(keyword, KEYWORDS)


def _inside(keyword: str, value: object) -> Iterator[tuple[str, object]]:
    """The schemas in the value of a keyword, each with how its place goes on."""
    if keyword in _SINGLE:
        yield "", value
    elif keyword in _LISTED and isinstance(value, list):
        yield from ((f"[{number}]", each) for number, each in enumerate(cast("list[object]", value)))
    elif keyword in _BY_NAME and isinstance(value, dict):
        yield from ((f".{name}", each) for name, each in cast("dict[str, object]", value).items())


def _typed(raw: object) -> object:
    """The schema with the types that it means: JSON Schema would let `maximum = 100` pass any text."""
    if not isinstance(raw, dict):
        return raw
    schema = {name: _inner(name, value) for name, value in cast("dict[str, object]", raw).items()}
    about = sorted({_ABOUT[name] for name in schema if name in _ABOUT})
    if about and not {"type", "enum", "const"} & schema.keys():
        schema["type"] = about
    return schema


def _inner(keyword: str, value: object) -> object:
    if keyword in _TURNED:
        return value
    if keyword in _SINGLE:
        return _typed(value)
    if keyword in _LISTED:
        return _each(_typed, value)
    if keyword in _BY_NAME and isinstance(value, dict):
        return {name: _typed(each) for name, each in cast("dict[str, object]", value).items()}
    return value


def _each(change: Callable[[object], object], value: object) -> object:
    return [change(each) for each in cast("list[object]", value)] if isinstance(value, list) else value


def _names(schema: object) -> Iterator[str]:
    """Every name of a property that the schema has."""
    if not isinstance(schema, dict):
        return
    for keyword, value in cast("dict[str, object]", schema).items():
        for _, inner in _inside(keyword, value):
            yield from _names(inner)
        if keyword == "properties" and isinstance(value, dict):
            yield from cast("dict[str, object]", value)
