"""Pace: what calls take of the rates, and the lines of those that wait for their turn.

A waiting call holds nothing. When its turn comes it is admitted anew, from the start, and until it has taken what it
waited for nobody overtakes it. Time is the steady clock, which no setting of the wall clock moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

import msgspec

from comptroller.core.effect import Effect
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.rate.limits import (
    NANOS_PER_MS,
    NONE,
    Blocked,
    Came,
    Limiter,
    Met,
    RateLimits,
    Taken,
    take,
)
from comptroller.core.rate.rate import Rate
from comptroller.core.rate.turns import Ticket
from comptroller.flow.door import CallerRequest
from comptroller.wire.rate_headers import Headers, Told, rate_headers


class Paced(msgspec.Struct, frozen=True, gc=False):
    """What a call meets of the rates, and would take of them now."""

    met: Met = NONE
    tokens: int = 0
    now_ns: int = 0  # by the steady clock
    place: Place | None = None  # it has waited for its turn
    effects: tuple[Effect, ...] = ()


UNPACED = Paced()


class Times(Protocol):
    """Of flow.gate.Clock."""

    def now_ns(self) -> int: ...

    def steady_ns(self) -> int: ...


class Share(msgspec.Struct, frozen=True, gc=False):
    """What an attempt has of the rates."""

    pacer: Pacer
    met: Met
    taken: Taken

    def headers(self, family: str) -> Headers:
        """What is left of them now, as its caller may see it."""
        return self.pacer.headers(self.met, family)


class Place(Ticket):
    """The place of one call, in one line at a time."""

    __slots__ = ("_called", "began_ns", "call_id", "gone", "limiter", "spent")

    def __init__(self, call_id: str, identity: str, began_ns: int) -> None:
        super().__init__(identity, 0)
        self.call_id = call_id
        self.began_ns = began_ns
        self.limiter: Limiter | None = None
        self.spent = False  # it may not wait (any more)
        self.gone = False  # its caller has hung up
        self._called: asyncio.Future[None] | None = None

    def called(self) -> asyncio.Future[None]:
        """Done when it is called: its turn has come, or it should look again."""
        self._called = asyncio.get_running_loop().create_future()
        return self._called

    def call(self) -> None:
        if self._called is not None and not self._called.done():
            self._called.set_result(None)

    def end(self) -> None:
        """It may not wait any more."""
        self.spent = True
        self.call()

    def leave(self) -> None:
        self.gone = True
        self.call()


class Turn:
    """What could turn a no into a yes: a place in line. Implements flow.permit.Wait."""

    __slots__ = ("_blocked", "_call_id", "_identity", "_pacer", "_sender")

    def __init__(self, pacer: Pacer, call_id: str, identity: str, sender: CallerRequest, blocked: Blocked) -> None:
        self._pacer = pacer
        self._call_id = call_id
        self._identity = identity
        self._sender = sender
        self._blocked = blocked

    async def over(self) -> bool:
        """Wait for it. False: the caller has left."""
        place = self._pacer.join(self._call_id, self._identity, self._blocked)
        if place.spent:
            return True
        wait_ns = self._blocked.limiter.rate.wait_ms * NANOS_PER_MS
        left_ns = place.began_ns + wait_ns - self._pacer.steady_ns()
        timer = asyncio.get_running_loop().call_later(max(0, left_ns) / NANOS_PER_SECOND, place.end)
        called = place.called()
        self._sender.watch(place.leave)
        try:
            self._pacer.arm(self._blocked.limiter)
            await called
        finally:
            timer.cancel()
            self._sender.unwatch()
        return not place.gone


class Pacer:
    """The rates of one gateway, with whoever waits for them."""

    def __init__(self, clock: Times, rates: Iterable[Rate] = ()) -> None:
        self._clock = clock
        self.steady_ns = clock.steady_ns
        self.limits = RateLimits(rates)
        self.places: dict[str, Place] = {}  # by call
        self._timers: dict[Limiter, asyncio.TimerHandle] = {}

    def replace(self, rates: Iterable[Rate]) -> None:
        """Other rates are in force, also for those that wait."""
        self.limits.replace(rates, self.steady_ns())
        self.look_again()

    def look_again(self) -> None:
        """Something has changed for everybody: whoever waits is decided anew, and stays where it stands if need be."""
        for place in self.places.values():
            place.call()

    def take(self, paced: Paced) -> Share:
        """Take what was looked at just now. Whoever had waited for it makes room for the next."""
        taken = take(paced.met, paced.tokens, paced.now_ns)
        if paced.place is not None:
            self._served(paced.place)
        return Share(self, paced.met, taken)

    def end(self, taken: Taken, came: Came | None) -> None:
        """A call has ended and came to this. Whoever waits for what it gives back is called."""
        taken.end(came)
        if self.places:
            for limiter, _ in taken.takes:
                self.arm(limiter)

    def headers(self, met: Met, family: str) -> Headers:
        """What clients read of the rates whose numbers the caller may see, of each unit the tightest."""
        now_ns, found = self.steady_ns(), dict[str, Told]()
        for limiter in met.hard:
            rate = limiter.rate
            if rate.visible == "caller" and rate.unit != "at_once":
                told = Told(rate.unit, rate.burst, limiter.remaining(now_ns), limiter.full_at(now_ns) - now_ns)
                known = found.get(rate.unit)
                if known is None or told.remaining * known.limit < known.remaining * told.limit:
                    found[rate.unit] = told
        return rate_headers(family, tuple(found.values()), self._clock.now_ns()) if found else ()

    def join(self, call_id: str, identity: str, blocked: Blocked) -> Place:
        """The place of a call in the line of what blocks it: where it stands already, or the last."""
        place = self.places.get(call_id)
        if place is None:
            place = self.places[call_id] = Place(call_id, identity, self.steady_ns())
        place.amount = blocked.amount
        if place.limiter is not blocked.limiter:
            self._step_out(place)
            place.limiter = blocked.limiter
            out = blocked.limiter.turns.join(place)
            if isinstance(out, Place):
                out.end()
        return place

    def leave(self, call_id: str) -> None:
        """A call waits no more, whatever has become of it."""
        place = self.places.pop(call_id, None)
        if place is not None:
            self._step_out(place)

    def arm(self, limiter: Limiter) -> None:
        """Call whoever is first in line, now or when there is room for it."""
        timer = self._timers.pop(limiter, None)
        if timer is not None:
            timer.cancel()
        first = limiter.turns.first
        if not isinstance(first, Place):
            return
        now_ns = self.steady_ns()
        if first.amount > limiter.burst or limiter.fits(first.amount, now_ns):
            first.call()
        elif limiter.rate.unit != "at_once":  # of calls at once the next that ends arms it
            left_ms = (limiter.free_at(first.amount, 0, now_ns) - now_ns) // NANOS_PER_MS + 1
            self._timers[limiter] = asyncio.get_running_loop().call_later(left_ms / 1000, self.arm, limiter)

    def _served(self, place: Place) -> None:
        self.places.pop(place.call_id, None)
        limiter, place.limiter = place.limiter, None
        if limiter is not None:
            limiter.turns.serve(place)
            self.arm(limiter)

    def _step_out(self, place: Place) -> None:
        limiter, place.limiter = place.limiter, None
        if limiter is not None:
            limiter.turns.leave(place)
            self.arm(limiter)
