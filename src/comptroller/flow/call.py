"""The story of a governed call: identify, decide, reserve, forward, settle, record.

Each verb has a file of its own beside this one. A refusal is a value that ends the story early; from
the moment a hold is taken there is one way out, and it leads through `settle`. An attempt that another provider
could mend is followed by one there, which is decided, held and settled by itself.
"""

from __future__ import annotations

from comptroller.core.refusal import Refusal
from comptroller.flow.admit import admit, admit_another
from comptroller.flow.again import note_call
from comptroller.flow.allowance import with_allowance
from comptroller.flow.answer import answer, refuse
from comptroller.flow.attempt import Attempt, live_call
from comptroller.flow.called import note_called, watch_called
from comptroller.flow.caller import Caller
from comptroller.flow.decide import standing
from comptroller.flow.deferred import defer, heard
from comptroller.flow.dialect import Dialect
from comptroller.flow.door import CallerRequest, Reply
from comptroller.flow.fit import fit
from comptroller.flow.forward import forward
from comptroller.flow.gate import Gate
from comptroller.flow.identify import identify
from comptroller.flow.incoming import IncomingCall, understood
from comptroller.flow.look import begin_step, end_step, look_for_loops
from comptroller.flow.objects import settle_object
from comptroller.flow.offer_rules import check_offers
from comptroller.flow.offered import offered
from comptroller.flow.pause import Pause
from comptroller.flow.permit import Denied
from comptroller.flow.place import find_place
from comptroller.flow.record import record_refusal, record_settlement
from comptroller.flow.reservation import Reservation
from comptroller.flow.reserve import make_durable
from comptroller.flow.settle import Receipt, settle
from comptroller.flow.signal import note_begin, note_end
from comptroller.flow.too_fast import give_back
from comptroller.flow.tool_calls import limited


async def govern(gate: Gate, dialect: Dialect, call_id: str, request: CallerRequest, reply: Reply) -> None:
    """Take one model call from its first header to its settled end."""
    caller = identify(gate, request.credentials)
    if isinstance(caller, Refusal):
        gate.observer.refused(request, dialect.name, call_id, caller, None)
        return await refuse(dialect, reply, call_id, caller)
    call = await _read(gate, dialect, request, call_id, caller)
    if isinstance(call, Refusal):
        return await refuse(dialect, reply, call_id, with_allowance(gate, caller, call, None))
    return await carry(gate, call, reply)


async def carry(gate: Gate, call: IncomingCall, reply: Reply) -> None:
    """The same for a call that was read: of a model, or of a tool (flow/mcp)."""
    dialect, call_id = call.dialect, call.id
    stepped = await _looked_at(gate, call)
    if isinstance(stepped, Denied):
        return await refuse(dialect, reply, call_id, _denied(gate, call, stepped))
    call = stepped
    admitted = await _admit(gate, call, reply)
    before: Attempt | None = None
    while not isinstance(admitted, Denied):
        attempt, receipt = await _carry_out(gate, call, reply, admitted, before)
        another = admit_another(gate, call, attempt, receipt)
        if another is None:
            note_call(gate, attempt)
            return await answer(dialect, reply, admitted, attempt, receipt)
        admitted, before = another, attempt
    return await refuse(dialect, reply, call_id, _denied(gate, call, admitted), *admitted.headers)


async def _read(
    gate: Gate, dialect: Dialect, request: CallerRequest, call_id: str, caller: Caller
) -> IncomingCall | Refusal:
    """What is asked. A refusal from here on names a known identity, so it is recorded."""
    refused = standing(gate, caller)
    if refused is not None:
        return record_refusal(gate, request, dialect, call_id, caller, refused)
    body = await request.body()
    if isinstance(body, Refusal):
        return record_refusal(gate, request, dialect, call_id, caller, body)
    read = limited(caller.registry, await understood(dialect, body, request.head))
    if isinstance(read, Refusal):
        return record_refusal(gate, request, dialect, call_id, caller, read, body=body)
    place = find_place(gate, dialect, caller, request, read.asked)
    if isinstance(place, Refusal):
        return record_refusal(gate, request, dialect, call_id, caller, place, body=body, asked=read.asked)
    tools = offered(gate, read)
    return IncomingCall(call_id, dialect, request, caller, read, body, place.asked, place.provider, tools=tools)


async def _looked_at(gate: Gate, call: IncomingCall) -> IncomingCall | Denied:
    """The call within its context caps, and as far as it is not a loop."""
    if call.tools is not None:
        checked = await check_offers(gate, call)
        if isinstance(checked, Denied):
            return checked
        call = checked
    fitted = await fit(gate, call)
    return Denied(call.caller, fitted) if isinstance(fitted, Refusal) else await look_for_loops(gate, fitted)


async def _admit(gate: Gate, call: IncomingCall, reply: Reply) -> Reservation | Denied:
    """Admit it, after it has waited for its turn or for a person if need be. Nothing is held while it waits."""
    pause: Pause | None = None
    try:
        while True:
            admitted = admit(gate, call)
            if isinstance(admitted, Denied) and admitted.ask is not None:
                pause = pause or Pause(gate, call, reply)
                admitted = await pause.asked(admitted)
            if not isinstance(admitted, Denied) or admitted.wait is None or not await admitted.wait.over():
                return admitted if pause is None else pause.told(admitted)
    finally:
        gate.pace.leave(call.id)


def _denied(gate: Gate, call: IncomingCall, denied: Denied) -> Refusal:
    """The final no, which is on record once, and what its caller may still do."""
    refusal = record_refusal(
        gate, call.sender, call.dialect, call.id, denied.caller, denied.refusal,
        body=call.body, asked=call.asked, ruling=denied.ruling, effects=call.effects, tools=call.tools,
    )  # fmt: skip
    return with_allowance(gate, denied.caller, refusal, call.asked.model, call.asked.tool)


async def _carry_out(
    gate: Gate, call: IncomingCall, reply: Reply, reservation: Reservation, before: Attempt | None
) -> tuple[Attempt, Receipt | None]:
    """From the hold to its one settlement, whatever happens in between; no receipt: that waits for deferred work.

    `before`: the attempt that came to nothing.
    """
    attempt = Attempt(gate, call.dialect, reservation, reply)
    live = live_call(reservation, attempt)
    try:
        if before is not None:
            gate.observer.failed_over(before, reservation)
        reservation.caller.at_work(reservation.taken_at_ns)
        note_begin(gate, attempt)
        gate.live.add(live)
        watch_called(gate, attempt)
        begin_step(call)
        call.sender.watch(attempt.caller_left)
        if await make_durable(gate, reservation, attempt):
            await forward(gate, attempt, call.sender)
    finally:
        receipt: Receipt | None = None
        try:
            receipt = _end(gate, call, attempt)
        finally:
            end_step(call, attempt, receipt)
            give_back(reservation, receipt)
            note_called(gate, attempt)
            call.sender.unwatch()
            gate.live.remove(live)
            reservation.caller.at_rest(gate.clock.now_ns())
            attempt.close()
            note_end(gate, attempt)
    return attempt, receipt


def _end(gate: Gate, call: IncomingCall, attempt: Attempt) -> Receipt | None:
    """Settle it, or leave its hold to the poller. Does not wait."""
    deferral = attempt.goes_on
    if deferral is not None:
        defer(gate, attempt, deferral)
        return None
    receipt = settle(gate, attempt.reservation, attempt)
    record_settlement(gate, call.sender, attempt.reservation, attempt, receipt)
    settle_object(gate, attempt)
    heard(gate, attempt)
    return receipt
