"""The health of a provider, by what its answers say: a pure rule, with its states as a table.

Nothing is asked of a provider to find out. It is *in use* until it fails three times in a row, names a time to wait, or
refuses our credential; then it is *aside* for a bounded time, twice as long each time in a row. When that is over one
call tries it: as long as nobody knows how that call ends it is *tried*, and aside for all others.

A provider that is aside is asked last, and never for a further attempt; if there is no other it is asked all the same,
so health alone refuses no call. A circuit breaker with one half-open call (Nygard, "Release It!").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from comptroller.core.instant import NANOS_PER_SECOND

State = Literal["in use", "aside", "tried"]
Signal = Literal["answered", "failed", "told to wait", "credential refused", "nothing"]
"""What an attempt says of its provider. `nothing`: the caller left, or it was stopped, before anybody could know."""

FAILURES_MOST = 3  # one may be the request's fault, two in a row happen; a third is the provider's
ASIDE_NS = 10 * NANOS_PER_SECOND  # a restart takes as long; a call that comes too early costs one more attempt
REFUSED_NS = 60 * NANOS_PER_SECOND  # somebody has to mend a credential
ASIDE_MOST_NS = 300 * NANOS_PER_SECOND  # whatever it says: an hour of waiting may be a mistake, and one call is cheap

TRANSITIONS: Mapping[tuple[State, Signal], State] = {
    ("in use", "answered"): "in use",
    ("in use", "failed"): "in use",  # the third in a row: aside
    ("in use", "told to wait"): "aside",
    ("in use", "credential refused"): "aside",
    ("in use", "nothing"): "in use",
    ("aside", "answered"): "in use",
    ("aside", "failed"): "aside",
    ("aside", "told to wait"): "aside",
    ("aside", "credential refused"): "aside",
    ("aside", "nothing"): "aside",
    ("tried", "answered"): "in use",
    ("tried", "failed"): "aside",
    ("tried", "told to wait"): "aside",
    ("tried", "credential refused"): "aside",
    ("tried", "nothing"): "aside",  # for no time: the next call tries it
}


class Health(msgspec.Struct, frozen=True, gc=False):
    """How one provider stands. Instants in nanoseconds."""

    state: State = "in use"
    failures: int = 0  # in a row
    times: int = 0  # that it was put aside since it last answered
    until_ns: int = 0  # aside until then
    why: Signal = "nothing"  # it is aside

    def usable(self, now_ns: int) -> bool:
        """Whether calls should go there before they go to one that is aside."""
        return self.state == "in use" or (self.state == "aside" and now_ns >= self.until_ns)

    def begun(self, now_ns: int) -> Health:
        """A call goes there. The first one after its time aside tries it for all."""
        if self.state == "aside" and now_ns >= self.until_ns:
            return msgspec.structs.replace(self, state="tried")
        return self

    def heard(self) -> Health:
        """An answer begins: others may go there, too. As long as it has not ended, one failure more puts it aside."""
        return Health("in use", FAILURES_MOST - 1, self.times) if self.state == "tried" else self

    def after(self, signal: Signal, now_ns: int, wait_ns: int = 0) -> Health:
        """Once an attempt has ended like this. `wait_ns`: what the provider said, with `told to wait`."""
        if signal == "answered":
            return _WELL
        if signal == "nothing":
            return self if self.state != "tried" else msgspec.structs.replace(self, state="aside", until_ns=now_ns)
        failures = self.failures + 1
        state = TRANSITIONS[self.state, signal]
        if state == "in use" and failures < FAILURES_MOST:
            return msgspec.structs.replace(self, failures=failures)
        if self.state == "aside" and signal == "failed":  # from a call that was under way: nothing new
            return msgspec.structs.replace(self, failures=failures)
        times = self.times + (self.state != "aside")
        until_ns = max(now_ns + _aside_ns(signal, times, wait_ns), self.until_ns)
        return Health("aside", failures, times, until_ns, signal)


_WELL = Health()


def _aside_ns(signal: Signal, times: int, wait_ns: int) -> int:
    if signal == "told to wait":
        return min(wait_ns, ASIDE_MOST_NS)
    first_ns = REFUSED_NS if signal == "credential refused" else ASIDE_NS
    return min(first_ns << min(times - 1, 10), ASIDE_MOST_NS)
