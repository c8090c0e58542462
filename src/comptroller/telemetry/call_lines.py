"""A log line about a call, for those who want one."""

from __future__ import annotations

from typing import Literal

from comptroller.core.refusal import Refusal
from comptroller.flow.attempt import Attempt
from comptroller.flow.door import CallerRequest
from comptroller.flow.records import CallFacts, Settled
from comptroller.flow.reservation import Reservation
from comptroller.telemetry.attributes import Value, of_client, of_ended, of_refused, of_settled
from comptroller.telemetry.events import Severity
from comptroller.telemetry.log import Log
from comptroller.telemetry.trace_context import trace_context

Wanted = Literal["none", "failed", "all"]

_OURS = frozenset({"fault", "ledger_unavailable"})


class CallLines:
    """Implements flow.observer.Observer. "failed": refused calls, and those that were not answered to the end."""

    def __init__(self, log: Log, wanted: Wanted) -> None:
        self._log = log
        self._wanted = wanted

    def settled(self, request: CallerRequest, attempt: Attempt, settled: Settled) -> None:
        if self._wanted == "all" or (self._wanted == "failed" and settled.outcome != "completed"):
            told = of_settled(request, attempt, settled)
            self._log.say("call", {**_of_request(request), **told}, _severity(settled.outcome))

    def ended(self, facts: CallFacts, entry: str, settled: Settled) -> None:
        if self._wanted == "all" or (self._wanted == "failed" and settled.outcome != "completed"):
            self._log.say("call", of_ended(facts, settled), _severity(settled.outcome))

    def failed_over(self, attempt: Attempt, another: Reservation) -> None:
        """The failed attempt has a line already."""

    def refused(
        self, request: CallerRequest, dialect: str, call_id: str, refusal: Refusal, facts: CallFacts | None
    ) -> None:
        if self._wanted != "none":
            self._log.say("refused", {**_of_request(request), **of_refused(dialect, call_id, refusal, facts)})


def _severity(outcome: str) -> Severity:
    if outcome in _OURS:
        return "error"
    return "warning" if outcome.startswith("provider_") and outcome != "provider_refused" else "info"


def _of_request(request: CallerRequest) -> dict[str, Value]:
    """The caller's trace and span, by the names that OpenTelemetry has for logs, and where it is."""
    found = trace_context(request.headers)
    if found is None:
        return of_client(request)
    return {"trace_id": found.trace_id, "span_id": found.span_id, "trace_flags": found.flags, **of_client(request)}
