"""What names what in a registry, and what that says about a budget that can never bind."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import cast, get_args

from comptroller.core.budget.scope import CALL_ATTRIBUTES, DECLARED_ATTRIBUTES, Attribute
from comptroller.core.budget.soft import in_order
from comptroller.core.identity.identity import GRACE_DAYS, Environment, IdentityKind
from comptroller.core.policy.remedy import Remedy
from comptroller.core.policy.targets import unreachable_route
from comptroller.core.pricing.book import Shipped
from comptroller.core.problem import Problem, did_you_mean, join
from comptroller.core.registry.entries import (
    ORGANIZATION,
    Entries,
    Entry,
    EntryKey,
    EntryKind,
    Installed,
    Value,
    scope_of,
    sent_names,
    string,
    strings,
)
from comptroller.core.registry.policy_files import targets_of
from comptroller.core.registry.tool_entries import scope_of_caller
from comptroller.core.registry.tool_limits import (
    check_scope_tools,
    is_for_tools,
    matches_tool,
    tool_patterns,
    unused_prices,
)

_LIMITS: tuple[EntryKind, ...] = (
    "budget",
    "rate",
    "context",
    "retry",
    "loop",
    "route",
    "argument",
)  # what is for a scope
# Section and word, where they are not as the kind says.
_CALLED = {"argument": ("arguments", "rule"), "retry": ("retries", "limit"), "context": ("contexts", "context cap")}

# Field of an entry that holds the key of another entry.
_REFERENCES: tuple[tuple[EntryKind, str, EntryKind], ...] = (
    ("owner", "team", "team"),
    ("federation", "issuer", "issuer"),
    ("issuer", "sandbox", "identity"),
    ("identity", "team", "team"),
    ("identity", "owner", "owner"),
    ("identity", "deputy", "owner"),
    ("identity", "profile", "profile"),
)


def check_references(entries: Entries, places: Mapping[EntryKey, str], installed: Installed) -> Iterator[Problem]:
    """Every name that names nothing. `places` says where each entry stands in the file."""
    left = _owners_who_left(entries, installed)
    for key, entry in entries.items():
        for kind, field, target in _REFERENCES:
            value = entry.get(field)
            if key[0] != kind or not isinstance(value, str) or (target, value) in entries:
                continue
            if (key[1], field) not in left:
                yield _unknown(join(places[key], field), target, value, _keys(entries, target))
        if key[0] == "identity":
            for value in strings(entry, "may_act"):
                if ("identity", value) not in entries:
                    yield _unknown(join(places[key], "may_act"), "identity", value, _keys(entries, "identity"))
        if key[0] in _LIMITS:
            caller = {"scope": scope_of_caller(entry)} if key[0] == "argument" else entry
            yield from _check_scope(places[key], caller, entries, set(left.values()))
            yield from _check_soft(places[key], entry, entries)


def unknown_providers(entries: Entries, providers: Collection[str]) -> tuple[Problem, ...]:
    """Models that name a provider which the process does not have. `providers`: the names in comptroller.toml."""
    return tuple(
        _unknown(f"{join('models', name)}.providers", "provider", provider, providers)
        for (kind, name), entry in entries.items()
        if kind == "model"
        for provider in strings(entry, "providers")
        if provider not in providers
    )


def find_warnings(entries: Entries, installed: Installed, shipped: Shipped | None = None) -> Iterator[Problem]:
    """What is right, and probably not what was meant. `shipped`: prices that need not stand in the file."""
    yield from _ownerless_identities(entries, installed)
    yield from _idle_limits(entries)
    yield from _unlimited_identities(entries)
    yield from _prices_and_models(entries, shipped)


def _owners_who_left(entries: Entries, installed: Installed) -> Mapping[tuple[str, str], str]:
    """Owners and deputies who do not stand in the file any more, by identity and field.

    People leave, and their agents go on: an identity that was installed with such an owner is no fault of this
    file. It is warned about, and refused after its grace (core/identity). A new one needs somebody who is there.
    """
    left: dict[tuple[str, str], str] = {}
    for name, entry in _of(entries, "identity"):
        stored = installed.get(("identity", name))
        for field in ("owner", "deputy"):
            person = string(entry, field)
            if stored is None or stored.disabled or ("owner", person) in entries:
                continue
            if person == string(stored.value, field) and ("owner", person) in installed:
                left[name, field] = person
    return left


def _ownerless_identities(entries: Entries, installed: Installed) -> Iterator[Problem]:
    for (name, field), person in _owners_who_left(entries, installed).items():
        entry = entries["identity", name]
        other = string(entry, "deputy" if field == "owner" else "owner")
        days = GRACE_DAYS[cast("Environment", entry["environment"])]
        if ("owner", other) in entries:
            then = f"{other} answers for it alone"
        else:
            then = f"it is refused {f'{days} days after the last one left' if days else 'at once'}"
        sentence = f"There is no owner {person!r} any more: {then}."
        yield Problem(f"{join('identities', name)}.{field}", sentence, "Name somebody who stands in the file.")


def _keys(entries: Entries, wanted: EntryKind) -> list[str]:
    return [key for kind, key in entries if kind == wanted]


def _of(entries: Entries, wanted: EntryKind) -> list[tuple[str, Entry]]:
    return [(key, entry) for (kind, key), entry in entries.items() if kind == wanted]


def _unknown(where: str, what: str, word: str, known: Collection[str]) -> Problem:
    return Problem(where, f"There is no {what} {word!r}.", did_you_mean(word, known))


def _check_scope(place: str, entry: Mapping[str, Value], entries: Entries, left: Collection[str]) -> Iterator[Problem]:
    for attribute, values in scope_of(entry).items():
        where = f"{place}.scope.{attribute}"
        if attribute == "model":
            yield from _check_scope_models(where, values, _keys(entries, "model"))
            continue
        if attribute in {"tool", "server"}:
            yield from check_scope_tools(where, attribute, values, tool_patterns(entries))
            continue
        known = _known_values(attribute, entries)
        if known is None:
            continue
        for value in values:
            if value not in known and not (attribute == "owner" and value in left):
                yield _unknown(where, attribute.replace("_", " "), value, known)


def _check_soft(place: str, entry: Entry, entries: Entries) -> Iterator[Problem]:
    for step in in_order(strings(entry, "soft")):
        if step.act == "route":
            yield from unreachable_route(f"{place}.soft", Remedy("route", step.value), targets_of(entries))


def _check_scope_models(where: str, values: Sequence[str], patterns: Sequence[str]) -> Iterator[Problem]:
    for value in values:
        if "*" in value or "?" in value:
            hint = "Name the models one by one, or give them a `class` and use `model_class`."
            yield Problem(where, f"{value!r} is a pattern, and a scope names models.", hint)
        elif not _serves(patterns, value):
            yield _unknown(where, "model", value, patterns)


def _known_values(attribute: str, entries: Entries) -> Collection[str] | None:
    """Every value that an attribute of a scope can have; None where the registry cannot know."""
    models = [entry for _, entry in _of(entries, "model")]
    match attribute:
        case "organization":
            return [string(entries.get(ORGANIZATION, {}), "name")]
        case "team" | "owner" | "identity" | "profile":
            return _keys(entries, attribute)
        case "environment":
            return get_args(Environment)
        case "kind":
            return get_args(IdentityKind)
        case "provider":
            return {provider for entry in models for provider in strings(entry, "providers")}
        case "model_class":
            return {string(entry, "class") for entry in models} - {""}
        case _:
            return None


def _serves(patterns: Sequence[str], model: str) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in patterns)


def _node(identity: str, entry: Entry, organization: str) -> Mapping[str, str]:
    """An identity as scopes see it."""
    own = {key: string(entry, key) for key in ("kind", "team", "owner", "environment")}
    return {**own, "identity": identity, "organization": organization}


def _nodes(entries: Entries) -> list[Mapping[str, str]]:
    organization = string(entries[ORGANIZATION], "name")
    return [_node(name, entry, organization) for name, entry in _of(entries, "identity")]


def _matches_node(scope: Mapping[str, list[str]], node: Mapping[str, str], *besides: Attribute) -> bool:
    """Whether calls of this node are in the scope, as far as `besides` what a call or a session says."""
    return all(node.get(key) in wanted for key, wanted in scope.items() if key not in {*CALL_ATTRIBUTES, *besides})


def _matches_model(scope: Mapping[str, list[str]], pattern: str, entry: Entry) -> bool:
    """Whether some call that this entry serves can be in the scope."""
    providers, classes, models = (scope.get(key) for key in ("provider", "model_class", "model"))
    return (
        (providers is None or not set(providers).isdisjoint(strings(entry, "providers")))
        and (classes is None or string(entry, "class") in classes)
        and (models is None or any(fnmatchcase(model, pattern) for model in models))
    )


def _idle_limits(entries: Entries) -> Iterator[Problem]:
    nodes, models = _nodes(entries), _of(entries, "model")
    limits = [(kind, name, entry) for kind in _LIMITS for name, entry in _of(entries, kind)]
    for kind, name, entry in limits:
        section, word = _CALLED.get(kind, (f"{kind}s", kind))
        scope, where = scope_of(entry), join(section, name)
        if not any(_matches_node(scope, node, "profile", *DECLARED_ATTRIBUTES) for node in nodes):
            yield Problem(where, f"No identity is in the scope of this {word} yet.")
        elif kind == "argument":
            continue  # what its tools are is said where they are read
        elif is_for_tools(kind, entry):
            if not any(matches_tool(scope, pattern) for pattern in tool_patterns(entries)):
                yield Problem(where, f"No tool is in the scope of this {word} yet.")
        elif not any(_matches_model(scope, pattern, model) for pattern, model in models):
            yield Problem(where, f"No model is in the scope of this {word} yet.")


def _unlimited_identities(entries: Entries) -> Iterator[Problem]:
    """Identities that no hard budget in USD is for, whatever they call."""
    scopes = [scope_of(entry) for _, entry in _of(entries, "budget") if _is_hard_money(entry)]
    for node in _nodes(entries):
        if not any(_matches_node(scope, node) for scope in scopes):
            where = join("identities", node["identity"])
            yield Problem(where, "No hard budget in USD is for this identity: what it spends has no end.")


def _is_hard_money(entry: Entry) -> bool:
    return string(entry, "limit").endswith(" USD") and entry.get("mode") == "hard"


def _prices_and_models(entries: Entries, shipped: Shipped | None) -> Iterator[Problem]:
    models = _of(entries, "model")
    prices = [(key, price) for key, price in _of(entries, "price") if "tool" not in price]
    yield from unused_prices(entries)
    for pattern, model in models:
        for provider in strings(model, "providers"):
            if any(_prices(price, provider, pattern) for _, price in prices):
                continue
            names = (pattern, sent_names(model).get(provider, pattern))
            if shipped is None or not any(_ships(shipped, provider, name) for name in names):
                sentence = f"No price is for this model on {provider}: under a budget in USD it is refused."
                yield Problem(join("models", pattern), sentence)
    for _, price in prices:
        served = [(pattern, provider) for pattern, model in models for provider in strings(model, "providers")]
        if not any(_prices(price, provider, pattern) for pattern, provider in served):
            yield Problem(f"prices of {string(price, 'model')}", "No model that is served has this price.")


def _ships(shipped: Shipped, provider: str, pattern: str) -> bool:
    """Whether a model, or perhaps some model of a pattern, has a shipped price."""
    if "*" in pattern or "?" in pattern:
        return shipped.knows(provider)
    return bool(shipped.prices(provider, pattern))


def _prices(price: Entry, provider: str, pattern: str) -> bool:
    """Whether a price can be for some model of a pattern. Two patterns may overlap though neither matches the other."""
    priced = string(price, "model")
    return string(price, "provider") in {"", provider} and (
        fnmatchcase(pattern, priced) or fnmatchcase(priced, pattern) or ("*" in pattern and "*" in priced)
    )
