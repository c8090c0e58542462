"""What people can be told of: every kind of notice, how grave it is, and what it says. docs/notices.md has them all.

A kind is named `noun.verb`. Patterns of a filter match these names; findings are `finding.CODE`, whatever their code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

FINDING = "finding."
TEST = "notice.test"


class Kind(msgspec.Struct, frozen=True):
    """What all notices of one name have in common."""

    severity: Severity
    says: str


KINDS: Mapping[str, Kind] = {
    "budget.threshold": Kind("warning", "A window of a budget has passed a step that says notify."),
    "budget.forecast": Kind("warning", "At its pace, a window of a budget runs out before it ends."),
    "budget.exhausted": Kind("error", "A budget refuses calls: too little is left of a window."),
    "finding.overrun": Kind("error", "A call was billed above its hold."),
    "finding.usage_missing": Kind("warning", "A provider did not say what it did: the charge is presumed."),
    "finding.tier_unpriced": Kind("warning", "A service tier was billed that has no price: the charge is presumed."),
    "finding.usage_unpriced": Kind("warning", "Something was billed that has no price: the charge is presumed."),
    "finding.input_above_bound": Kind("warning", "A prompt was billed above what bounded it."),
    "finding.deferred_unseen": Kind("warning", "Deferred work whose end nobody saw was charged as presumed."),
    "finding.tool_changed": Kind("error", "A server describes a tool otherwise than it was accepted."),
    "finding.tools_grew": Kind("warning", "A server has tools that were not there before."),
    "finding.tool_suspicious": Kind("warning", "A tool is described as if to steer a model: it waits for a person."),
    "stop.suspended": Kind("warning", "A person stopped something."),
    "stop.quarantined": Kind("error", "A rule stopped something by itself."),
    "stop.resumed": Kind("info", "A stop was lifted."),
    "session.loop": Kind("warning", "A session takes the same step again and again."),
    "approval.requested": Kind("warning", "Somebody has to approve a call, or to deny it."),
    "approval.escalated": Kind("warning", "Nobody has decided: the next role is asked."),
    "approval.decided": Kind("info", "A call was approved or denied."),
    "grant.made": Kind("info", "An approval has made an exception, for a while and up to an amount."),
    "grant.revoked": Kind("info", "An exception was taken back."),
    "grant.ended": Kind("info", "An exception is used up, or past its time."),
    "break_glass.asked": Kind("warning", "An admin asks that policies be skipped for a while."),
    "break_glass.confirmed": Kind("error", "Policies are skipped for a while."),
    "break_glass.ended": Kind("warning", "Policies hold again."),
    TEST: Kind("info", "Somebody tries whether notices arrive."),
}
"""Besides these: findings with other codes."""

_OTHER_FINDING = Kind("warning", "Something a person should look at.")


def kind_of(name: str) -> Kind:
    """What is known of a notice by its name. Raises KeyError for one that nobody can be told of."""
    return _OTHER_FINDING if name.startswith(FINDING) and name not in KINDS else KINDS[name]


class Notice(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One thing that people are told. Amounts in `data` are decimal strings; no prompt and no secret stands in it."""

    id: str
    name: str  # of its kind
    severity: Severity
    at_ns: int
    subject: str  # what it is about: a budget with its instance, a session, what is stopped
    about: Mapping[str, str]  # what filters look at: identity, team, owner, environment, session, budget, ...
    data: Mapping[str, object]
