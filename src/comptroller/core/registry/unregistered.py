"""What a file says of principals without an identity (`unregistered` of an issuer), and whether that has an end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from comptroller.core.budget.scope import REGISTERED_ATTRIBUTES
from comptroller.core.problem import Problem, join
from comptroller.core.registry.entries import ORGANIZATION, Entries, Entry, EntryKey, scope_of, string

_OWN = "subject"  # of a sandbox's sessions: who it is, proved by the issuer's token


def check_unregistered(entries: Entries, places: Mapping[EntryKey, str]) -> Iterator[Problem]:
    """Sandboxes that could spend without an end, or with keys of production."""
    for (kind, name), entry in entries.items():
        if kind != "issuer":
            continue
        place, setting = places[kind, name], string(entry, "unregistered") or "refuse"
        if string(entry, "kind") == "github" and setting != "refuse":
            sentence = "Anybody on GitHub can have a token of it for you, with a subject of names that change hands."
            yield Problem(join(place, "unregistered"), sentence, "Leave it out, and name workflows in `federated`.")
        elif setting == "sandbox" and "sandbox" not in entry:
            yield Problem(join(place, "sandbox"), "`sandbox` is missing.", "Name an identity of experimentation.")
        elif setting != "sandbox" and "sandbox" in entry:
            hint = "Write unregistered = 'sandbox', or leave this out."
            yield Problem(join(place, "sandbox"), "Nobody would have this sandbox.", hint)
        elif setting == "sandbox" and ("identity", string(entry, "sandbox")) in entries:
            yield from _check_sandbox(join(place, "sandbox"), string(entry, "sandbox"), entries)


def _check_sandbox(where: str, name: str, entries: Entries) -> Iterator[Problem]:
    identity = entries["identity", name]
    if string(identity, "environment") != "experimentation":
        yield Problem(where, f"{name} is not of experimentation.", "What nobody approved has no other keys.")
        return
    limits = [entry for (kind, _), entry in entries.items() if kind == "budget" and _binds(entry, name, entries)]
    example = f"[[budgets]] name = ..., scope = {{ identity = '{name}' }}, limit = '... USD', window = 'month'"
    if not any(string(entry, "per") == _OWN for entry in limits):
        sentence = f"No hard budget in USD gives each person in {name} a limit of their own."
        yield Problem(where, sentence, f"Add {example}, per = '{_OWN}'.")
    if not any(string(entry, "per") in {"", *REGISTERED_ATTRIBUTES} for entry in limits):
        sentence = f"No hard budget in USD is for all in {name} together: the more people, the more is spent."
        yield Problem(where, sentence, f"Add {example}.")


def _binds(entry: Entry, name: str, entries: Entries) -> bool:
    """Whether a budget is hard money, and whatever this identity calls draws on it."""
    identity, scope = entries["identity", name], scope_of(entry)
    node = {key: string(identity, key) for key in ("kind", "team", "owner", "environment")}
    node |= {"identity": name, "organization": string(entries.get(ORGANIZATION, {}), "name")}
    money = string(entry, "limit").endswith(" USD") and entry.get("mode") == "hard"
    return money and all(node.get(key) in values for key, values in scope.items())
