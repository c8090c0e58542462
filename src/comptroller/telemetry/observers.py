"""Several observers as one."""

from __future__ import annotations

from comptroller.core.refusal import Refusal
from comptroller.flow.attempt import Attempt
from comptroller.flow.door import CallerRequest
from comptroller.flow.observer import Observer
from comptroller.flow.records import CallFacts, Settled
from comptroller.flow.reservation import Reservation


class Observers:
    """Implements flow.observer.Observer: tells each of them, in order."""

    def __init__(self, *each: Observer) -> None:
        self._each = each

    def settled(self, request: CallerRequest, attempt: Attempt, settled: Settled) -> None:
        for one in self._each:
            one.settled(request, attempt, settled)

    def ended(self, facts: CallFacts, entry: str, settled: Settled) -> None:
        for one in self._each:
            one.ended(facts, entry, settled)

    def failed_over(self, attempt: Attempt, another: Reservation) -> None:
        for one in self._each:
            one.failed_over(attempt, another)

    def refused(
        self, request: CallerRequest, dialect: str, call_id: str, refusal: Refusal, facts: CallFacts | None
    ) -> None:
        for one in self._each:
            one.refused(request, dialect, call_id, refusal, facts)
