"""How late the event loop comes to what is due: what every call waits for when something holds it up."""

from __future__ import annotations

import asyncio
import time

from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.telemetry.histogram import Histogram

_EVERY_S = 0.25


async def watch_loop(lag: Histogram) -> None:
    """Measure until cancelled."""
    while True:
        due_ns = time.monotonic_ns() + round(_EVERY_S * NANOS_PER_SECOND)
        await asyncio.sleep(_EVERY_S)
        lag.observe(max(0, time.monotonic_ns() - due_ns))
