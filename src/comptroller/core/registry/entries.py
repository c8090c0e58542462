"""The registry as rows: one entry for each thing that the file names, in a form that is stored and compared.

An entry is a small JSON object without its own key. Money stays the decimal string that a person wrote;
what was left out is either its default or not there at all, so that equal entries are equal objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from comptroller.core.problem import Problem

EntryKind = Literal[
    "organization",
    "team",
    "owner",
    "issuer",
    "bounds",
    "profile",
    "identity",
    "federation",
    "model",
    "tool",
    "price",
    "approval",
    "budget",
    "rate",
    "context",
    "retry",
    "alias",
    "classes",
    "task_type",
    "route",
    "loop",
    "argument",
    "policy",
]
KINDS: tuple[EntryKind, ...] = (
    "organization",
    "team",
    "owner",
    "issuer",
    "bounds",  # of sessions, by the kind of their identity
    "profile",
    "identity",
    "federation",  # one way to be an identity: by a token of an issuer with certain claims
    "model",
    "tool",  # one, or those of a pattern: what its calls can do
    "price",
    "approval",  # a role that answers tickets
    "budget",
    "rate",
    "context",  # a cap on what a request carries
    "retry",  # a budget for retries
    "alias",  # a name that callers may ask for
    "classes",  # their order
    "task_type",
    "route",
    "loop",  # when the steps of a session are a loop, and what is done about it
    "argument",  # what the arguments of tools may be
    "policy",  # a file of policies by its name; its value holds the text
)

Value = str | int | bool | list[str] | dict[str, list[str]]
Entry = dict[str, Value]
EntryKey = tuple[EntryKind, str]
"""The kind, and what names one of it: a name, an id, a pattern; of a price `model|provider|tier|from[|size]` or
`tool NAME|from`.
"""

Entries = Mapping[EntryKey, Entry]
"""What a file asks for."""

ORGANIZATION: EntryKey = ("organization", "organization")
_PRICE_PARTS = ("model", "provider", "service_tier", "from")


class StoredEntry(msgspec.Struct, frozen=True):
    """An entry as it is installed. What a file no longer names is disabled and stays."""

    value: Entry
    disabled: bool = False
    since_ns: int = 0  # when the version that made it so was installed


Installed = Mapping[EntryKey, StoredEntry]
"""What is installed: the truth of the store."""

NOTHING: Installed = MappingProxyType({})


class Document(msgspec.Struct, frozen=True):
    """A whole registry.toml that is right, and what a person should look at all the same."""

    entries: Entries
    warnings: tuple[Problem, ...] = ()


def price_key(entry: Mapping[str, object]) -> str:
    """The key of a price entry. One for longer prompts has their size as a fifth part; one of a tool is short."""
    if "tool" in entry:
        return f"tool {entry['tool']}|{entry.get('from', '')}"  # no model has a space in its name
    base, size = "|".join(str(entry.get(part, "")) for part in _PRICE_PARTS), entry.get("over_input_tokens")
    return base if size is None else f"{base}|{size}"


def base_price_key(entry: Entry) -> EntryKey:
    """The key of the price of any prompt that a price of longer ones belongs to."""
    return ("price", price_key({part: entry[part] for part in _PRICE_PARTS if part in entry}))


def strings(entry: Mapping[str, Value], field: str) -> tuple[str, ...]:
    """A field that holds a list of names; empty where it is absent."""
    found = entry.get(field)
    return tuple(found) if isinstance(found, list) else ()


def string(entry: Mapping[str, Value], field: str) -> str:
    """A field that holds a text; empty where it is absent."""
    found = entry.get(field)
    return found if isinstance(found, str) else ""


def scope_of(entry: Mapping[str, Value]) -> Mapping[str, list[str]]:
    """The scope of a budget, a rate or a context cap."""
    found = entry.get("scope")
    return found if isinstance(found, dict) else {}


def sent_names(entry: Mapping[str, Value]) -> Mapping[str, str]:
    """What each provider calls the model of an entry, where it is another name than ours."""
    found = entry.get("upstream_model")
    return {provider: names[0] for provider, names in found.items()} if isinstance(found, dict) else {}
