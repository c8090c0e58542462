"""Writing TOML: just what our two files need (tables, lists of tables, inline tables, plain values)."""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

Table = Mapping[str, Any]


def to_toml(document: Table) -> str:
    """A document as TOML: plain values first, then `[tables]`, then `[[lists of tables]]`."""
    return "\n".join(_table(document, ())) + "\n"


def _table(table: Table, path: tuple[str, ...]) -> Iterator[str]:
    for key, value in table.items():
        if not _is_table(value) and not _is_list_of_tables(value):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in table.items():
        if _is_table(value):
            yield from ("", f"[{_path(path, key)}]", *_table(value, (*path, key)))
        elif _is_list_of_tables(value):
            for item in value:
                yield from ("", f"[[{_path(path, key)}]]", *(f"{_key(k)} = {_value(v)}" for k, v in item.items()))


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_list_of_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _value(value: object) -> str:
    if isinstance(value, bool | int | float | str):
        return json.dumps(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    raise TypeError(f"no TOML for {type(value).__name__}")


def _path(path: tuple[str, ...], key: str) -> str:
    return ".".join(map(_key, (*path, key)))


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)
