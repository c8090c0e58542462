"""The difference between what is installed and what a file asks for, and what installing it leads to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from comptroller.core.problem import Problem
from comptroller.core.registry.entries import (
    KINDS,
    ORGANIZATION,
    Entries,
    Entry,
    EntryKey,
    EntryKind,
    Installed,
    StoredEntry,
    Value,
    scope_of,
)
from comptroller.core.registry.policy_files import say_policies, text_of

_IN_THE_KEY: Mapping[EntryKind, frozenset[str]] = {
    "price": frozenset({"model", "provider", "service_tier", "from", "over_input_tokens", "tool"}),
    "federation": frozenset({"identity", "issuer", "claims"}),
}

_ALL_OF = frozenset({"soft", "order"})
"""Lists of which all holds; of others any one."""

Verb = Literal["add", "change", "disable", "enable"]


class EntryChange(msgspec.Struct, frozen=True):
    """One entry that will be different. `before` is None for an added one, `after` for a disabled one."""

    verb: Verb
    kind: EntryKind
    key: str
    before: Entry | None
    after: Entry | None
    fields: tuple[str, ...] = ()  # which differ, where both are there

    @property
    def sentence(self) -> str:
        """The change in one line, amounts as they stand in the file."""
        subject = f"{self.verb} {say_key(self.kind, self.key)}"
        if self.kind == "policy":
            in_force = self.before if self.verb in {"change", "disable"} else None
            return f"{subject}: {say_policies(text_of(in_force), text_of(self.after))}"
        if self.verb == "disable":
            return f"{subject}: the file does not name it any more"
        if self.verb == "add":
            return f"{subject}: {_say_entry(self.kind, self.after or {})}".rstrip(": ")
        before, after = self.before or {}, self.after or {}
        differences = "; ".join(
            f"{name} {_say(before.get(name), name)} -> {_say(after.get(name), name)}" for name in self.fields
        )
        return f"{subject}: {differences or 'as it was'}"


class Plan(msgspec.Struct, frozen=True):
    """What `apply` will do, in the order of the file's sections, and what to look at before."""

    changes: tuple[EntryChange, ...]
    warnings: tuple[Problem, ...] = ()
    missing: tuple[str, ...] = ()  # tables that the file lacks: with them, what was approved at run time stays

    @property
    def empty(self) -> bool:
        """Nothing would change."""
        return not self.changes


def plan(installed: Installed, wanted: Entries, warnings: tuple[Problem, ...] = ()) -> Plan:
    """What is different. `warnings` are those of the document; the plan adds those of the difference."""
    keys = sorted(installed.keys() | wanted.keys(), key=lambda key: (KINDS.index(key[0]), key[1]))
    changes = tuple(change for key in keys if (change := _change(key, installed.get(key), wanted.get(key))) is not None)
    return Plan(changes, (*warnings, *_warnings(changes)))


def install(installed: Installed, agreed: Plan) -> Mapping[EntryKey, StoredEntry]:
    """What is installed once the plan is carried out. Nothing is ever taken away."""
    after = dict(installed)
    for change in agreed.changes:
        key = (change.kind, change.key)
        after[key] = StoredEntry(after[key].value, disabled=True) if change.after is None else StoredEntry(change.after)
    return after


def say_key(kind: EntryKind, key: str) -> str:
    """How a person reads which entry it is."""
    if kind == "organization":
        return "the organization"
    if kind == "classes":
        return "the order of the classes"
    if kind != "price":
        return f"{kind} {key}"
    if key.startswith("tool "):
        tool, _, first_day = key.removeprefix("tool ").partition("|")
        return f"price of the tool {tool} from {first_day}"
    model, provider, tier, first_day, *size = key.split("|")
    where = f" on {provider}" if provider else ""
    which = ("" if tier == "default" else f", tier {tier}") + "".join(f", prompts over {tokens}" for tokens in size)
    return f"price of {model}{where} from {first_day}{which}"


def _change(key: EntryKey, stored: StoredEntry | None, wanted: Entry | None) -> EntryChange | None:
    kind, name = key
    if stored is None:
        return EntryChange("add", kind, name, None, wanted)
    if wanted is None:
        return None if stored.disabled else EntryChange("disable", kind, name, stored.value, None)
    fields = tuple(_different(stored.value, wanted))
    if stored.disabled:
        return EntryChange("enable", kind, name, stored.value, wanted, fields)
    return EntryChange("change", kind, name, stored.value, wanted, fields) if fields else None


def _different(before: Entry, after: Entry) -> Iterator[str]:
    names = [*after, *(name for name in before if name not in after)]
    return (name for name in names if before.get(name) != after.get(name))


def _warnings(changes: tuple[EntryChange, ...]) -> Iterator[Problem]:
    for change in changes:
        if (change.kind, change.key) == ORGANIZATION and "trust_domain" in change.fields:
            sentence = "The trust domain changes: every credential issued so far will be refused."
            yield Problem("organization.trust_domain", sentence)
        if change.verb == "disable" and change.kind in {"budget", "rate", "context", "loop", "argument"}:
            yield Problem(f"{change.kind} {change.key}", "It leaves force: it limits nothing any more.")
        if change.verb == "disable" and change.kind == "task_type":
            yield Problem(f"task_type {change.key}", "Its floor leaves force: routes may lead below it.")


def _say_entry(kind: EntryKind, entry: Entry) -> str:
    """The fields of a new entry; what its key says is said already."""
    said = _IN_THE_KEY.get(kind, frozenset())
    return ", ".join(f"{name} {_say(value, name)}" for name, value in entry.items() if name not in said)


def _say(value: Value | None, name: str) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case list():
            return (", " if name in _ALL_OF else " or ").join(value) or "nothing"
        case dict():
            scope = scope_of({"scope": value})
            return " and ".join(f"{key} {' or '.join(values)}" for key, values in scope.items())
        case str() if " " in value and not value[0].isdigit():
            return f"'{value}'"
        case _:
            return str(value)
