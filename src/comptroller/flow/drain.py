"""Drain: the gateway stops, and whoever is under way may finish for a while."""

from __future__ import annotations

import asyncio

from comptroller.flow.gate import Gate

_CUT_MOST_S = 10.0  # a cut call settles at once; more means a fault


async def drain(gate: Gate, drain_s: float, hurry: asyncio.Event) -> None:
    """Take no new calls; let those in flight finish for a while; cut and charge the rest."""
    gate.draining = True
    gate.waiting.wake_all()
    gate.pace.look_again()
    gate.live.end_relays()
    quiet, hurried = asyncio.create_task(gate.live.quiet()), asyncio.create_task(hurry.wait())
    await asyncio.wait({quiet, hurried}, timeout=drain_s, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    cut = gate.live.cut(lambda _: True, "drained")
    if cut:
        gate.warn("drained", {"comptroller.calls": str(cut)})
    await asyncio.wait({quiet}, timeout=_CUT_MOST_S)
    quiet.cancel()
