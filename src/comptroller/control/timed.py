"""The timed jobs: what happens by itself while a gateway serves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence

from comptroller.control import approvals, bootstrap, break_glass, grants, sessions, stops
from comptroller.control.inputs import count_inputs
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.work.session import Session
from comptroller.flow.fault import fault_facts

_END_EVERY_S = 1.0
_FORGET_EVERY_S = 600.0
_SLACK_NS = 3600 * NANOS_PER_SECOND


async def go_on(office: Office) -> None:
    """After a start: what people gave and were asked for goes on, and sessions are as long as they were."""
    if office.gate.registry.contexts:
        await count_inputs(office.gate, office.ledger)
    await break_glass.go_on(office)
    await bootstrap.go_on(office)
    await grants.go_on(office)
    await approvals.go_on(office)


def jobs(office: Office) -> Sequence[Coroutine[None, None, None]]:
    """All of them, each for as long as the process lives."""
    return (
        forget_past(office), end_past(office), end_broken_glass(office), answer_overdue(office),
        quarantine_loops(office),
    )  # fmt: skip


async def end_past(office: Office) -> None:
    """End sessions that are idle or have run for as long as they may."""
    while True:
        await asyncio.sleep(_END_EVERY_S)
        try:
            await sessions.end_past(office)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one session, the others still end in time
            office.gate.warn("loop_fault", fault_facts(error))


async def end_broken_glass(office: Office) -> None:
    """Put on record which grants of break-glass have ended by themselves."""
    while True:
        await asyncio.sleep(_END_EVERY_S)
        try:
            await break_glass.end_past(office)
        except ControlProblem:
            continue  # the books cannot be written, which they say themselves
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one grant, this goes on
            office.gate.warn("loop_fault", fault_facts(error))


async def quarantine_loops(office: Office) -> None:
    """Quarantine the sessions that go on with a loop although they are refused for it, as soon as one does."""
    while True:
        due = await office.gate.trails.sentences.get()
        try:
            await stops.suspend(office, "session", due.session, due.reason, due.rule, "quarantine")
        except ControlProblem:
            continue  # the session is gone; or the books cannot be written, which they say themselves
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one session, this goes on
            office.gate.warn("loop_fault", fault_facts(error))


async def answer_overdue(office: Office) -> None:
    """Pass on what nobody has answered in time, and put on record which grants are used up or expired."""
    while True:
        await asyncio.sleep(_END_EVERY_S)
        for act in (approvals.go_on_overdue, grants.end_past):
            try:
                await act(office)
            except ControlProblem:
                continue  # the books cannot be written, which they say themselves
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one ticket, this goes on
                office.gate.warn("loop_fault", fault_facts(error))


async def forget_past(office: Office) -> None:
    """Now and then, let go of what is over: sessions, and windows that nobody can draw on."""
    while True:
        await asyncio.sleep(_FORGET_EVERY_S)
        forget(office)


def forget(office: Office) -> None:
    """Let go of what has been over for an hour: until then whoever comes back is told what happened.

    What ended and could not be written stays: only memory knows of it.
    """
    gate = office.gate
    before_ns = gate.clock.expiry_ns() - _SLACK_NS
    for session in [each for each in gate.sessions.values() if _over_ns(each) <= before_ns]:
        if session.id not in office.unwritten_ends:
            gate.forget_session(session)
    going_on = {session.id for session in gate.sessions.values() if session.ended_at_ns is None}
    gate.tree.forget_past(gate.clock.now_ns(), going_on)
    gate.approvals.forget(gate.clock.now_ns())


def _over_ns(session: Session) -> int:
    return session.expires_at_ns if session.ended_at_ns is None else min(session.expires_at_ns, session.ended_at_ns)
