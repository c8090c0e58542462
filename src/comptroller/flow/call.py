"""The story of a governed call: identify, decide, reserve, forward, settle, record.

Each verb has a file of its own beside this one. A refusal is a value that ends the story early; from
the moment a hold is taken there is one way out, and it leads through `settle`. An attempt that another provider
could mend is followed by one there, which is decided, held and settled by itself.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from comptroller.core.refusal import Refusal
from comptroller.flow.answer import answer, refuse
from comptroller.flow.attempt import Attempt, live_call
from comptroller.flow.caller import Caller
from comptroller.flow.decide import NOBODY, standing
from comptroller.flow.deferred import defer, heard
from comptroller.flow.dialect import Dialect
from comptroller.flow.door import CallerRequest, Reply
from comptroller.flow.failover import after, goes_on, tried_so_far
from comptroller.flow.forward import forward
from comptroller.flow.gate import Gate
from comptroller.flow.identify import identify, renewed
from comptroller.flow.incoming import IncomingCall, understood
from comptroller.flow.objects import settle_object
from comptroller.flow.permit import Denied, Permit, seek_provider
from comptroller.flow.place import find_place
from comptroller.flow.record import record_refusal, record_settlement
from comptroller.flow.records import Ruling
from comptroller.flow.reservation import Reservation, Tried
from comptroller.flow.reserve import make_durable, reserve
from comptroller.flow.settle import Receipt, settle
from comptroller.flow.signal import note_health
from comptroller.flow.tool_calls import limited


async def govern(gate: Gate, dialect: Dialect, call_id: str, request: CallerRequest, reply: Reply) -> None:
    """Take one model call from its first header to its settled end."""
    caller = identify(gate, request.credentials)
    if isinstance(caller, Refusal):
        gate.observer.refused(request, dialect.name, call_id, caller, None)
        return await refuse(dialect, reply, call_id, caller)
    call = await _read(gate, dialect, request, call_id, caller)
    if isinstance(call, Refusal):
        return await refuse(dialect, reply, call_id, call)
    admitted = _admit(gate, call)
    before: Attempt | None = None
    while not isinstance(admitted, Refusal):
        attempt, receipt = await _carry_out(gate, call, reply, admitted, before)
        another = _admit_another(gate, call, attempt, receipt)
        if another is None:
            return await answer(dialect, reply, admitted, attempt, receipt)
        admitted, before = another, attempt
    return await refuse(dialect, reply, call_id, admitted)


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
    return IncomingCall(call_id, dialect, request, caller, read, body, place.asked, place.provider)


def _besides(gate: Gate, call: IncomingCall) -> AbstractSet[str]:
    """Providers that cannot serve it: all but the one that it has to go to, if there is such a one."""
    return NOBODY if call.provider is None else gate.providers.keys() - {call.provider}


def _admit(gate: Gate, call: IncomingCall) -> Reservation | Refusal:
    """Decide and reserve. Nobody is waited for in between: the world is the same for both."""
    caller = renewed(gate, call.caller)  # the world may have moved on while the body came
    refused = standing(gate, caller)
    if refused is not None:
        return _refused(gate, call, caller, refused, None)
    permit = seek_provider(gate, call.dialect, caller, call.asked, _besides(gate, call))
    if isinstance(permit, Denied):
        return _refused(gate, call, caller, permit.refusal, permit.ruling)
    return _reserve(gate, call, caller, permit, ())


def _admit_another(
    gate: Gate, call: IncomingCall, attempt: Attempt, receipt: Receipt | None
) -> Reservation | Refusal | None:
    """One more attempt, where this one came to nothing and another provider could mend that; else None.

    A provider that this call may not use is none that could.
    """
    if receipt is None or not goes_on(attempt, gate.limits, gate.clock.now_ns()):
        return None
    caller, tried = renewed(gate, call.caller), tried_so_far(attempt, receipt)
    besides = gate.health.aside(gate.clock.expiry_ns()) | {each.provider for each in tried} | _besides(gate, call)
    permit = seek_provider(gate, call.dialect, caller, call.asked, besides)
    if isinstance(permit, Denied):
        return None
    refused = standing(gate, caller)
    if refused is not None:
        return _refused(gate, call, caller, after(refused, tried), None)
    return _reserve(gate, call, caller, permit, tried)


def _reserve(
    gate: Gate, call: IncomingCall, caller: Caller, permit: Permit, tried: tuple[Tried, ...]
) -> Reservation | Refusal:
    reserved = reserve(gate, call, caller, permit, tried)
    if isinstance(reserved, Refusal):
        return _refused(gate, call, caller, after(reserved, tried), permit.ruling)
    return reserved


def _refused(gate: Gate, call: IncomingCall, caller: Caller, refusal: Refusal, ruling: Ruling | None) -> Refusal:
    return record_refusal(
        gate, call.sender, call.dialect, call.id, caller, refusal, body=call.body, asked=call.asked, ruling=ruling
    )


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
        gate.health.begun(reservation.decision.provider.name, gate.clock.expiry_ns())
        gate.live.add(live)
        call.sender.watch(attempt.caller_left)
        if await make_durable(gate, reservation, attempt):
            await forward(gate, attempt, call.sender)
    finally:
        try:
            receipt = _end(gate, call, attempt)
        finally:
            call.sender.unwatch()
            gate.live.remove(live)
            reservation.caller.at_rest(gate.clock.now_ns())
            attempt.close()
            note_health(gate, attempt)
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
