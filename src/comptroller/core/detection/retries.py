"""Retry storms: which calls are retries (a pure rule). How many may go out is core/budget/retry_budget.py.

A call is a *retry* if the same body was sent before, not long ago, and ended with an error of the provider. If an
identity has met nothing but such errors with many bodies in a row, all it sends counts as retries, whatever its body:
an agent that replans after each error never says the same twice. Answers, and errors that are about the request itself,
end that. Our own refusals are nothing at all.
"""

from __future__ import annotations

from collections import OrderedDict

from comptroller.core.instant import NANOS_PER_SECOND

REMEMBERED_NS = 300 * NANOS_PER_SECOND  # the same body later than this is new work, such as an hourly job
BODIES_MOST = 1_000  # remembered of one identity
ROW_MOST = 20  # different bodies that fail in a row, after which every call counts as a retry


class Failing:
    """What one identity has lately met: the bodies that failed, and how many of them in a row."""

    __slots__ = ("_bodies", "_last_ns", "_row")

    def __init__(self) -> None:
        self._bodies: OrderedDict[str, tuple[int, int]] = OrderedDict()  # digest: failed at, asked to wait until
        self._row = 0
        self._last_ns = 0

    def over(self, now_ns: int) -> bool:
        """Whether all of it is too long ago to mean anything."""
        return now_ns - self._last_ns >= REMEMBERED_NS or (not self._row and not self._bodies)

    def is_retry(self, digest: str, now_ns: int) -> bool:
        """Whether a call with this body counts as a retry."""
        if self.over(now_ns):
            return False
        failed = self._bodies.get(digest)
        return self._row >= ROW_MOST or (failed is not None and now_ns - failed[0] < REMEMBERED_NS)

    def asked_to_wait_ns(self, digest: str, now_ns: int) -> int:
        """How much longer the provider asked to wait before this body is sent again."""
        failed = self._bodies.get(digest)
        return max(0, failed[1] - now_ns) if failed is not None else 0

    def failed(self, digest: str, now_ns: int, wait_ns: int = 0) -> None:
        """A call with this body ended with an error of the provider. `wait_ns`: how long that asks us to wait."""
        if self.over(now_ns):
            self._bodies.clear()
            self._row = 0
        if digest not in self._bodies:  # one request that always fails says nothing of the others
            self._row += 1
        self._bodies[digest] = (now_ns, now_ns + wait_ns)
        self._bodies.move_to_end(digest)
        if len(self._bodies) > BODIES_MOST:
            self._bodies.popitem(last=False)
        self._last_ns = now_ns

    def answered(self, digest: str) -> None:
        """A call with this body was answered, or refused by the provider for what it asks."""
        self._bodies.pop(digest, None)
        self._row = 0
