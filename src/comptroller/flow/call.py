"""The story of a governed call: identify, decide, reserve, forward, settle, record.

Each verb has a file of its own beside this one. A refusal is a value that ends the story early; from
the moment a hold is taken there is one way out, and it leads through `settle`.
"""

from __future__ import annotations

from comptroller.core.refusal import Refusal
from comptroller.flow.answer import answer, refuse
from comptroller.flow.attempt import Attempt, live_call
from comptroller.flow.caller import Caller
from comptroller.flow.decide import decide, standing
from comptroller.flow.dialect import Dialect
from comptroller.flow.door import CallerRequest, Reply
from comptroller.flow.forward import forward
from comptroller.flow.gate import Gate
from comptroller.flow.identify import identify, renewed
from comptroller.flow.permit import Denied, seek_permit
from comptroller.flow.record import record_refusal, record_settlement
from comptroller.flow.reservation import Reservation
from comptroller.flow.reserve import make_durable, reserve
from comptroller.flow.settle import settle


async def govern(gate: Gate, dialect: Dialect, call_id: str, request: CallerRequest, reply: Reply) -> None:
    """Take one model call from its first header to its settled end."""
    caller = identify(gate, request.credentials)
    if isinstance(caller, Refusal):
        gate.observer.refused(request, dialect.name, call_id, caller, None)
        return await refuse(dialect, reply, call_id, caller)
    reservation = await _admit(gate, dialect, request, call_id, caller)
    if isinstance(reservation, Refusal):
        return await refuse(dialect, reply, call_id, reservation)
    return await _carry_out(gate, dialect, request, reply, reservation)


async def _admit(
    gate: Gate, dialect: Dialect, request: CallerRequest, call_id: str, caller: Caller
) -> Reservation | Refusal:
    """Decide and reserve. A refusal from here on names a known identity, so it is recorded."""
    refused = standing(gate, caller)
    if refused is not None:
        return record_refusal(gate, request, dialect, call_id, caller, refused)
    body = await request.body()
    if isinstance(body, Refusal):
        return record_refusal(gate, request, dialect, call_id, caller, body)
    asked = dialect.read_request(body, request.head)
    if isinstance(asked, Refusal):
        return record_refusal(gate, request, dialect, call_id, caller, asked, body=body)
    caller = renewed(gate, caller)  # the world may have moved on while the body came
    decision = standing(gate, caller) or decide(gate, dialect, caller, asked.asked.model)
    if isinstance(decision, Refusal):
        return record_refusal(gate, request, dialect, call_id, caller, decision, body=body, asked=asked.asked)
    permit = seek_permit(gate, dialect, caller, decision, asked.asked)
    if isinstance(permit, Denied):
        reserved = permit.refusal
    else:
        reserved = reserve(gate, dialect, call_id, caller, permit, asked, body, request)
    if isinstance(reserved, Refusal):
        ruling = permit.ruling
        return record_refusal(
            gate, request, dialect, call_id, caller, reserved, body=body, asked=asked.asked, ruling=ruling
        )
    return reserved


async def _carry_out(
    gate: Gate, dialect: Dialect, request: CallerRequest, reply: Reply, reservation: Reservation
) -> None:
    """From the hold to its one settlement, whatever happens in between."""
    attempt = Attempt(gate, dialect, reservation, reply)
    live = live_call(reservation, attempt)
    try:
        reservation.caller.at_work(reservation.taken_at_ns)
        gate.live.add(live)
        request.watch(attempt.caller_left)
        if await make_durable(gate, reservation, attempt):
            await forward(gate, attempt, request)
    finally:
        try:
            receipt = settle(gate, reservation, attempt)
            record_settlement(gate, request, reservation, attempt, receipt)
        finally:
            request.unwatch()
            gate.live.remove(live)
            reservation.caller.at_rest(gate.clock.now_ns())
            attempt.close()
    await answer(dialect, reply, reservation, attempt, receipt)
