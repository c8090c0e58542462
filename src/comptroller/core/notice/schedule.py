"""When a notice that could not be delivered is tried again.

Later each time, up to some hours, and never after its end; a receiver that says when it wants it is heard. What is
drawn by chance keeps many gateways from coming back in the same second.
"""

from __future__ import annotations

import msgspec

from comptroller.core.instant import NANOS_PER_SECOND

GROWS = 4
LONGEST_NS = 4 * 3600 * NANOS_PER_SECOND  # between two tries of a notice
QUIET_MOST_NS = 60 * NANOS_PER_SECOND  # for which a receiver is left alone, whatever else waits for it
_JITTER = 0.2


class Schedule(msgspec.Struct, frozen=True):
    """First after `first_ns`, then four times later each time, until `lasts_ns` after the notice."""

    first_ns: int
    lasts_ns: int

    def next_ns(self, since_ns: int, now_ns: int, tries: int, chance: float, wait_ns: int = 0) -> int | None:
        """When to try again after `tries` that failed, the last of them now; None: not any more.

        `chance`: between 0 and 1. `wait_ns`: how long the receiver asked us to wait. The last try is at the end.
        """
        end_ns = since_ns + self.lasts_ns
        if now_ns >= end_ns:
            return None
        return min(now_ns + max(wait_ns, self._pause_ns(tries, chance, LONGEST_NS)), end_ns)

    def quiet_ns(self, failures: int, chance: float, wait_ns: int = 0) -> int:
        """How long nothing at all is sent to a receiver that failed so many times in a row."""
        return max(min(wait_ns, LONGEST_NS), self._pause_ns(failures, chance, QUIET_MOST_NS))

    def _pause_ns(self, times: int, chance: float, most_ns: int) -> int:
        pause_ns = min(self.first_ns * GROWS ** min(times - 1, 20), most_ns)
        return int(pause_ns * (1 - _JITTER + 2 * _JITTER * chance))
