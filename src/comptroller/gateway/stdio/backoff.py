"""How long a server is left alone that ends again and again right after its start. Pure."""

from __future__ import annotations

_FIRST_S = 0.5
_MOST_S = 60.0
_STEADY_S = 10.0  # a process that lived longer than this did not end because of how it is started


class Backoff:
    """Doubles with every process that ended by itself soon after its start. Times are seconds on one clock."""

    def __init__(self) -> None:
        self.failures = 0  # in a row
        self._until_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """How long until the next start; 0: now."""
        return max(0.0, self._until_s - now_s)

    def ended(self, lived_s: float, now_s: float) -> None:
        """A process ended by itself."""
        if lived_s > _STEADY_S:
            self.failures = 0
            return
        self.failures += 1
        # One that ends may have been one client's doing: others are not kept waiting for it.
        if self.failures > 1:
            self._until_s = now_s + min(_MOST_S, _FIRST_S * 2 ** (self.failures - 2))

    def answered(self) -> None:
        """A process was asked to end, after it had done its work."""
        self.failures = 0
