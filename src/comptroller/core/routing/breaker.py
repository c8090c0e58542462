"""The breaker: when a provider that answers nobody is no longer asked, and who finds out whether it does again.

A pure rule, with its states as a table (Nygard, "Release It!"). *Closed*, calls go there. Many failures in a row, none
of them long after the last, and nobody answered in between: it is *open*, and calls are refused instead of being sent
into the failure. When that is over, one call goes there and tries it for all: the circuit is *half-open* as long as
nobody knows how it ends. It closes with the first answer, whoever got it.

Health (health.py) orders providers after three failures already; this refuses, so it wants to be far more certain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from comptroller.core.instant import NANOS_PER_SECOND

State = Literal["closed", "open", "half-open"]
Sign = Literal["answered", "failed", "nothing"]
"""What an attempt says of the circuit. `nothing`: it ended before anybody could know."""

FAILURES_MOST = 20  # in a row: three may be bad luck of one caller, and a refusal is an outage for all of them
ROW_NS = 60 * NANOS_PER_SECOND  # a failure so long after the last begins another row: nobody is hammering
OPEN_NS = 5 * NANOS_PER_SECOND  # at first: most outages are restarts
OPEN_MOST_NS = 30 * NANOS_PER_SECOND  # one call every half a minute costs less than an outage that goes on unnoticed
PROBE_NS = 10 * NANOS_PER_SECOND  # a call that tries it may think for long: another one may try it after so long
WAIT_MOST_NS = 300 * NANOS_PER_SECOND  # whatever a provider says: an hour may be a mistake

TRANSITIONS: Mapping[tuple[State, Sign], State] = {
    ("closed", "answered"): "closed",
    ("closed", "failed"): "closed",  # the last of many in a row: open
    ("closed", "nothing"): "closed",
    ("open", "answered"): "closed",  # a call that was under way
    ("open", "failed"): "open",
    ("open", "nothing"): "open",
    ("half-open", "answered"): "closed",
    ("half-open", "failed"): "open",  # the call that tries it; of any other that was under way: nothing new
    ("half-open", "nothing"): "open",  # likewise, and for no time: the next call tries it
}


class Circuit(msgspec.Struct, frozen=True, gc=False):
    """How one circuit stands. Instants in nanoseconds."""

    state: State = "closed"
    failures: int = 0  # in a row
    last_ns: int = 0  # of them
    times: int = 0  # that it was opened since the last answer
    until_ns: int = 0  # open: no call goes there until then; half-open: no other one
    wait_until_ns: int = 0  # the latest that the provider asked us to wait until

    def refuses(self, now_ns: int) -> bool:
        """Whether a call is to be refused rather than sent there."""
        return self.state != "closed" and now_ns < self.until_ns

    def begun(self, now_ns: int) -> Circuit:
        """A call goes there. If the circuit was not closed, this call tries it for all."""
        if self.state == "closed":
            return self
        return msgspec.structs.replace(self, state="half-open", until_ns=now_ns + PROBE_NS)

    def heard(self) -> Circuit:
        """An answer begins, however long it takes: others may go there too, and one failure more opens it again."""
        if self.state == "closed":
            return self
        return Circuit("closed", self.failures, self.last_ns, self.times)

    def after(
        self, sign: Sign, now_ns: int, wait_ns: int = 0, *, probe: bool = False, most: int = FAILURES_MOST
    ) -> Circuit:
        """Once a call that went there has ended. `wait_ns`: how long the provider asks us to wait, if it does.

        `probe`: this is the call that tried it. `most`: failures in a row that open it.
        """
        if sign == "answered":
            return CLOSED
        if sign == "nothing":
            gave_up = probe and self.state == "half-open"
            return msgspec.structs.replace(self, state="open", until_ns=now_ns) if gave_up else self
        wait_until_ns = max(self.wait_until_ns, now_ns + min(wait_ns, WAIT_MOST_NS))
        if self.state == "closed":
            row = self.failures + 1 if now_ns - self.last_ns < ROW_NS else 1
            if row < most:
                return Circuit("closed", row, now_ns, self.times, 0, wait_until_ns)
            return self._opened(row, now_ns, wait_until_ns)
        if probe and self.state == "half-open":
            return self._opened(self.failures + 1, now_ns, wait_until_ns)
        return self  # of a call that was under way: nothing new

    def _opened(self, row: int, now_ns: int, wait_until_ns: int) -> Circuit:
        open_ns = min(OPEN_NS << min(self.times, 10), OPEN_MOST_NS)
        return Circuit("open", row, now_ns, self.times + 1, max(now_ns + open_ns, wait_until_ns), wait_until_ns)


CLOSED = Circuit()
