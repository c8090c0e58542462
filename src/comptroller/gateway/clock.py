"""The process's clock: readings for the rule in core/instant.py, and fresh ids."""

from __future__ import annotations

import secrets
import time

from comptroller.core.ids import make_id
from comptroller.core.instant import TimeKeeper


class SystemClock:
    """Implements flow.gate.Clock."""

    def __init__(self, last_journalled_ns: int) -> None:
        self._keeper = TimeKeeper(last_journalled_ns)

    def now_ns(self) -> int:
        return self._keeper.now(time.time_ns(), time.monotonic_ns())

    def expiry_ns(self) -> int:
        wall_ns = time.time_ns()
        return max(wall_ns, self._keeper.now(wall_ns, time.monotonic_ns()))

    def new_id(self, prefix: str) -> str:
        return make_id(prefix, self.now_ns(), secrets.randbits(80))
