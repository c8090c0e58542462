"""Admit: decide and reserve. A look that changes nothing says what a call would hear; taking it up makes it so.

What may be spent right now and what is decided are one code: the look alone answers questions (the allowance), the
look and the step after it admit calls. Nobody is waited for in between, so the world is the same for both. Every
control that can refuse here has both: a look that counts nothing, and its part of the step.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.rate.limits import Came
from comptroller.core.refusal import Refusal
from comptroller.flow.again import look_at_retry, take_retry
from comptroller.flow.attempt import Attempt
from comptroller.flow.caller import Caller
from comptroller.flow.decide import NOBODY, standing
from comptroller.flow.dialect import Dialect
from comptroller.flow.failover import after, goes_on, tried_so_far
from comptroller.flow.fit import over_a_cap
from comptroller.flow.gate import Gate
from comptroller.flow.identify import renewed
from comptroller.flow.incoming import IncomingCall
from comptroller.flow.lift import Lifted, lift_short
from comptroller.flow.pace import UNPACED, Paced, Turn
from comptroller.flow.permit import Denied, Permit, seek_provider
from comptroller.flow.provider_side import refused_tool
from comptroller.flow.reservation import Reservation, Tried
from comptroller.flow.reserve import Afforded, OverdrawnError, afford, reserve
from comptroller.flow.settle import Receipt
from comptroller.flow.too_fast import TooFast, pace


class Question(msgspec.Struct, frozen=True, gc=False):
    """Who would call for what: all that an admission looks at."""

    dialect: Dialect
    caller: Caller
    asked: Asked
    besides: AbstractSet[str] = NOBODY  # providers that are not asked (any more)
    body: bytes = b""  # as it came
    full_hold: bool = False  # the whole answer is to be held, whatever it may be
    call: IncomingCall | None = None  # that would wait for its turn; None: somebody only asks


class Offer(msgspec.Struct, frozen=True, gc=False):
    """Yes, as things stand: good until somebody waits."""

    caller: Caller
    permit: Permit
    afforded: Afforded
    paced: Paced


def offer_for(gate: Gate, question: Question) -> Offer | Denied:
    """What a call would hear if it came now. Changes nothing."""
    caller = question.caller
    refused = standing(gate, caller)
    if refused is not None:
        return Denied(caller, refused)
    permit = seek_provider(gate, question.dialect, caller, question.asked, question.besides)
    if isinstance(permit, Denied):
        return permit
    if permit.weighed.asked.provider_tools:
        forbidden = refused_tool(gate, caller, permit)
        if forbidden is not None:
            return forbidden
    again = look_at_retry(gate, caller.identity.id, permit.weighed.scope_facts, question.body)
    if isinstance(again, Refusal):
        return Denied(caller, again, permit.ruling)
    if again:
        permit = msgspec.structs.replace(permit, effects=(*permit.effects, *again))
    return _afforded(gate, question, permit)


def admit(gate: Gate, call: IncomingCall) -> Reservation | Denied:
    """The first attempt of a call, held; or why there is none."""
    offer = offer_for(gate, _question(gate, call, NOBODY))  # the world may have moved on while the body came
    if not isinstance(offer, Denied):
        return _take(gate, call, offer, ())
    if not isinstance(offer.wait, Turn):
        gate.pace.leave(call.id)  # whatever it waits for now: others wait for the turn that it had
    return offer


def admit_another(
    gate: Gate, call: IncomingCall, attempt: Attempt, receipt: Receipt | None
) -> Reservation | Denied | None:
    """One more attempt, where this one came to nothing and another provider could mend that; else None.

    A provider that this call may not use is none that could.
    """
    if receipt is None or not goes_on(attempt, gate.limits, gate.clock.now_ns()):
        return None
    tried = tried_so_far(attempt, receipt)
    besides = gate.health.aside(gate.clock.expiry_ns()) | {each.provider for each in tried}
    question = _question(gate, call, besides)
    permit = seek_provider(gate, call.dialect, question.caller, call.asked, question.besides)
    if isinstance(permit, Denied):
        return None
    refused = standing(gate, question.caller)
    offer = _afforded(gate, question, permit) if refused is None else Denied(question.caller, refused)
    if isinstance(offer, Denied):
        return msgspec.structs.replace(offer, refusal=after(offer.refusal, tried), wait=None, ask=None)
    return _take(gate, call, offer, tried)


def _question(gate: Gate, call: IncomingCall, besides: AbstractSet[str]) -> Question:
    # A call that names an object can go to no provider but the one that has it.
    others = NOBODY if call.provider is None else gate.providers.keys() - {call.provider}
    caller = renewed(gate, call.caller)
    full = call.sender.prefers_full_hold
    return Question(call.dialect, caller, call.asked, besides | others, call.body, full, call)


def _afforded(gate: Gate, question: Question, permit: Permit) -> Offer | Denied:
    caller = question.caller
    if caller.registry.contexts:
        unfit = over_a_cap(gate, caller, question.asked, permit, question.call)
        if unfit is not None:
            return Denied(caller, unfit, permit.ruling)
    while isinstance(afforded := afford(gate, caller, permit, full=question.full_hold), Refusal):
        lifted = lift_short(gate, caller, Lifted(permit.weighed, permit.grants))
        if not isinstance(lifted, Lifted):
            asked = None if lifted is None else msgspec.structs.replace(lifted, reason=afforded.sentence)
            return Denied(caller, afforded, permit.ruling, ask=asked)
        permit = msgspec.structs.replace(permit, weighed=lifted.weighed, grants=lifted.grants)
    paced = pace(gate, caller, permit.weighed, afforded.whole_output, question.call)
    if isinstance(paced, TooFast):
        return Denied(caller, paced.refusal, permit.ruling, paced.turn, paced.headers)
    return Offer(caller, permit, afforded, paced)


def _take(gate: Gate, call: IncomingCall, offer: Offer, tried: tuple[Tried, ...]) -> Reservation:
    """Take up an offer that was made just now, as a whole."""
    if not tried:
        take_retry(gate, offer.caller.identity.id, offer.permit.weighed.scope_facts, call.body)
    paced = offer.paced
    if paced is UNPACED:
        return reserve(gate, call, offer.caller, offer.permit, offer.afforded, tried)
    if paced.effects:
        call = msgspec.structs.replace(call, effects=(*call.effects, *paced.effects))
    share = gate.pace.take(paced)
    try:  # the hold comes last: nothing can fail between it and the way out that settles it
        reserved = reserve(gate, call, offer.caller, offer.permit, offer.afforded, tried)
    except OverdrawnError:
        gate.pace.end(share.taken, Came(0, 0))
        raise
    return msgspec.structs.replace(reserved, share=share)
