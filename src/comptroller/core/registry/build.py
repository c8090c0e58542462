"""From what is installed to the registry that calls meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from hashlib import blake2s
from typing import cast

import msgspec

from comptroller.core.budget.budget import Budget, Mode, Unit, Visibility
from comptroller.core.budget.scope import Attribute
from comptroller.core.budget.soft import in_order
from comptroller.core.budget.window import WindowKind
from comptroller.core.identity.identity import Identity, Organization, Owner, Team
from comptroller.core.money import parse_usd
from comptroller.core.pricing.book import Price, PriceBook, Shipped
from comptroller.core.pricing.estimate import ModelLimits
from comptroller.core.pricing.rates import FEES, METERS, Rates, per_hour
from comptroller.core.registry.approval_roles import build_approvals
from comptroller.core.registry.contexts import build_cap
from comptroller.core.registry.entries import (
    KINDS,
    ORGANIZATION,
    Entry,
    EntryKind,
    Installed,
    StoredEntry,
    scope_of,
    sent_names,
    string,
    strings,
)
from comptroller.core.registry.fields import UNBOUNDED, parse_limit
from comptroller.core.registry.issuers import build_federation
from comptroller.core.registry.loops import build_loop
from comptroller.core.registry.policy_files import installed_files, load_installed
from comptroller.core.registry.rates import build_rate
from comptroller.core.registry.registry import Model, Registry
from comptroller.core.registry.retries import build_retry
from comptroller.core.registry.routes import build_routing
from comptroller.core.registry.tool_entries import build_rules, build_tool
from comptroller.core.registry.tool_prices import build_tool_price
from comptroller.core.work.bounds import SHIPPED, SHIPPED_SESSIONS, Bounds

_NOBODY = Organization("unnamed", "unnamed.invalid")
_LIMITS = tuple(field.name for field in msgspec.structs.fields(ModelLimits))


def build(installed: Installed, version: int, shipped: Shipped | None = None) -> Registry:
    """The registry of one version, its prices over the shipped ones.

    Disabled teams, budgets and prices are out of force; disabled identities, owners, models and tools stay known, and
    are refused by name.

    Raises KeyError, ValueError or msgspec.ValidationError for entries that `read_document` did not make.
    """
    of = _by_kind(installed)
    return Registry(
        version=version,
        organization=msgspec.convert(installed[ORGANIZATION].value, Organization),
        teams={key: _team(key, stored) for key, stored in of["team"] if not stored.disabled},
        owners={key: _owner(key, stored) for key, stored in of["owner"]},
        identities={key: _identity(key, stored) for key, stored in of["identity"]},
        models={key: _model(key, stored) for key, stored in of["model"]},
        tools={key: build_tool(key, stored.value, disabled=stored.disabled) for key, stored in of["tool"]},
        arguments=build_rules([(key, stored.value) for key, stored in of["argument"] if not stored.disabled]),
        prices=_price_book([stored.value for _, stored in of["price"] if not stored.disabled], _names(of), shipped),
        budgets=tuple(_budget(key, stored.value) for key, stored in of["budget"] if not stored.disabled),
        contexts=tuple(build_cap(key, stored.value) for key, stored in of["context"] if not stored.disabled),
        rates=tuple(build_rate(key, stored.value) for key, stored in of["rate"] if not stored.disabled),
        loops=tuple(build_loop(key, stored.value) for key, stored in of["loop"] if not stored.disabled),
        federation=build_federation(of["issuer"], of["federation"]),
        policies=load_installed(installed_files(installed)),
        bounds={**SHIPPED, **{key: _bounds(key, stored.value) for key, stored in of["bounds"] if not stored.disabled}},
        profiles={key: _limits_of(stored.value) for key, stored in of["profile"] if not stored.disabled},
        sessions={**SHIPPED_SESSIONS, **_sessions(of["bounds"])},
        profile_sessions=_sessions(of["profile"]),
        approvals=build_approvals(of["approval"]),
        retries=tuple(build_retry(key, stored.value) for key, stored in of["retry"] if not stored.disabled),
        routing=build_routing(of["alias"], of["classes"], of["task_type"], of["route"]),
    )


def nothing_installed(shipped: Shipped) -> Registry:
    """The registry of a store to which nothing was ever applied: nobody is known, and nothing is served."""
    return Registry(
        version=0,
        organization=_NOBODY,
        teams={},
        owners={},
        identities={},
        models={},
        prices=PriceBook((), "empty", shipped),
        budgets=(),
    )


def _by_kind(installed: Installed) -> Mapping[EntryKind, Sequence[tuple[str, StoredEntry]]]:
    """Every entry under its kind, in the order of keys: sorted once, for there may be a hundred thousand."""
    found: dict[EntryKind, list[tuple[str, StoredEntry]]] = {kind: [] for kind in KINDS}
    for kind, key in sorted(installed):
        found[kind].append((key, installed[kind, key]))
    return found


def _team(key: str, stored: StoredEntry) -> Team:
    return msgspec.convert({**stored.value, "name": key}, Team)


def _owner(key: str, stored: StoredEntry) -> Owner:
    disabled_at_ns = stored.since_ns if stored.disabled else 0
    return msgspec.convert(
        {**stored.value, "id": key, "disabled": stored.disabled, "disabled_at_ns": disabled_at_ns}, Owner
    )


def _identity(key: str, stored: StoredEntry) -> Identity:
    return msgspec.convert({**stored.value, "id": key, "disabled": stored.disabled}, Identity)


def _model(key: str, stored: StoredEntry) -> Model:
    row = {**stored.value, "upstream_model": sent_names(stored.value)}
    limits = {name: row.pop(name) for name in _LIMITS if name in row}
    model_class = row.pop("class", None)
    return msgspec.convert(
        {**row, "pattern": key, "limits": limits, "model_class": model_class, "disabled": stored.disabled}, Model
    )


def _bounds(kind: str, entry: Entry) -> Bounds:
    return msgspec.structs.replace(SHIPPED[kind], **_limits_of(entry))


def _sessions(stored: Sequence[tuple[str, StoredEntry]]) -> Mapping[str, int | None]:
    """How many sessions each of these entries allows at once, where it says so."""
    said = {key: each.value["sessions"] for key, each in stored if not each.disabled and "sessions" in each.value}
    return {key: most if isinstance(most, int) else None for key, most in said.items()}


def _limits_of(entry: Entry) -> Mapping[str, int | None]:
    """The bounds that an entry sets, by their field."""
    found: dict[str, int | None] = {}
    for name, value in entry.items():
        if name == "usd":
            found["usd_nanos"] = None if value == UNBOUNDED else parse_usd(str(value))
        elif name != "sessions":
            found[name] = value if isinstance(value, int) else None
    return found


def _names(of: Mapping[EntryKind, Sequence[tuple[str, StoredEntry]]]) -> Mapping[tuple[str, str], str]:
    """What providers call our models, by provider and model: the shipped prices know them by that name, too."""
    models = [(model, stored.value) for model, stored in of["model"] if not stored.disabled]
    return {(provider, model): sent for model, entry in models for provider, sent in sent_names(entry).items()}


def _price_book(entries: list[Entry], names: Mapping[tuple[str, str], str], shipped: Shipped | None) -> PriceBook:
    written = msgspec.json.encode(entries, order="sorted")
    below = b"" if shipped is None else shipped.fingerprint.encode()
    others = msgspec.json.encode(sorted(names.items())) if names else b""
    version = blake2s(written + below + others, digest_size=6).hexdigest()
    tools = [build_tool_price(entry) for entry in entries if "tool" in entry]
    return PriceBook((_price(entry) for entry in entries if "tool" not in entry), version, shipped, names, tools)


def _price(entry: Entry) -> Price:
    rates = {name: _rate(name, string(entry, name)) for name in METERS if name in entry}
    size = entry.get("over_input_tokens")
    return Price(
        model=string(entry, "model"),
        first_day=date.fromisoformat(string(entry, "from")),
        rates=msgspec.convert(rates, Rates),
        provider=string(entry, "provider") or None,
        service_tier=string(entry, "service_tier"),
        over_input_tokens=size if isinstance(size, int) else 0,
    )


def _rate(meter: str, written: str) -> int:
    """Nano-USD per million units. In the file a fee is for a thousand and audio for an hour, as in price lists."""
    if meter == "audio_hour":
        return per_hour(parse_usd(written))
    return parse_usd(written) * (1_000 if meter in FEES else 1)


def _budget(key: str, entry: Entry) -> Budget:
    amount, unit = parse_limit(entry["limit"])
    scope = cast("Mapping[Attribute, list[str]]", scope_of(entry))
    return Budget(
        name=key,
        scope={attribute: tuple(values) for attribute, values in scope.items()},
        unit=cast("Unit", unit),
        limit=amount,
        window=cast("WindowKind", entry["window"]),
        time_zone=string(entry, "time_zone"),
        per=cast("Attribute | None", entry.get("per")),
        mode=cast("Mode", entry["mode"]),
        visible=cast("Visibility", entry["visible"]),
        owner_role=string(entry, "owner_role") or None,
        soft=in_order(strings(entry, "soft")),
    )
