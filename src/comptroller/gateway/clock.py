"""The process's clock: readings for the rule in core/instant.py, and fresh ids."""

from __future__ import annotations

import random
import secrets
import time

from comptroller.core.ids import make_id
from comptroller.core.instant import TimeKeeper


class SystemClock:
    """Implements flow.gate.Clock."""

    def __init__(self, last_journalled_ns: int) -> None:
        self._keeper = TimeKeeper(last_journalled_ns)
        # Ids are names and no secrets: what vouches for a credential is its signature. Asking the system for
        # chance on every call was seen to cost more than the rest of the call.
        self._chance = random.Random(secrets.randbits(256))  # noqa: S311 - see above

    def now_ns(self) -> int:
        return self._keeper.now(time.time_ns(), time.monotonic_ns())

    def expiry_ns(self) -> int:
        return max(time.time_ns(), self._keeper.last_ns)

    def steady_ns(self) -> int:
        return time.monotonic_ns()

    def new_id(self, prefix: str) -> str:
        return make_id(prefix, self.now_ns(), self._chance.getrandbits(80))
