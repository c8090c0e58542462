"""Context caps in a registry: the fields of their entries, and what is built of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import msgspec

from comptroller.core.budget.budget import Mode
from comptroller.core.budget.scope import Attribute, Scope
from comptroller.core.problem import Fault, Problem, join
from comptroller.core.registry.entries import Entry, Value, scope_of, string
from comptroller.core.registry.fields import MOST_TOKENS, Field, choice, count
from comptroller.core.work.context import MEASURES, TRIMMABLE, Action, Limits

_LEAST_RESULT_BYTES = 1_000  # a result is shortened to no less: what was left out has to be said in it
_MOST_KEPT = 1_000


class Cap(msgspec.Struct, frozen=True):
    """One [[contexts]] entry: how much the requests in its scope may carry."""

    name: str
    scope: Scope
    action: Action
    mode: Mode
    limits: Limits
    keep_first: int = 1  # turns from the beginning that trimming keeps, as far as it keeps any turn


CONTEXT = (
    Field("action", choice("refuse", "trim"), "refuse"),
    Field("keep_first", count(0, _MOST_KEPT), 1),
    *(Field(name, count(0, MOST_TOKENS)) for name in MEASURES if name != "tool_result_bytes"),
    Field("tool_result_bytes", count(_LEAST_RESULT_BYTES, MOST_TOKENS)),
)
"""Beside what every limit on a scope has."""


def scope(known: tuple[Field, ...]) -> tuple[Field, ...]:
    """The fields of a cap's scope: what is asked is looked at before it is known where it goes."""
    return tuple(Field(field.name, _no_provider) if field.name == "provider" else field for field in known)


def check_cap(entry: Entry, place: str) -> Iterator[Problem]:
    """What no single field can know."""
    limited = [name for name in MEASURES if name in entry]
    if not limited:
        yield Problem(place, "This cap limits nothing.", f"Give it at least one of {', '.join(MEASURES)}.")
    elif entry.get("action") == "trim" and TRIMMABLE.isdisjoint(limited):
        hint = f'Use action = "refuse", or add one of {", ".join(sorted(TRIMMABLE))}.'
        yield Problem(join(place, "action"), "No trimming can mend what this cap limits.", hint)


def build_cap(key: str, entry: Entry) -> Cap:
    """The cap of an entry."""
    wanted = cast("Mapping[Attribute, list[str]]", scope_of(entry))
    keep_first = entry.get("keep_first")
    return Cap(
        name=key,
        scope={attribute: tuple(values) for attribute, values in wanted.items()},
        action=cast("Action", string(entry, "action")),
        mode=cast("Mode", string(entry, "mode")),
        limits=msgspec.convert({name: entry[name] for name in MEASURES if name in entry}, Limits),
        keep_first=keep_first if isinstance(keep_first, int) else 1,
    )


def _no_provider(raw: object) -> Value:
    hint = "Leave it out, or use `model` or `model_class`."
    raise Fault("Requests are looked at before it is known which provider they go to.", hint)
