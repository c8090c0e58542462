"""An identity as somebody asked for it, as the entries of a registry and as the lines of its file."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.core.identity.federation import IssuerKind
from comptroller.core.identity.request import IdentityRequest
from comptroller.core.ids import is_name
from comptroller.core.problem import Problem, join
from comptroller.core.registry.document import read_identity
from comptroller.core.registry.entries import Entries, Entry, EntryKey
from comptroller.core.registry.issuers import FEDERATED, check_rules
from comptroller.core.registry.plan import EntryChange, Plan
from comptroller.core.registry.references import check_references, find_warnings
from comptroller.core.registry.unregistered import check_unregistered

_SERVICE_ACCOUNT = "system:serviceaccount:"


def read_request(request: IdentityRequest, installed: Entries) -> Plan | list[Problem]:
    """What installing it changes: the identity, and the one rule by which it is whoever asked. Else every fault.

    `request` has its identity and team; `installed` is what is in force.
    """
    name = request.identity or ""
    problems: list[Problem] = []
    table = _table(request, str(installed["issuer", request.issuer]["kind"]))
    added: dict[EntryKey, Entry] = dict(read_identity(name, table, installed, problems))
    place = join("identities", name)
    whole = {**installed, **added}
    if not problems:
        places = {each: place if each in added else join(*each) for each in whole}
        problems += [each for each in check_references(whole, places, {}) if each.where.startswith(place)]
        problems += check_rules(whole, places)
        problems += check_unregistered(whole, places)
    if problems:
        return problems
    changes = tuple(EntryChange("add", kind, key, None, entry) for (kind, key), entry in added.items())
    return Plan(changes, tuple(each for each in find_warnings(whole, {}) if each.where.startswith(place)))


def lines_of(request: IdentityRequest, kind: str) -> str:
    """An approved request as lines of registry.toml. `kind`: its issuer's."""
    table = _table(request, kind)
    rule = ", ".join(f"{name} = {_quoted(value)}" for name, value in _rule(request, kind).items())
    head = f"[identities.{_quoted(request.identity or '')}]\n"
    said = "".join(f"{name} = {_quoted(value)}\n" for name, value in table.items() if isinstance(value, str))
    return f"{head}{said}{FEDERATED} = [{{ {rule} }}]\n"


def _table(request: IdentityRequest, kind: str) -> Mapping[str, object]:
    """As the file would have it."""
    approved_by = request.decided_by or ""
    return {
        "kind": request.kind,
        "team": request.team or "",
        "owner": request.owner,
        "purpose": request.purpose,
        "environment": request.environment,
        **({"approved_by": approved_by} if is_name(approved_by) else {}),
        FEDERATED: [_rule(request, kind)],
    }


def _rule(request: IdentityRequest, kind: str | IssuerKind) -> Mapping[str, str]:
    """Exactly this subject, in the words of its issuer's kind."""
    space, colon, name = request.subject.removeprefix(_SERVICE_ACCOUNT).partition(":")
    if kind == "kubernetes" and colon and request.subject.startswith(_SERVICE_ACCOUNT):
        return {"issuer": request.issuer, "namespace": space, "service_account": name}
    return {"issuer": request.issuer, "subject": request.subject}


def _quoted(text: str) -> str:
    """A basic string of TOML: of printable text, that of JSON."""
    return msgspec.json.encode(text).decode()
