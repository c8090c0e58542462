"""The border to whoever counts, logs or traces: told of every attempt once, when its hold has ended.

An observer sees what the record says and no content. It must not wait, and it must not fail: the call has been
settled or refused already, and nothing that is only watched may change that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from comptroller.core.refusal import Refusal
from comptroller.flow.records import CallFacts, Settled

if TYPE_CHECKING:
    from comptroller.flow.attempt import Attempt
    from comptroller.flow.door import CallerRequest
    from comptroller.flow.reservation import Reservation


class Observer(Protocol):
    def settled(self, request: CallerRequest, attempt: Attempt, settled: Settled) -> None:
        """A hold has ended. What a caller is told of a failure then follows from `attempt`."""
        ...

    def ended(self, facts: CallFacts, entry: str, settled: Settled) -> None:
        """The hold of deferred work has ended, long after its caller was answered. `entry`: of its model."""
        ...

    def failed_over(self, attempt: Attempt, another: Reservation) -> None:
        """This attempt came to nothing and is settled; the call goes on with another, whose hold is taken."""
        ...

    def refused(
        self, request: CallerRequest, dialect: str, call_id: str, refusal: Refusal, facts: CallFacts | None
    ) -> None:
        """A request was refused before anything was held. `facts` is None as long as nobody knows whose it is."""
        ...
