"""Findings of a call: put on record, and told to whoever wants to know."""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.core.budget.bounds import Bound
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.notice.event import FINDING
from comptroller.flow.gate import Gate
from comptroller.flow.records import BoundChanged, CallFacts, Finding

_ONCE_IN_NS = 600 * NANOS_PER_SECOND  # a finding of one kind about one thing; the books have every one


def report(gate: Gate, event: BoundChanged | Finding, facts: CallFacts) -> None:
    """Write down what a person should look at, and tell. Does not wait."""
    gate.journal.append(event)
    if not gate.notices.heard:
        return
    if isinstance(event, Finding):
        _tell(gate, event, about_call(facts))
    elif event.quarantined and event.reason == "overrun":
        bound = Bound(event.provider, event.model, event.dialect)
        said = {"scope": "bound", "value": bound.name, "reason": f"billed above its hold {event.overruns} times"}
        gate.notices.emit("stop.quarantined", f"bound {bound.name}", said, about_call(facts))


def report_of_provider(gate: Gate, event: Finding, provider: str) -> None:
    """The same of what no call has shown."""
    gate.journal.append(event)
    if gate.notices.heard:
        _tell(gate, event, {"provider": provider})


def _tell(gate: Gate, event: Finding, about: Mapping[str, str]) -> None:
    said = {"code": event.code, "call": event.call_id, "sentence": event.sentence}
    part = event.at_ns // _ONCE_IN_NS
    key = f"{FINDING}{event.code}|{event.subject}|{part}"
    until_ns = (part + 1) * _ONCE_IN_NS
    gate.notices.emit(FINDING + event.code, event.subject, said, about, once=key, until_ns=until_ns)


def about_call(facts: CallFacts) -> Mapping[str, str]:
    """A call as filters of notices see it."""
    found = {
        "identity": facts.identity,
        "team": facts.team,
        "owner": facts.owner,
        "environment": facts.environment,
        "session": facts.session,
        "provider": facts.provider,
        "model": facts.model,
    }
    return {name: value for name, value in found.items() if value}
