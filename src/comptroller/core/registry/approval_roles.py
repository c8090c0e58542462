"""The tables [approvals.ROLE]: how they are read, what they may name, and the roles that they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from comptroller.core.approval.decide import SHORTEST_S
from comptroller.core.approval.role import ANSWER_WITHIN_S, LONGEST_S, MOST_USES, ApprovalRole
from comptroller.core.identity.admin import is_admin_name
from comptroller.core.money import parse_usd
from comptroller.core.problem import Fault, Problem, did_you_mean, join
from comptroller.core.registry import fields
from comptroller.core.registry.entries import Entries, EntryKey, StoredEntry, Value, string
from comptroller.core.registry.fields import Field
from comptroller.core.work.bounds import LONGEST_SESSION_S

_LONGEST_ANSWER_S = 30 * 24 * 3600


def _admin(raw: object) -> Value:
    word = fields.text(raw)
    if not is_admin_name(word):
        raise Fault(f"{word!r} is not the name of an admin.", "`comptroller admins list` shows them.")
    return word


def _amount(raw: object) -> Value:
    found = fields.money_bound(raw)
    if found == fields.UNBOUNDED:
        raise Fault(f"{found!r} is no amount.", "Leave it out, and one approver is always enough.")
    return found


APPROVAL = (
    Field("approvers", fields.names(_admin)),
    Field("escalate_to", fields.name),
    Field("answer_within_s", fields.count(SHORTEST_S, _LONGEST_ANSWER_S), ANSWER_WITHIN_S),
    Field("four_eyes_above_usd", _amount),
    Field("max_uses", fields.count(1, 1_000_000), MOST_USES),
    Field("longest_s", fields.count(SHORTEST_S, LONGEST_SESSION_S), LONGEST_S),
)


def check_approvals(entries: Entries, places: Mapping[EntryKey, str]) -> Iterator[Problem]:
    """Roles that have no table, and questions that would go round in a circle."""
    known = [key for kind, key in entries if kind == "approval"]
    for key, entry in entries.items():
        field = {"approval": "escalate_to", "budget": "owner_role"}.get(key[0])
        named = string(entry, field) if field is not None else ""
        if field is not None and named and named not in known:
            hint = did_you_mean(named, known) or f"Add a table [approvals.{named}]."
            yield Problem(join(places[key], field), f"There is no approval role {named!r}.", hint)
    for name in known:
        if name in _asked_after(name, entries):
            where = join(places["approval", name], "escalate_to")
            yield Problem(where, f"What {name} does not answer would come back to {name}.", "Let the last one deny.")


def build_approvals(stored: Sequence[tuple[str, StoredEntry]]) -> Mapping[str, ApprovalRole]:
    """The roles in force, by name."""
    return {name: _role(name, each.value) for name, each in stored if not each.disabled}


def _role(name: str, entry: Mapping[str, Value]) -> ApprovalRole:
    above = string(entry, "four_eyes_above_usd")
    rest = {key: value for key, value in entry.items() if key != "four_eyes_above_usd"}
    nanos = {"four_eyes_above_nanos": parse_usd(above)} if above else {}
    return msgspec.convert({**rest, **nanos, "name": name}, ApprovalRole)


def _asked_after(name: str, entries: Entries) -> Sequence[str]:
    """The roles that are asked one after the other, until there is none or one comes again."""
    found: list[str] = []
    following = string(entries.get(("approval", name), {}), "escalate_to")
    while following and following not in found:
        found.append(following)
        following = string(entries.get(("approval", following), {}), "escalate_to")
    return found
