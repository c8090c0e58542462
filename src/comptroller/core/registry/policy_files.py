"""Policy files in the registry: an entry for each, checked against the names of the same version."""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.core.policy.load import load_policies, policy_texts, warnings
from comptroller.core.policy.policies import Policies
from comptroller.core.policy.targets import Targets
from comptroller.core.problem import Problem
from comptroller.core.registry.entries import (
    ORGANIZATION,
    Document,
    Entries,
    Entry,
    EntryKey,
    EntryKind,
    Installed,
    string,
)
from comptroller.core.tool.entry import RISKS

_TEXT = "text"


def with_policies(document: Document, files: Mapping[str, str]) -> Document | list[Problem]:
    """The document with these policy files (name -> text), or everything that is wrong with them."""
    targets = targets_of(document.entries)
    found = load_policies(files, targets)
    if not isinstance(found, Policies):
        return found
    entries: dict[EntryKey, Entry] = {("policy", name): {_TEXT: text} for name, text in files.items()}
    return Document({**document.entries, **entries}, (*document.warnings, *warnings(found, targets)))


def targets_of(entries: Entries) -> Targets:
    """What policies may name."""

    def keys(wanted: EntryKind) -> frozenset[str]:
        return frozenset(key for kind, key in entries if kind == wanted)

    return Targets(
        organization=string(entries.get(ORGANIZATION, {}), "name"),
        teams=keys("team"),
        owners=keys("owner"),
        identities=keys("identity"),
        models={key: string(entry, "class") for (kind, key), entry in entries.items() if kind == "model"},
        tools=keys("tool"),
        risks=frozenset(RISKS),
    )


def installed_files(installed: Installed) -> Mapping[str, str]:
    """The policy files in force: name -> text."""
    found = [(key, stored) for (kind, key), stored in installed.items() if kind == "policy" and not stored.disabled]
    return {name: text_of(stored.value) for name, stored in sorted(found, key=lambda each: each[0])}


def load_installed(files: Mapping[str, str]) -> Policies:
    """Policies that were checked when they were installed; names that left the registry since bind nobody.

    Raises ValueError.
    """
    found = load_policies(files, None)
    if not isinstance(found, Policies):
        raise ValueError("; ".join(problem.line for problem in found))
    return found


def text_of(entry: Mapping[str, object] | None) -> str:
    """The text of a policy entry; empty for one that is not there."""
    return str(entry.get(_TEXT, "")) if entry is not None else ""


def say_policies(before: str, after: str) -> str:
    """Which policies two texts of a file differ in."""
    old, new = policy_texts(before), policy_texts(after)
    parts = (
        ("adds", [name for name in new if name not in old]),
        ("changes", [name for name in new if name in old and old[name] != new[name]]),
        ("removes", [name for name in old if name not in new]),
    )
    said = "; ".join(f"{verb} {', '.join(names)}" for verb, names in parts if names)
    return said or ("comments and layout only" if before != after else "as it was")
