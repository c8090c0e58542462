"""Too fast: what the rates say of a call, and what its caller is told."""

from __future__ import annotations

import msgspec

from comptroller.core.budget.settlement import Settlement
from comptroller.core.effect import Effect
from comptroller.core.instant import NANOS_PER_SECOND, format_instant
from comptroller.core.pricing.estimate import Estimate
from comptroller.core.rate.limits import (
    NANOS_PER_MS,
    NONE,
    Blocked,
    Came,
    Met,
    binding,
    blocking,
    shadowed,
    wait_for,
)
from comptroller.core.rate.rate import Rate
from comptroller.core.refusal import Refusal
from comptroller.flow.caller import Caller
from comptroller.flow.gate import Gate
from comptroller.flow.incoming import IncomingCall
from comptroller.flow.pace import UNPACED, Paced, Place, Turn
from comptroller.flow.reservation import Reservation
from comptroller.flow.settle import Receipt
from comptroller.flow.slices import amounts
from comptroller.flow.weigh import Weighed
from comptroller.wire.rate_headers import Headers

RETRY_MOST_S = 60
"""Clients wait as long as they are told to, or not at all beyond about a minute: what is longer stands in the body."""


class TooFast(msgspec.Struct, frozen=True, gc=False):
    """No: a rate lets it through later, or never."""

    refusal: Refusal
    turn: Turn | None  # where it may wait
    headers: Headers


def pace(gate: Gate, caller: Caller, weighed: Weighed, output: int, call: IncomingCall | None) -> Paced | TooFast:
    """What a call would take of the rates, or why it may not come now. Changes nothing.

    `output`: tokens that its limit comes to. `call`: who would wait; None: somebody only asks.
    """
    met = weighed.met
    if met is NONE:
        return UNPACED
    tokens, now_ns = _tokens(weighed, output), gate.pace.steady_ns()
    place = gate.pace.places.get(call.id) if call is not None else None
    blocked = blocking(met, tokens, now_ns, place, caller.identity.id)
    if blocked:
        waited_ns = 0 if place is None else now_ns - place.began_ns
        turn = None
        if call is not None and (place is None or not place.spent):
            found = wait_for(blocked, waited_ns, now_ns)
            turn = None if found is None else Turn(gate.pace, call.id, caller.identity.id, call.sender, found)
        refusal = _refusal(binding(blocked), weighed.bound, now_ns, gate.clock.now_ns(), waited_ns)
        family = "" if call is None else call.dialect.family
        return TooFast(refusal, turn, gate.pace.headers(met, family))
    effects = _effects(place, now_ns, met, tokens) if place is not None or met.shadow else ()
    return Paced(met, tokens, now_ns, place, effects)


def give_back(reservation: Reservation, receipt: Receipt | None) -> None:
    """An attempt has ended: its slots are free, and the rates count what it came to.

    No receipt: the work goes on at its provider, or nobody knows. What it took stays taken.
    """
    share = reservation.share
    if share is not None:
        share.pacer.end(share.taken, None if receipt is None else _came(receipt.settlement))


def _came(done: Settlement) -> Came:
    """What a rate counts of an attempt: it went out, unless its hold was voided before that, whatever was posted."""
    posted = done.posted
    went = done.end != "voided" or bool(posted.calls or posted.tool_calls)
    return Came(int(went), posted.tokens)


def _tokens(weighed: Weighed, output: int) -> int:
    """The most that it can come to. A batch is carried out at its provider's own pace, and its tokens are no rate."""
    return 0 if weighed.asked.lines else amounts(weighed.bound, output).tokens


def _effects(place: Place | None, now_ns: int, met: Met, tokens: int) -> tuple[Effect, ...]:
    found: list[Effect] = []
    if place is not None and place.limiter is not None:
        waited_ms = (now_ns - place.began_ns) // NANOS_PER_MS
        found.append(Effect("queued", place.limiter.rate.name, f"waited {waited_ms} ms"))
    found += (
        Effect("shadowed", each.limiter.rate.name, "rate_unsatisfiable" if each.never else "rate_limited")
        for each in shadowed(met, tokens, now_ns)
    )
    return tuple(found)


def _refusal(told: Blocked, bound: Estimate, now_ns: int, wall_ns: int, waited_ns: int) -> Refusal:
    if told.never:
        return _unsatisfiable(told, bound)
    limiter, wait_ns = told.limiter, max(0, told.free_at_ns - now_ns)
    rate, name, wait_s = limiter.rate, limiter.label, max(1, -(-wait_ns // NANOS_PER_SECOND))
    waited = f" It has waited for {waited_ns // NANOS_PER_MS} ms." if waited_ns else ""
    at_once = rate.unit == "at_once"
    fits = "It fits once one of them has ended." if at_once else f"This call fits in {_say_wait(wait_s)}."
    fewer = "send fewer at once" if at_once else "send fewer and spread them out"
    visible = rate.visible == "caller"
    return Refusal(
        code="rate_limited",
        sentence=f"The rate {name} {_what_it_allows(rate) if visible else 'is used up for now'}. {fits}{waited}",
        hint=f"Send it again then, or {fewer}.",
        limit=name,
        unit=_unit(rate),
        remaining=str(limiter.remaining(now_ns)) if visible else None,
        needed=str(told.amount) if visible else None,
        resets_at=None if at_once else format_instant(wall_ns + wait_ns),
        retry_after_s=min(RETRY_MOST_S, wait_s),
    )


def _unsatisfiable(told: Blocked, bound: Estimate) -> Refusal:
    rate, name, visible = told.limiter.rate, told.limiter.label, told.limiter.rate.visible == "caller"
    fits = max(0, bound.affordable_by_tokens(rate.burst)) if visible and not bound.fixed else None
    most = f"more than {rate.burst:,}" if visible else "so many"
    less = f"Ask for at most {fits} output tokens" if fits else "Ask for less output"
    return Refusal(
        code="rate_unsatisfiable",
        sentence=f"This call can come to {told.amount:,} tokens, and the rate {name} never lets {most} through.",
        hint=f"{less} or send a shorter request, or ask whoever runs the gateway for a larger burst.",
        limit=name,
        unit=rate.unit,
        remaining=str(rate.burst) if visible else None,
        needed=str(told.amount),
        largest_output_tokens=fits,
    )


def _what_it_allows(rate: Rate) -> str:
    if rate.unit == "at_once":
        return f"lets {rate.pace} through, and as many are running"
    return f"lets {rate.pace} through, at most {rate.burst:,} at one instant, and is used up for now"


def _unit(rate: Rate) -> str:
    return "calls" if rate.unit == "at_once" else rate.unit


def _say_wait(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"
