"""The timed jobs: what happens by itself while a gateway serves."""

from __future__ import annotations

import asyncio

from comptroller.control import sessions
from comptroller.control.office import Office
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.flow.gate import Gate

_END_EVERY_S = 1.0
_FORGET_EVERY_S = 600.0
_SLACK_NS = 3600 * NANOS_PER_SECOND


async def end_past(office: Office) -> None:
    """End sessions that are idle or have run for as long as they may."""
    while True:
        await asyncio.sleep(_END_EVERY_S)
        await sessions.end_past(office)


async def forget_past(gate: Gate) -> None:
    """Now and then, let go of what has ended: sessions past their expiry, windows that nobody can draw on."""
    while True:
        await asyncio.sleep(_FORGET_EVERY_S)
        expired = [s for s in gate.sessions.values() if s.expires_at_ns <= gate.clock.expiry_ns() - _SLACK_NS]
        for session in expired:
            gate.forget_session(session)
        going_on = {session.id for session in gate.sessions.values() if session.ended_at_ns is None}
        gate.tree.forget_past(gate.clock.now_ns(), going_on)
