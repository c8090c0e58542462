"""Lines of waiting calls: whose turn it is, who has to leave, and that nobody waits for what is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from comptroller.core.budget.scope import Facts
from comptroller.core.instant import NANOS_PER_SECOND as SECOND
from comptroller.core.rate.limits import Blocked, Came, Met, binding, blocking, wait_for
from comptroller.core.rate.rate import Rate, parse_pace
from comptroller.flow.pace import Paced, Pacer, Share, Turn

FACTS = Facts(({"identity": "agent/scout", "team": "search"},), {}, ("all",))


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = SECOND

    def now_ns(self) -> int:
        return self.now

    def steady_ns(self) -> int:
        return self.now


class Sender:
    """A caller that can hang up."""

    def __init__(self) -> None:
        self.on_gone: Callable[[], None] | None = None

    def watch(self, on_gone: Callable[[], None]) -> None:
        self.on_gone = on_gone

    def unwatch(self) -> None:
        self.on_gone = None

    def hang_up(self) -> None:
        assert self.on_gone is not None
        self.on_gone()


def rate(limit: str, burst: int = 1, wait_ms: int = 60_000, name: str = "r") -> Rate:
    return Rate(name, {"team": ("search",)}, parse_pace(limit), burst, None, "hard", "caller", wait_ms)


class House:
    """A pacer with one rate, and calls that come to it as the story lets them."""

    def __init__(self, of: Rate) -> None:
        self.clock = Clock()
        self.pacer = Pacer(self.clock, [of])
        self.shares: dict[str, Share] = {}

    @property
    def met(self) -> Met:
        return self.pacer.limits.met_by(FACTS, self.clock.steady_ns)

    @property
    def waiting(self) -> int:
        return sum(len(each.turns) for each in self.met.hard)

    def look(self, call: str, identity: str) -> list[Blocked]:
        place = self.pacer.places.get(call)
        return list(blocking(self.met, 0, self.clock.now, place, identity))

    async def come(self, call: str, identity: str = "agent/scout", sender: Any = None) -> str:
        """As flow/call.py admits a call: look, wait, look again."""
        try:
            while True:
                place, blocked = self.pacer.places.get(call), self.look(call, identity)
                if not blocked:
                    self.shares[call] = self.pacer.take(Paced(self.met, 0, self.clock.now, place))
                    return "in"
                waited_ns = 0 if place is None else self.clock.now - place.began_ns
                chosen = None if place is not None and place.spent else wait_for(blocked, waited_ns, self.clock.now)
                if chosen is None:
                    return f"refused by {binding(blocked).limiter.rate.name}"
                if not await Turn(self.pacer, call, identity, sender or Sender(), chosen).over():
                    return "gone"
        finally:
            self.pacer.leave(call)

    def leave(self, call: str) -> None:
        self.pacer.end(self.shares.pop(call).taken, Came(1, 0))


async def until(fact: Callable[[], bool]) -> None:
    """Let the others have their turn until this is so."""
    async with asyncio.timeout(30):
        while not fact():  # noqa: ASYNC110 - it is their turn that is waited for
            await asyncio.sleep(0)


async def test_the_next_in_line_comes_in_when_a_slot_is_free() -> None:
    house = House(rate("1 calls at once"))
    assert await house.come("a") == "in"
    second, third = asyncio.create_task(house.come("b")), asyncio.create_task(house.come("c"))
    await until(lambda: house.waiting == 2)
    house.leave("a")
    assert await second == "in"
    assert not third.done()
    house.leave("b")
    assert await third == "in"
    assert house.pacer.places == {}


async def test_a_caller_that_hangs_up_frees_its_place_and_takes_nothing() -> None:
    house, sender = House(rate("1 calls at once")), Sender()
    await house.come("a")
    second, third = asyncio.create_task(house.come("b", sender=sender)), asyncio.create_task(house.come("c"))
    await until(lambda: house.waiting == 2)
    sender.hang_up()
    assert await second == "gone"
    assert house.waiting == 1
    house.leave("a")
    assert await third == "in"


async def test_whoever_has_waited_for_as_long_as_it_may_is_refused() -> None:
    house = House(rate("1 calls at once", wait_ms=1))
    await house.come("a")
    assert await house.come("b") == "refused by r"
    assert house.waiting == 0


async def test_a_call_whose_turn_will_come_too_late_is_refused_at_once() -> None:
    house = House(rate("1 calls/minute", wait_ms=59_000))
    await house.come("a")
    assert await house.come("b") == "refused by r"
    house.clock.now += SECOND
    waits = asyncio.create_task(house.come("c"))
    await until(lambda: house.waiting == 1)
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    assert house.waiting == 0  # even then its place is free


async def test_a_rate_that_is_lifted_lets_everybody_in_that_waits_for_it() -> None:
    house = House(rate("1 calls/hour", wait_ms=60_000, burst=1))
    house.pacer.replace([rate("1 calls at once")])
    await house.come("a")
    waits = [asyncio.create_task(house.come(call)) for call in "bcd"]
    await until(lambda: house.waiting == 3)
    house.pacer.replace([])
    assert await asyncio.gather(*waits) == ["in", "in", "in"]


async def test_a_wider_limit_lets_in_as_many_as_it_has_room_for() -> None:
    house = House(rate("1 calls at once"))
    await house.come("a")
    waits = [asyncio.create_task(house.come(call)) for call in "bcd"]
    await until(lambda: house.waiting == 3)
    wider = rate("3 calls at once", burst=3)
    house.pacer.replace([wider])
    await until(lambda: house.waiting == 1)
    assert [each.result() for each in waits[:2]] == ["in", "in"]
    house.leave("a")
    assert await waits[2] == "in"


async def test_a_token_of_time_lets_the_next_in_and_nobody_overtakes_it() -> None:
    house = House(rate("60 calls/minute"))
    await house.come("a")
    first = asyncio.create_task(house.come("b", "agent/b"))
    await until(lambda: house.waiting == 1)
    house.clock.now += SECOND  # there is room for one, and somebody else comes before the first in line has noticed
    late = asyncio.create_task(house.come("c", "agent/c"))
    await until(lambda: house.waiting == 2)
    house.pacer.look_again()
    assert await first == "in"
    assert not late.done()
    house.clock.now += SECOND
    house.pacer.look_again()
    assert await late == "in"


async def test_a_full_line_has_room_for_an_identity_that_has_none_in_it() -> None:
    house = House(rate("1 calls at once"))
    (limiter,) = house.met.hard
    limiter.turns._most = 3
    await house.come("in")
    greedy = [asyncio.create_task(house.come(call, "agent/greedy")) for call in "abc"]
    await until(lambda: house.waiting == 3)
    polite = asyncio.create_task(house.come("p", "agent/polite"))
    assert await greedy[2] == "refused by r"
    assert await house.come("d", "agent/greedy") == "refused by r"
    house.leave("in")
    assert await greedy[0] == "in"
    house.leave("a")
    assert await polite == "in"
    house.leave("p")
    assert await greedy[1] == "in"
