"""registry.toml: from its parsed TOML to entries, with every fault in it at once.

Each section is a table of fields below; what one field may hold is in `fields`, what may name what is in
`references`. Prices and budgets are lists: their places are counted from 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast, get_args

from comptroller.core.budget.budget import Mode, Visibility
from comptroller.core.budget.scope import ATTRIBUTES
from comptroller.core.budget.window import WindowKind
from comptroller.core.identity.identity import BillTo, Environment, IdentityKind, OfferedTools, RiskTier
from comptroller.core.ids import is_identity_id, is_trust_domain
from comptroller.core.pricing.book import Shipped
from comptroller.core.pricing.rates import DEFAULT_TIER, tier_name
from comptroller.core.problem import Fault, Problem, did_you_mean, join
from comptroller.core.registry import contexts, fields, issuers, rates, retries, routes
from comptroller.core.registry.approval_roles import APPROVAL, check_approvals
from comptroller.core.registry.entries import (
    NOTHING,
    ORGANIZATION,
    Document,
    Entry,
    EntryKey,
    EntryKind,
    Installed,
    Value,
    base_price_key,
    price_key,
    scope_of,
    sent_names,
    string,
    strings,
)
from comptroller.core.registry.fields import Field, Reader, read_table
from comptroller.core.registry.loops import LOOP
from comptroller.core.registry.references import check_references, find_warnings
from comptroller.core.registry.registry import OutputLimitField
from comptroller.core.registry.tool_entries import ARGUMENTS, TOOL, check_rule, rule_warnings, tool_pattern
from comptroller.core.registry.tool_limits import check_unit
from comptroller.core.registry.tool_prices import TOOL_PRICE, check_tool_price, is_tool_price
from comptroller.core.registry.unregistered import check_unregistered
from comptroller.core.work.bounds import DEEPEST, LONGEST_SESSION_S


def _trust_domain(raw: object) -> Value:
    word = fields.text(raw)
    if not is_trust_domain(word):
        raise Fault(f"{word!r} is not a trust domain.", "Use a lower-case domain name, such as 'acme.example'.")
    return word


def _identity_id(raw: object) -> Value:
    word = fields.text(raw)
    if not is_identity_id(word):
        raise Fault(f"{word!r} is not an identity id.", "Write it as kind/name, such as 'agent/scout'.")
    if "/~" in word:
        raise Fault(f"{word!r} is how an ephemeral child is called.", "Begin no part of an identity's id with '~'.")
    return word


def _attribute(raw: object) -> str:
    word = fields.text(raw)
    if word not in ATTRIBUTES:
        raise Fault(f"`{word}` is nothing that a limit can be for.", did_you_mean(word, ATTRIBUTES))
    return word


def _tier(raw: object) -> Value:
    return tier_name(fields.name(raw))


def _named(known: object) -> Reader:
    return fields.choice(*get_args(known))


_ORGANIZATION = (
    Field("name", fields.name, mandatory=True),
    Field("trust_domain", _trust_domain, mandatory=True),
    Field("bill_to", _named(BillTo)),
    Field("offered_tools", _named(OfferedTools)),
)
_TEAM = (Field("cost_center", fields.text),)
_OWNER = (Field("team", fields.name, mandatory=True),)
_IDENTITY = (
    Field("kind", _named(IdentityKind), mandatory=True),
    Field("team", fields.name, mandatory=True),
    Field("owner", fields.name, mandatory=True),
    Field("purpose", fields.text, mandatory=True),
    Field("environment", _named(Environment), mandatory=True),
    Field("deputy", fields.name),
    Field("risk_tier", _named(RiskTier), "low"),
    Field("data_classes", fields.names(fields.name, empty=True)),
    Field("profile", fields.name),
    Field("expires", fields.day),
    Field("approved_by", fields.name),
    Field("may_act", fields.names(_identity_id, ordered=False)),
)
_MODEL = (
    Field("providers", fields.names(fields.name), mandatory=True),
    Field("class", fields.name),
    Field("max_output_tokens", fields.count(1), 16_384),
    Field("context_window", fields.count(1)),
    Field("max_image_tokens", fields.count(0)),
    Field("overhead_tokens", fields.count(0), 256),
    Field("min_output_tokens", fields.count(0)),
    Field("output_limit_field", _named(OutputLimitField)),
    Field("visible_output", fields.flag, False),
    Field("max_tool_calls", fields.count(1, 1_000)),
    Field("upstream_model", fields.by_provider),
)
_PRICE = (
    Field("model", fields.pattern, mandatory=True),
    Field("provider", fields.name),
    Field("service_tier", _tier, DEFAULT_TIER),
    Field("from", fields.day, mandatory=True),
    Field("input", fields.price, mandatory=True),
    Field("output", fields.price, mandatory=True),
    Field("cache_read", fields.price),
    Field("cache_write", fields.price),
    Field("audio_input", fields.price),
    Field("reasoning", fields.price),
    Field("audio_output", fields.price),
    Field("cache_write_1h", fields.price),
    Field("image_input", fields.price),
    Field("image_output", fields.price),
    Field("video_input", fields.price),
    Field("cache_read_audio", fields.price),
    Field("cache_read_image", fields.price),
    Field("request", fields.price),
    Field("web_search", fields.price),
    Field("file_search", fields.price),
    Field("image", fields.price),
    Field("character", fields.price),
    Field("audio_hour", fields.price),
    Field("over_input_tokens", fields.count(1)),
)
_SCOPE = tuple(Field(attribute, fields.names(fields.text, ordered=False)) for attribute in ATTRIBUTES)
_BUDGET = (
    Field("name", fields.name, mandatory=True),
    Field("scope", _SCOPE, mandatory=True),
    Field("limit", fields.limit, mandatory=True),
    Field("window", _named(WindowKind), mandatory=True),
    Field("time_zone", fields.zone, "UTC"),
    Field("per", _attribute),
    Field("mode", _named(Mode), "hard"),
    Field("visible", _named(Visibility)),
    Field("owner_role", fields.name),
    Field("soft", fields.soft),
)
_RETRY = (
    Field("name", fields.name, mandatory=True),
    Field("scope", _SCOPE, mandatory=True),
    *retries.RETRY,
    Field("per", _attribute, "identity"),
    Field("mode", _named(Mode), "hard"),
)
_RATE = (
    Field("name", fields.name, mandatory=True),
    Field("scope", _SCOPE, mandatory=True),
    *rates.RATE,
    Field("per", _attribute),
    Field("mode", _named(Mode), "hard"),
    Field("visible", _named(Visibility)),
)
_CONTEXT = (
    Field("name", fields.name, mandatory=True),
    Field("scope", contexts.scope(_SCOPE), mandatory=True),
    *contexts.CONTEXT,
    Field("mode", _named(Mode), "hard"),
)

_ROUTE = routes.route_fields(_SCOPE)
_BOUNDS = (
    Field("sessions", fields.bound(fields.MOST_COUNT)),
    Field("usd", fields.money_bound),
    Field("tokens", fields.bound(fields.MOST_COUNT)),
    Field("thinking_tokens", fields.bound(fields.MOST_COUNT)),
    Field("model_calls", fields.bound(fields.MOST_COUNT)),
    Field("tool_calls", fields.bound(fields.MOST_COUNT)),
    Field("wall_clock_s", fields.bound(LONGEST_SESSION_S)),
    Field("idle_s", fields.bound(LONGEST_SESSION_S)),
    Field("depth", fields.bound(DEEPEST)),
    Field("fan_out", fields.bound(fields.MOST_COUNT)),
)

_WILD = frozenset("*?[")

# Section of the file, kind of its entries, how their keys are read, their fields.
_TABLES: tuple[tuple[str, EntryKind, Reader, tuple[Field, ...]], ...] = (
    ("teams", "team", fields.name, _TEAM),
    ("owners", "owner", fields.name, _OWNER),
    ("issuers", "issuer", fields.name, issuers.ISSUER),
    ("bounds", "bounds", _named(IdentityKind), _BOUNDS),
    ("profiles", "profile", fields.name, _BOUNDS),
    ("identities", "identity", _identity_id, _IDENTITY),
    ("models", "model", fields.pattern, _MODEL),
    ("tools", "tool", tool_pattern, TOOL),
    ("task_types", "task_type", fields.name, routes.TASK_TYPE),
    ("approvals", "approval", fields.name, APPROVAL),
)
# Lists of what holds for a scope, each by its name.
_LIMITS: tuple[tuple[str, EntryKind, tuple[Field, ...]], ...] = (
    ("budgets", "budget", _BUDGET),
    ("rates", "rate", _RATE),
    ("contexts", "context", _CONTEXT),
    ("retries", "retry", _RETRY),
    ("loops", "loop", LOOP),
    ("arguments", "argument", ARGUMENTS),
)
SECTIONS = (
    "organization", "teams", "owners", "issuers", "bounds", "profiles", "identities", "models", "tools", "prices",
    "approvals", "budgets", "rates", "contexts", "retries", "loops", "aliases", "classes", "task_types", "routes",
    "arguments",
)  # fmt: skip


def read_document(
    raw: Mapping[str, object], installed: Installed = NOTHING, shipped: Shipped | None = None
) -> Document | list[Problem]:
    """The entries that a parsed registry.toml asks for, or everything that is wrong with it.

    `installed` is what was there before: an owner who has left is a fault of new identities only. `shipped`: prices
    that need not stand in the file.
    """
    problems: list[Problem] = []
    fields.refuse_unknown("", raw, SECTIONS, problems)
    entries: dict[EntryKey, Entry] = {}
    places: dict[EntryKey, str] = {}
    if "organization" in raw:
        entries[ORGANIZATION] = read_table("organization", raw["organization"], _ORGANIZATION, problems)
    else:
        problems.append(Problem("organization", "This section is missing.", "It needs `name` and `trust_domain`."))
    places[ORGANIZATION] = "organization"
    for section, kind, read_key, known in _TABLES:
        for key, table in _tables(section, raw, problems):
            place = places[kind, key] = join(section, key)
            _check_key(place, key, read_key, problems)
            if kind == "identity":
                for found in issuers.read_rules(key, place, table, entries, problems):
                    _add(*found, entries, places, problems)
            entries[kind, key] = read_table(place, issuers.without_rules(table), known, problems)
    for place, entry in _list("prices", raw, _PRICE, problems):
        key = price_key(entry) if "from" in entry and ("model" in entry or "tool" in entry) else place
        _add(("price", key), entry, place, entries, places, problems)
    for kind, place, entry in _limits(raw, problems):
        _add((kind, string(entry, "name") or place), entry, place, entries, places, problems)
    _read_routing(raw, entries, places, problems)
    _check_contents(entries, places, problems)
    problems.extend(check_references(entries, places, installed))
    problems.extend(issuers.check_rules(entries, places))
    problems.extend(check_approvals(entries, places))
    problems.extend(check_unregistered(entries, places))
    problems.extend(routes.check_routing(entries, places))
    if problems:
        return problems
    for (kind, _), entry in entries.items():
        if kind in {"budget", "rate", "context", "retry", "loop", "route", "argument"}:
            del entry["name"]  # it is the key
    warnings = (*find_warnings(entries, installed, shipped), *routes.routing_warnings(entries), *rule_warnings(entries))
    return Document(entries, warnings)


def read_identity(
    name: str, table: Mapping[str, object], entries: Mapping[EntryKey, Entry], problems: list[Problem]
) -> Mapping[EntryKey, Entry]:
    """The entries of one identity and its rules, as if its table stood in a file with these entries."""
    place, found = join("identities", name), dict[EntryKey, Entry]()
    _check_key(place, name, _identity_id, problems)
    found["identity", name] = read_table(place, issuers.without_rules(table), _IDENTITY, problems)
    found.update((key, rule) for key, rule, _ in issuers.read_rules(name, place, table, entries, problems))
    return found


def _read_routing(
    raw: Mapping[str, object], entries: dict[EntryKey, Entry], places: dict[EntryKey, str], problems: list[Problem]
) -> None:
    """Aliases, the order of the classes, and the routes in theirs."""
    for key, entry, place in routes.read_aliases(raw, problems):
        _add(key, entry, place, entries, places, problems)
    if "classes" in raw:
        entries[routes.CLASSES] = read_table("classes", raw["classes"], routes.CLASSES_FIELDS, problems)
        places[routes.CLASSES] = "classes"
    for number, (place, entry) in enumerate(_list("routes", raw, _ROUTE, problems), 1):
        _add(("route", string(entry, "name") or place), {**entry, "place": number}, place, entries, places, problems)


def _check_key(place: str, key: str, read_key: Reader, problems: list[Problem]) -> None:
    try:
        read_key(key)
    except Fault as fault:
        problems.append(fault.at(place))


def _tables(section: str, raw: Mapping[str, object], problems: list[Problem]) -> list[tuple[str, object]]:
    found = raw.get(section, {})
    if not isinstance(found, dict):
        problems.append(Problem(section, f"This must be tables such as [{section}.NAME], not {fields.name_of(found)}."))
        return []
    return list(cast("dict[str, object]", found).items())


def _limits(raw: Mapping[str, object], problems: list[Problem]) -> Iterator[tuple[EntryKind, str, Entry]]:
    for section, kind, known in _LIMITS:
        for place, entry in _list(section, raw, known, problems):
            if kind not in {
                "retry",
                "loop",
                "context",
                "argument",
            }:  # they have no amounts that are not the caller's own
                entry.setdefault("visible", _visible(entry))
            yield kind, place, entry


def _list(
    section: str, raw: Mapping[str, object], known: tuple[Field, ...], problems: list[Problem]
) -> Iterator[tuple[str, Entry]]:
    """Each table of a list with its place: its name where it has one, else its number."""
    found = raw.get(section, [])
    if not isinstance(found, list):
        problems.append(Problem(section, f"This must be a list of [[{section}]], not {fields.name_of(found)}."))
        return
    for number, item in enumerate(cast("list[object]", found), 1):
        place = _place(section, item, number)
        tool = section == "prices" and is_tool_price(item)
        yield place, read_table(place, item, TOOL_PRICE if tool else known, problems)


def _place(section: str, item: object, number: int) -> str:
    given = cast("dict[str, object]", item).get("name") if isinstance(item, dict) else None
    return join(section, given) if isinstance(given, str) and given else f"{section}[{number}]"


def _visible(entry: Entry) -> Value:
    """A caller sees amounts only of what is its own: its session, task or identity (DESIGN section 6)."""
    own = {"identity", "session", "task"} & {*scope_of(entry), string(entry, "per")}
    return "caller" if own else "operator"


def _add(
    key: EntryKey,
    entry: Entry,
    place: str,
    entries: dict[EntryKey, Entry],
    places: dict[EntryKey, str],
    problems: list[Problem],
) -> None:
    if key in entries:
        problems.append(Problem(place, f"This {key[0]} stands in the file twice: {key[1]}."))
    entries[key] = entry
    places[key] = place


def _check_contents(entries: Mapping[EntryKey, Entry], places: Mapping[EntryKey, str], problems: list[Problem]) -> None:
    """What no single field can know."""
    for key, entry in entries.items():
        least, most = entry.get("min_output_tokens"), entry.get("max_output_tokens")
        if key[0] == "model" and isinstance(least, int) and isinstance(most, int) and least > most:
            sentence = f"{least} is more than the model's max_output_tokens, {most}."
            problems.append(Problem(join(places[key], "min_output_tokens"), sentence))
        if key[0] == "price" and "over_input_tokens" in entry and base_price_key(entry) not in entries:
            sentence = "There is no line for shorter prompts of the same model, provider, service_tier and from."
            hint = "Add one without over_input_tokens."
            problems.append(Problem(join(places[key], "over_input_tokens"), sentence, hint))
        if key[0] == "model" and "upstream_model" in entry:
            problems.extend(_check_upstream_model(key[1], entry, join(places[key], "upstream_model")))
        if key[0] == "price" and "tool" in entry:
            problems.extend(check_tool_price(entry, places[key]))
        if key[0] == "budget":
            problems.extend(check_unit(entry, places[key]))
        if key[0] == "rate":
            problems.extend(rates.check_rate(entry, places[key]))
        if key[0] == "argument":
            problems.extend(check_rule(entry, places[key], [name for kind, name in entries if kind == "tool"]))
        if key[0] == "context":
            problems.extend(contexts.check_cap(entry, places[key]))
        if entry.get("scope") == {}:
            hint = 'For every call, write { organization = "NAME" }.'
            problems.append(Problem(join(places[key], "scope"), "A scope with nothing in it is not clear.", hint))


def _check_upstream_model(model: str, entry: Entry, place: str) -> Iterator[Problem]:
    """One name upstream is one model here: all that a pattern matches would be billed as it."""
    if not _WILD.isdisjoint(model):
        yield Problem(place, "A pattern has no one name upstream.", "Give the model an entry of its own, by its name.")
    for provider in sent_names(entry):
        if provider not in strings(entry, "providers"):
            yield Problem(join(place, provider), "This provider does not serve the model.", "Name it in `providers`.")
