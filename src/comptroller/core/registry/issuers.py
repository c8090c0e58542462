"""Trusted issuers, and the rules by which their tokens stand for identities: from a file to entries, and back.

In the file the rules of an identity are its `federated` list. Installed, each is an entry of its own, so that a plan
shows every way to become an identity that comes or goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast, get_args

import msgspec

from comptroller.core.identity.federation import (
    DISCOVERY,
    FILE,
    SPIFFE,
    Algorithm,
    Federation,
    IssuerKind,
    Rule,
    TrustedIssuer,
    Unregistered,
    covers,
    names_subject,
    read_location,
)
from comptroller.core.ids import is_trust_domain
from comptroller.core.problem import Fault, Problem, join
from comptroller.core.registry import fields
from comptroller.core.registry.entries import Entries, Entry, EntryKey, StoredEntry, Value, string
from comptroller.core.registry.fields import Field

FEDERATED = "federated"
_SUBJECT = "sub"
_ISSUER_WORD = "issuer"
_ALIASES = {"subject": _SUBJECT}
_SERVICE_ACCOUNT = ("namespace", "service_account")
_MOST_RULES = 20  # of one identity
_CLAIM_LENGTH = 500


def _url(raw: object) -> Value:
    text = fields.text(raw)
    spiffe = text.startswith(SPIFFE) and is_trust_domain(text.removeprefix(SPIFFE))
    at = read_location(text)
    if not spiffe and (at is None or "?" in text):
        raise Fault(
            "This is no address of an issuer.",
            "Write exactly what its tokens have as `iss`: https://..., or http:// on this machine; of kind spiffe, "
            "spiffe://TRUST-DOMAIN.",
        )
    return text


def _keys(raw: object) -> Value:
    text = fields.text(raw)
    if text == DISCOVERY or (text.startswith(FILE) and len(text) > len(FILE)) or read_location(text) is not None:
        return text
    raise Fault(
        "This says nowhere where the keys are.",
        "Write 'discovery', 'file:PATH' of a JWK set, or its address: https://..., or http:// on this machine.",
    )


def _scope(raw: object) -> Value:
    """RFC 6749 section 3.3."""
    text = fields.text(raw)
    if not text.isascii() or not text.isprintable() or set(text) & set(' "\\'):
        raise Fault("This is no name of a scope.", "Write it as the issuer does, such as 'email'.")
    return text


ISSUER = (
    Field("kind", fields.choice(*get_args(IssuerKind)), mandatory=True),
    Field("url", _url, mandatory=True),
    Field("audience", fields.text, mandatory=True),
    Field("algorithms", fields.names(fields.choice(*get_args(Algorithm)), ordered=False), ["RS256"]),
    Field("keys", _keys, DISCOVERY),
    Field("private_network", fields.flag, False),
    Field("client_id", fields.text),
    Field("login_scopes", fields.names(_scope)),
    Field("login_refresh", fields.flag),
    Field("unregistered", fields.choice(*get_args(Unregistered))),
    Field("sandbox", fields.text),
)


def without_rules(table: object) -> object:
    """An identity's table without its rules."""
    if not isinstance(table, dict):
        return table
    return {name: value for name, value in cast("dict[str, object]", table).items() if name != FEDERATED}


def read_rules(
    identity: str, where: str, table: object, entries: Entries, problems: list[Problem]
) -> Iterator[tuple[EntryKey, Entry, str]]:
    """The rules in an identity's table, with their keys and places. `entries` has the issuers."""
    if not isinstance(table, dict) or FEDERATED not in table:
        return
    raw = cast("dict[str, object]", table)[FEDERATED]
    where = join(where, FEDERATED)
    if not isinstance(raw, list):
        problems.append(Problem(where, f"This must be a list of tables, not {fields.name_of(raw)}."))
        return
    listed = cast("list[object]", raw)
    if len(listed) > _MOST_RULES:
        problems.append(Problem(where, f"An identity has at most {_MOST_RULES} of these.", "Name values as a list."))
        return
    for number, each in enumerate(listed, 1):
        place = f"{where}[{number}]"
        try:
            entry = _rule(each, entries)
        except Fault as fault:
            problems.append(fault.at(place))
        else:
            yield ("federation", _key(identity, entry)), {"identity": identity, **entry}, place


def check_rules(entries: Entries, places: Mapping[EntryKey, str]) -> Iterator[Problem]:
    """Two issuers that cannot be told apart, and rules by which two identities share every token."""
    seen: dict[str, str] = {}
    for (kind, name), entry in entries.items():
        if kind == "issuer":
            other = seen.setdefault(string(entry, "url"), name)
            if other != name:
                place = join(places[kind, name], "url")
                yield Problem(place, f"The issuer {other} has this address too.", "Each address is one issuer.")
            yield from _check_issuer(places[kind, name], entry)
    rules = {key: rule_of(entry) for key, entry in entries.items() if key[0] == "federation"}
    for key, other in _doubtful(rules):
        sentence = f"Every token that fits this fits a rule of {rules[other].identity} too, and would be refused."
        yield Problem(places[key], sentence, "Name a claim by which they differ.")


def rule_of(entry: Entry) -> Rule:
    claims = cast("dict[str, list[str]]", entry["claims"])
    values = {name: tuple(wanted) for name, wanted in claims.items()}
    return Rule(string(entry, "identity"), string(entry, _ISSUER_WORD), values)


