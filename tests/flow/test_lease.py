"""The lease of a stream against a disk and rivals of every speed: what is on disk always covers what was seen."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.core.budget.hold import Amounts
from comptroller.core.budget.tree import BudgetTree, Hold
from comptroller.core.pricing.estimate import Asked, Estimate
from comptroller.core.pricing.rates import Rates
from comptroller.core.pricing.tariff import Tariff
from comptroller.core.pricing.usage import Usage
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.lease import AHEAD_S, Lease
from comptroller.flow.live import Line
from comptroller.flow.notices import Unheard
from comptroller.flow.records import Extended, Finding
from comptroller.flow.reservation import Reservation
from comptroller.flow.slices import AT_ONCE, amounts
from tests.core.test_budget_tree import T0, a_budget, facts

TAIL = 40
INPUT = 5_000
RATES = Tariff({"default": Rates(input=3_000_000_000, output=15_000_000_000, cache_read=300_000_000)})
FIRST = 4_000


class Disk:
    """Implements flow.journal.Journal: events wait until the disk is done with them, or fails."""

    epoch = 1

    def __init__(self, held: Amounts) -> None:
        self.durable = held
        self.findings: list[str] = []
        self._waiting: list[tuple[Extended, asyncio.Future[None] | None]] = []

    def commit(self, event: Extended) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, future))
        return future

    def append(self, event: Extended | Finding) -> None:
        if isinstance(event, Finding):
            self.findings.append(event.code)
        else:
            self._waiting.append((event, None))

    async def write(self) -> None:
        for event, future in self._waiting:
            self.durable = self.durable.plus(event.more)
            if future is not None:
                future.set_result(None)
        self._waiting = []
        await asyncio.sleep(0)  # sleep: callbacks run

    async def fail(self) -> None:
        """Those that somebody waits for never were; the others stay at the head."""
        for _, future in self._waiting:
            if future is not None:
                future.set_exception(LedgerUnavailableError("full"))
        self._waiting = [(event, future) for event, future in self._waiting if future is None]
        await asyncio.sleep(0)  # sleep: callbacks run


class Seen:
    """What a meter has seen."""

    def __init__(self) -> None:
        self.seen_output_tokens = 0
        self.started = self.done = self.usage_final = False
        self.input_usage: Usage | None = None


class World:
    def __init__(self, limit: int, money: int, factor_bp: int = 10_000, rates: Tariff = RATES) -> None:
        self.tree = BudgetTree([a_budget("usd", limit=money), a_budget("tokens", unit="tokens", limit=10**9)])
        self.draw = self.tree.drawn_by(facts(), T0)
        self.bound = Estimate(INPUT, 1, limit, 1, 0, 3_750_000_000, 15_000_000_000, factor_bp)
        first = min(limit, FIRST)
        hold = self.tree.hold("a.1", self.draw, amounts(self.bound, first))
        assert isinstance(hold, Hold)
        self.hold = hold
        self.disk = Disk(hold.amounts)
        self.line = Line()
        self.meter: Any = Seen()
        asked = Asked(model="m", stream=True, text_tokens=INPUT)
        request = SimpleNamespace(asked=asked)
        decision = SimpleNamespace(provider=SimpleNamespace(name="p"), name="m")
        reservation = Reservation(
            *("a", "a.1", None, None, None, decision, request, asked, rates, self.bound, limit, hold, (), T0, True),  # type: ignore[arg-type]
            whole_output=limit, held_output=first, tail_tokens=TAIL, leased=True,
        )  # fmt: skip
        clock = SimpleNamespace(now_ns=lambda: T0)
        gate: Any = SimpleNamespace(tree=self.tree, journal=self.disk, clock=clock, notices=Unheard())
        self.lease = Lease(gate, reservation, self.line)

    def come(self, tokens: int, told: Usage | None = None) -> None:
        meter = self.meter
        meter.input_usage = told or meter.input_usage
        meter.seen_output_tokens += tokens
        meter.started = meter.started or tokens > 0
        if meter.seen_output_tokens > self.lease.due:
            self.lease.look(meter)

    @property
    def cut(self) -> bool:
        return self.line.reason is not None

    def check(self) -> None:
        for window in self.draw.windows:
            assert window.posted + window.held <= window.budget.limit
            assert window.held >= self.hold.amounts.of(window.budget.unit)
        whole = amounts(self.lease.bound, self.bound.wanted_output_tokens)
        needed = amounts(self.lease.bound, self.meter.seen_output_tokens + TAIL)
        # A nano may be lost where two amounts are rounded up apart.
        assert needed.least(whole).usd <= self.disk.durable.usd + 2
        assert needed.least(whole).tokens <= self.disk.durable.tokens + 2


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.integers(0, AT_ONCE)),
        st.tuples(st.just("write"), st.just(0)),
        st.tuples(st.just("fail"), st.just(0)),
        st.tuples(st.just("take"), st.integers(0, 40_000_000)),
        st.tuples(st.just("give"), st.just(0)),
        st.tuples(st.just("told"), st.integers(1, INPUT)),
    ),
    min_size=20,
    max_size=150,
)


@settings(max_examples=150, deadline=None)
@given(
    steps=STEPS, limit=st.sampled_from([500, 4_100, 30_000]), money=st.sampled_from([90_000_000, 150_000_000, 10**9]),
    factor_bp=st.sampled_from([10_000, 17_777]),
)  # fmt: skip
def test_what_is_on_disk_covers_what_was_seen_until_the_cut(
    steps: list[tuple[str, int]], limit: int, money: int, factor_bp: int
) -> None:
    asyncio.run(_live_through(steps, limit, 2 * money if factor_bp > 10_000 else money, factor_bp))


async def _live_through(steps: list[tuple[str, int]], limit: int, money: int, factor_bp: int) -> None:
    world = World(limit, money, factor_bp)
    rivals: list[str] = []

    async def guarded() -> None:
        with world.line:
            for what, number in steps:
                match what:
                    case "come":
                        world.come(number)
                    case "told":
                        world.come(0, Usage(number, 0, cached_tokens=number // 2, service_tier="default"))
                    case "take":
                        if isinstance(world.tree.hold(f"r{len(rivals)}", world.draw, Amounts(usd=number)), Hold):
                            rivals.append(f"r{len(rivals)}")
                    case "give" if rivals:
                        world.tree.settle(rivals.pop(), Amounts())
                    case "write":
                        await world.disk.write()
                    case _:
                        await world.disk.fail()
                world.check()
                if world.cut:
                    return

    await guarded()
    world.lease.close()
    await world.disk.fail()  # whatever was on its way: it must not touch what has ended
    world.tree.settle("a.1", Amounts(usd=1))
    for name in rivals:
        world.tree.settle(name, Amounts())
    assert [window.held for window in world.draw.windows] == [0, 0]


async def run(world: World, steps: Callable[[World], Any]) -> None:
    with world.line:
        await steps(world)


async def test_it_asks_ahead_and_a_disk_that_keeps_up_never_cuts() -> None:
    async def steps(world: World) -> None:
        for _ in range(1_000):
            world.come(30)
            world.check()
            await world.disk.write()

    world = World(30_000, 10**9)
    await run(world, steps)
    assert not world.cut
    assert world.hold.amounts == amounts(world.bound, 30_000)  # all of its limit by now: nothing more to ask for


async def test_a_disk_that_never_answers_ends_it_before_its_slice() -> None:
    async def steps(world: World) -> None:
        while not world.cut:
            world.come(30)
            world.check()
        await asyncio.sleep(1)  # sleep: it is cut here

    world = World(30_000, 10**9)
    await run(world, steps)
    assert world.line.reason == "capped"
    assert "on disk in time" in world.lease.why
    assert FIRST - TAIL - 2 * AT_ONCE < world.meter.seen_output_tokens <= FIRST - TAIL


async def test_the_last_of_the_money_is_used() -> None:
    """What is left is less than a piece: it is taken all the same."""

    async def steps(world: World) -> None:
        while not world.cut:
            world.come(30)
            world.check()
            await world.disk.write()

    whole = 90_000_000
    world = World(30_000, whole)
    await run(world, steps)
    assert world.lease.why == "the budget usd has no more for it"
    assert world.draw.windows[0].held > whole - 15_000
    affordable = world.bound.affordable_by_money(whole)
    assert affordable - TAIL - 2 * AT_ONCE < world.meter.seen_output_tokens <= affordable - TAIL


async def test_money_that_is_given_back_saves_it() -> None:
    async def steps(world: World) -> None:
        left = world.draw.left(world.draw.windows[0])
        world.tree.hold("rival", world.draw, Amounts(usd=left))
        while world.meter.seen_output_tokens < FIRST - TAIL - AT_ONCE - 60:
            world.come(30)
            await world.disk.write()
        world.tree.settle("rival", Amounts())
        for _ in range(100):
            world.come(30)
            world.check()
            await world.disk.write()

    world = World(30_000, 10**9)
    await run(world, steps)
    assert not world.cut


async def test_the_input_is_given_back_at_what_it_cost() -> None:
    async def steps(world: World) -> None:
        world.come(0, Usage(1_000, 0, cached_tokens=900, service_tier="default"))
        await world.disk.write()

    world = World(30_000, 10**9)
    await run(world, steps)
    exact = 100 * 3_000 + 900 * 300
    assert world.hold.amounts == Amounts(exact + FIRST * 15_000, 1_000 + FIRST, 1, FIRST)
    assert world.disk.durable == world.hold.amounts


@pytest.mark.parametrize(
    "told",
    [Usage(0, 0), Usage(INPUT // 17, 0, service_tier="default")],
    ids=["nothing", "a stand-in, far below its bytes"],
)
async def test_a_report_that_gives_nothing_back(told: Usage) -> None:
    world = World(30_000, 10**9)
    before = world.hold.amounts
    await run(world, _hears(told))
    assert world.hold.amounts == before


async def test_an_input_above_its_bound_is_held_and_found_at_once() -> None:
    async def steps(world: World) -> None:
        world.come(0, Usage(2 * INPUT, 0, service_tier="default"))
        assert world.disk.findings == ["input_above_bound"]
        await world.disk.write()
        world.come(30)
        await world.disk.write()

    world = World(30_000, 10**9)
    await run(world, steps)
    assert not world.cut
    assert world.hold.amounts == Amounts(2 * INPUT * 3_000 + FIRST * 15_000, 2 * INPUT + FIRST, 1, FIRST)
    assert world.disk.durable == world.hold.amounts


@pytest.mark.parametrize("what_fails", ["money", "disk"])
async def test_an_input_above_all_that_can_be_held_ends_the_stream(what_fails: str) -> None:
    """It is billed; what would come beside it is not paid for."""

    async def steps(world: World) -> None:
        world.come(0, Usage(20 * INPUT, 0, service_tier="default"))
        await world.disk.fail()
        world.come(30)
        await asyncio.sleep(1)  # sleep: it is cut here

    world = World(30_000, 90_000_000 if what_fails == "money" else 10**9)
    await run(world, steps)
    assert world.line.reason == "capped"
    assert ("more for its input" in world.lease.why) == (what_fails == "money")
    assert world.lease.bound.input_tokens == 20 * INPUT


@pytest.mark.parametrize(
    ("told", "usd"),
    [
        (Usage(1_000, 0, cached_tokens=900).all_written(long=False), 100 * 3_750 + 900 * 300),
        (Usage(1_000, 0, cached_tokens=900, cache_write_tokens=60), 40 * 3_000 + 60 * 3_750 + 900 * 300),
    ],
    ids=["writes may follow", "writes are told"],
)
async def test_what_was_not_read_from_the_cache_may_have_been_written_to_it(told: Usage, usd: int) -> None:
    """Some servers tell cache writes with their last report."""
    rates = Tariff({"default": Rates(3_000_000_000, 15_000_000_000, cache_read=300_000_000, cache_write=3_750_000_000)})
    world = World(30_000, 10**9, rates=rates)
    await run(world, _hears(told))
    assert world.hold.amounts.usd == usd + FIRST * 15_000


def _hears(told: Usage) -> Callable[[World], Any]:
    async def steps(world: World) -> None:
        world.come(0, told)

    return steps


async def test_more_at_once_than_was_held_goes_on_where_there_is_money() -> None:
    async def steps(world: World) -> None:
        world.come(0)
        world.come(20_000)
        await world.disk.write()
        world.come(30)
        world.check()

    world = World(30_000, 10**9)
    await run(world, steps)
    assert not world.cut


async def test_burst_after_burst_does_not_run_on_without_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    async def steps(world: World) -> None:
        world.come(FIRST)
        world.come(2 * AT_ONCE)
        assert not world.cut
        loop = asyncio.get_running_loop()
        later_s = loop.time() + 2 * AHEAD_S
        monkeypatch.setattr(loop, "time", lambda: later_s)
        world.come(2 * AT_ONCE)
        monkeypatch.undo()

    world = World(30_000, 10**9)
    await run(world, steps)
    assert world.cut


async def test_more_at_once_than_was_held_is_cut_where_there_is_none_and_known() -> None:
    async def steps(world: World) -> None:
        world.come(20_000)
        await asyncio.sleep(1)  # sleep: it is cut here

    world = World(30_000, 90_000_000)
    await run(world, steps)
    assert world.line.reason == "capped"
    assert world.lease.left_behind(world.meter)
