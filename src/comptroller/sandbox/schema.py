"""A small value that fits a JSON schema, for tool arguments and structured answers."""

from __future__ import annotations

from typing import cast

_MAX_DEPTH = 12
_MAX_ITEMS = 16
_SIMPLE: dict[str, object] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "null": None}


def sample_value(schema: object) -> object:
    """Make a value for a schema: every property filled, the first of every alternative taken.

    Knows types, properties, items, enum, const, default, anyOf/oneOf/allOf and local references; other
    keywords (patterns, formats) are not looked at.
    """
    return _sample(schema, _mapping(schema), _MAX_DEPTH)


def _sample(schema: object, root: dict[str, object], depth: int) -> object:
    node = _mapping(schema)
    if depth == 0:
        return None
    if "$ref" in node:
        return _sample(_resolve(node["$ref"], root), root, depth - 1)
    for keyword in ("const", "default"):
        if keyword in node:
            return node[keyword]
    for keyword in ("enum", "examples"):
        values = _sequence(node.get(keyword))
        if values:
            return values[0]
    for keyword in ("anyOf", "oneOf", "allOf"):
        branches = _sequence(node.get(keyword))
        if branches:
            return _sample(branches[0], root, depth - 1)
    return _sample_type(node, root, depth)


def _sample_type(node: dict[str, object], root: dict[str, object], depth: int) -> object:
    kind = _kind(node)
    if kind == "object":
        properties = _mapping(node.get("properties"))
        return {name: _sample(child, root, depth - 1) for name, child in properties.items()}
    if kind == "array":
        least = node.get("minItems")
        count = min(least, _MAX_ITEMS) if isinstance(least, int) else 1
        return [_sample(node.get("items"), root, depth - 1) for _ in range(count)]
    least = node.get("minimum")
    if kind in ("integer", "number") and isinstance(least, int):
        return least
    return _SIMPLE.get(kind, "text")


def _kind(node: dict[str, object]) -> str:
    kind = node.get("type")
    names = _sequence(kind)
    if names:
        kind = names[0]
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in node else "string"


def _resolve(reference: object, root: dict[str, object]) -> object:
    """Follow a local reference such as `#/$defs/City`; an unknown one is an empty schema."""
    found: object = root
    for step in str(reference).removeprefix("#").split("/"):
        if step:
            found = _mapping(found).get(step.replace("~1", "/").replace("~0", "~"))
    return found


def _mapping(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _sequence(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