def build_federation(
    issuers: Sequence[tuple[str, StoredEntry]], rules: Sequence[tuple[str, StoredEntry]]
) -> Federation:
    """What is in force of them."""
    return Federation(
        (
            msgspec.convert({**stored.value, "name": key}, TrustedIssuer)
            for key, stored in issuers
            if not stored.disabled
        ),
        (rule_of(stored.value) for _, stored in rules if not stored.disabled),
    )


def _key(identity: str, entry: Entry) -> str:
    claims = cast("dict[str, list[str]]", entry["claims"])
    said = " ".join(f"{name}={','.join(values)}" for name, values in claims.items())
    return f"{identity} by {string(entry, _ISSUER_WORD)} {said}"


def _check_issuer(where: str, entry: Entry) -> Iterator[Problem]:
    spiffe = string(entry, "url").startswith(SPIFFE)
    if spiffe != (entry.get("kind") == "spiffe"):
        hint = "Write spiffe://TRUST-DOMAIN for kind spiffe, and an address for any other."
        yield Problem(join(where, "url"), "This does not go with the issuer's kind.", hint)
    elif spiffe and entry.get("keys") == DISCOVERY:
        hint = "Name its trust bundle: 'file:PATH' or an address."
        yield Problem(join(where, "keys"), "A trust domain has no discovery.", hint)
    if "client_id" in entry and entry.get("kind") != "oidc":
        yield Problem(join(where, "client_id"), "People do not log in there.", "Leave it out, or write kind = 'oidc'.")
    for name in ("login_scopes", "login_refresh") if "client_id" not in entry else ():
        if name in entry:
            hint = "Write the `client_id` that the issuer knows `comptroller login` by, or leave this out."
            yield Problem(join(where, name), "This is about logging in, and nobody can log in there.", hint)


def _doubtful(rules: Mapping[EntryKey, Rule]) -> Iterator[tuple[EntryKey, EntryKey]]:
    """Rules that another identity's rule covers. Rules of one issuer that share a value stand side by side."""
    beside: dict[tuple[str, str, str], list[EntryKey]] = {}
    for key, rule in rules.items():
        for name, values in rule.claims.items():
            for value in values:
                beside.setdefault((rule.issuer, name, value), []).append(key)
    for key, rule in rules.items():
        name, values = next(iter(rule.claims.items()))
        others = dict.fromkeys(other for value in values for other in beside[rule.issuer, name, value])
        for other in others:
            goes_before = names_subject(rules[other]) and not names_subject(rule)
            if rules[other].identity != rule.identity and covers(rule, rules[other]) and not goes_before:
                yield other, key


def _rule(raw: object, entries: Entries) -> Entry:
    """`{ issuer = NAME, CLAIM = VALUE, ... }`, in the words of the issuer's kind."""
    if not isinstance(raw, dict):
        raise Fault(f"This must be a table, not {fields.name_of(raw)}.", "Write { issuer = NAME, CLAIM = VALUE }.")
    table = cast("dict[str, object]", raw)
    if _ISSUER_WORD not in table:
        raise Fault("`issuer` is missing, and it is mandatory.")
    issuer = str(fields.name(table[_ISSUER_WORD]))
    found = entries.get(("issuer", issuer), {})
    claims = {name: _values(name, value) for name, value in sorted(table.items()) if name != _ISSUER_WORD}
    claims = {_ALIASES.get(name, name): values for name, values in claims.items()}
    match found.get("kind"):
        case "kubernetes":
            claims = _service_account(claims)
        case "github":
            _check_workflow(claims)
        case "spiffe":
            _check_spiffe(claims, string(found, "url"))
        case _ if not claims:
            raise Fault("No claim is named: every token of the issuer would fit.", "Name `subject`, or other claims.")
        case _:
            pass
    return {_ISSUER_WORD: issuer, "claims": claims}


def _values(name: str, raw: object) -> list[str]:
    values = fields.names(_value, ordered=False)(raw)
    if not name or not name.isprintable() or len(name) > _CLAIM_LENGTH:
        raise Fault("A claim has a name of printable characters.")
    return cast("list[str]", values)


def _value(raw: object) -> str:
    word = fields.text(raw)
    if "*" in word:
        raise Fault(f"{word!r} has a *, and there are no patterns here.", "Name every value, as a list.")
    return word


def _service_account(claims: Mapping[str, list[str]]) -> dict[str, list[str]]:
    if set(claims) != set(_SERVICE_ACCOUNT):
        raise Fault("A service account is named by `namespace` and `service_account`, and by nothing else.")
    spaces, names = (claims[word] for word in _SERVICE_ACCOUNT)
    if any(":" in word for word in (*spaces, *names)):
        raise Fault("A namespace or service account has no colon in its name.")
    return {_SUBJECT: sorted(f"system:serviceaccount:{space}:{name}" for space in spaces for name in names)}


def _check_workflow(claims: Mapping[str, list[str]]) -> None:
    if "repository_id" not in claims or not {"ref", "environment"} & set(claims):
        raise Fault(
            "A workflow is named by `repository_id` and by `ref` or `environment`, and by more if you like.",
            "Names of repositories change hands, their ids do not; without the ref, any branch would do.",
        )


def _check_spiffe(claims: Mapping[str, list[str]], trust_domain: str) -> None:
    if set(claims) != {_SUBJECT}:
        raise Fault("A workload is named by its SPIFFE id as `subject`, and by nothing else.")
    if not all(value.startswith(f"{trust_domain}/") for value in claims[_SUBJECT]):
        raise Fault(f"This SPIFFE id is not of the issuer's trust domain, {trust_domain}.")
