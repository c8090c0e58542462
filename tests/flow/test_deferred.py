"""Deferred work over its whole life.

Whatever the provider, the network, operators and our own deaths do in between, each piece is settled once, by what was
used, and what is held is what is not settled.
"""

import asyncio
import json
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from comptroller.core.ids import make_id
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.pricing.deferral import Charged, Deferral, DeferredEnd, Ended, Line, Pending, Report
from comptroller.core.pricing.rates import Rates
from comptroller.core.pricing.terms import Terms
from comptroller.core.pricing.usage import Usage
from comptroller.core.work.stored import StoredObject
from comptroller.flow.deferred import Work, go_on, is_worked_on
from comptroller.flow.gate import Gate
from comptroller.flow.poller import GONE_S, Poller
from comptroller.flow.records import Deferred, Held
from comptroller.flow.runs import Pulse
from comptroller.flow.upstream import UpstreamFailure, UpstreamRequest
from tests.control.house import House, opened, posted, written
from tests.harness.configuration import budget

HELD = 1_000_000
DAY_S = 86_400
LARGE, SMALL = Rates(input=1_000_000_000, output=2_000_000_000), Rates(input=500_000_000, output=1_000_000_000)
TERMS = {"large": Terms({"default": LARGE}), "small": Terms({"default": SMALL})}
FILES: Any = {"budgets": [budget("all", "100.00 USD", "day")]}


class Clock:
    """Time that passes when a test says so."""

    def __init__(self, start_ns: int) -> None:
        self._now_ns = start_ns
        self._made = 0

    def now_ns(self) -> int:
        self._now_ns += 1
        return self._now_ns

    def expiry_ns(self) -> int:
        return self._now_ns

    def steady_ns(self) -> int:
        return self._now_ns

    def new_id(self, prefix: str) -> str:
        self._made += 1
        return make_id(prefix, self.now_ns(), self._made)

    def pass_s(self, seconds: float) -> None:
        self._now_ns += int(seconds * NANOS_PER_SECOND)


class Jobs:
    """Implements flow.dialect.Deferring: reports in JSON, and results of a line each."""

    family = "openai"
    headers: tuple[tuple[bytes, bytes], ...] = ((b"x-jobs", b"1"),)
    lasts_s = DAY_S
    first_poll_s = 2.0
    most_poll_s = 60.0

    def poll_path(self, object_id: str) -> str:
        return f"/v1/jobs/{object_id}"

    def cancel_path(self, object_id: str) -> str | None:
        return f"/v1/jobs/{object_id}/cancel"

    def read_report(self, body: bytes, terms: Mapping[str, Terms]) -> Report | None:
        said: Any = json.loads(body)
        if "ended" not in said:
            return Pending() if "pending" in said else None
        lines = tuple(self._line(each) for each in said.get("lines", ()))
        return Ended(said["ended"], lines, tuple(said.get("results", ())))

    def results(self, terms: Mapping[str, Terms]) -> "Jobs.Reader":
        return Jobs.Reader()

    @staticmethod
    def _line(said: Any) -> Line:
        usage = None if said.get("usage") is None else Usage(*said["usage"])
        return Line(said["model"], usage)

    class Reader:
        """A line each, whatever pieces they come in."""

        def __init__(self) -> None:
            self._rest = b""

        def feed(self, chunk: bytes) -> Iterable[Line]:
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            return [Jobs._line(json.loads(line)) for line in lines if line]

        def finish(self) -> Iterable[Line]:
            return self.feed(b"\n")


class Provider:
    """Implements flow.upstream.Upstream: a provider that works on jobs, and the way to it."""

    def __init__(self) -> None:
        self.reports: dict[str, bytes] = {}  # by path
        self.results: dict[str, bytes] = {}
        self.cancels: list[str] = []
        self.asked: list[UpstreamRequest] = []
        self.trouble: str | None = None  # unreachable, busy, nonsense, cut

    def open(self, request: UpstreamRequest, *, buffer_limit_bytes: int, on_overflow: Callable[[], None]) -> Any:
        self.asked.append(request)
        return Answering(self, request)

    async def close(self) -> None:
        """Nothing is kept."""

    def begin(self, name: str) -> None:
        self.reports[f"/v1/jobs/{name}"] = b'{"pending": true}'

    def end(self, name: str, how: DeferredEnd, *lines: tuple[str, tuple[int, int] | None], apart: int = 0) -> None:
        """It ends, if it has not. `apart`: so many of the lines are in a file of their own."""
        if b"ended" in self.reports.get(f"/v1/jobs/{name}", b""):
            return
        said = [{"model": model, "usage": usage} for model, usage in lines]
        path = f"/v1/files/{name}"
        self.results[path] = b"\n".join(json.dumps(each).encode() for each in said[:apart])
        report = {"ended": how, "lines": said[apart:], "results": [path] if apart else []}
        self.reports[f"/v1/jobs/{name}"] = json.dumps(report).encode()


class Answering:
    """Implements flow.upstream.Exchange."""

    def __init__(self, provider: Provider, request: UpstreamRequest) -> None:
        self._provider = provider
        self._request = request
        self.status = 0
        self.headers: Sequence[tuple[bytes, bytes]] = ()
        self._body = b""
        self.written = True

    async def start(self) -> None:
        provider, path = self._provider, self._request.path
        await asyncio.sleep(0)  # sleep: others go on meanwhile
        if provider.trouble == "unreachable":
            raise UpstreamFailure("connect", "refused")
        if provider.trouble == "busy":
            self.status, self.headers = 503, ((b"retry-after", b"7"),)
            return
        if path.endswith("/cancel"):
            path = path.removesuffix("/cancel")
            provider.cancels.append(path)
            if path in provider.reports:
                provider.end(path.rsplit("/", 1)[1], "cancelled", ("large", (5, 1)))
        found = provider.reports.get(path, provider.results.get(path))
        self.status, self._body = (404, b"") if found is None else (200, found)
        if provider.trouble == "nonsense":
            self._body = b'{"nothing": 1}'

    async def read(self, limit_bytes: int) -> bytes:
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        for place in range(0, len(self._body), 7):
            if self._provider.trouble == "cut" and place > len(self._body) // 2:
                raise UpstreamFailure("cut", "in the middle")
            yield self._body[place : place + 7]

    def tap(self, through: Callable[[bytes], bytes]) -> None: ...

    def unread(self) -> bytes:
        return b""

    def abort(self) -> None: ...

    def let_go(self) -> None: ...


class World:
    """A gateway that dies and starts again, and the provider behind it."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self.clock = clock
        self.provider = Provider()
        self.calls: dict[str, str] = {}  # by the name of the job
        self._lives = 0
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        self.house: House = await self._stack.enter_async_context(opened(self._folder / str(self._lives), **FILES))
        gate = self.gate
        gate.clock, gate.upstream, gate.deferring = self.clock, self.provider, {"openai_chat": Jobs()}
        for held in await self.house.store.deferred_holds():
            go_on(gate, held, await self.house.store.lineage(held.facts.session))
        self.poller = Poller(gate, random.Random(7))

    async def die(self) -> None:
        """What is on disk now is all that the next life has."""
        await self.house.gate.journal.commit(
            Deferred("call_nobody.1", deferral("nothing", 0))
        )  # all before it is there
        before, self._lives = self._folder / str(self._lives), self._lives + 1
        shutil.copytree(before, self._folder / str(self._lives))
        await self.stop()
        await self.start()

    async def stop(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    @property
    def gate(self) -> Gate:
        return self.house.gate

    async def begin(self, usd: int = HELD, pulses: Sequence[Pulse] = ()) -> str:
        """A call whose provider goes on, as the story leaves it. `pulses`: of its sessions."""
        gate, name = self.gate, f"job_{len(self.calls)}"
        call = await self.house.hold(usd, tokens=10_000)
        gate.live.remove(call.live)
        waits = deferral(name, gate.clock.now_ns())
        await gate.journal.commit(Deferred(call.hold.id, waits))
        held = Held(call.hold.id, call.facts, 1, call.hold.amounts, call.hold.draw.keys, 4, 6, None, 1, 10_000)
        work = Work(gate, held, waits, call.live.facts, call.live.stop_keys, pulses)
        gate.live.defer(work)
        self.provider.begin(name)
        self.calls[name] = call.facts.call_id
        return name

    def work(self, name: str) -> Work | None:
        found = [work for work in self.gate.live.deferred if work.object_id == name]
        return found[0] if found and isinstance(found[0], Work) else None

    async def poll(self, *, passing_s: float = 400.0) -> None:
        """Ask for all that is due by then."""
        self.clock.pass_s(passing_s)
        for work in self.poller.due(self.clock.now_ns()):
            await self.poller.ask(work)

    async def row(self, name: str) -> Any:
        await self.house.store.fold()
        return await self.house.store.call(self.calls[name])

    def held(self) -> int:
        return sum(window.held for window in self.gate.tree.windows() if window.budget.name == "all")

    async def check(self) -> None:
        """The books and the memory say the same, and each hold stands once."""
        open_now = {work.object_id for work in self.gate.live.deferred}
        assert self.held() == HELD * len(open_now)
        charged = 0
        for name in self.calls:
            record = await self.row(name)
            assert (record.state == "open") == (name in open_now)
            charged += record.charge.usd if record.charge is not None else 0
        assert posted(self.house, "all").get("", charged) == charged  # a window that nobody asked for is not there yet
        assert sum(each.usd for each in (await written(self.house, "all")).values()) == charged


def deferral(name: str, now_ns: int) -> Deferral:
    return Deferral(name, "large", now_ns, now_ns + DAY_S * NANOS_PER_SECOND, TERMS)


@asynccontextmanager
async def living(folder: Path) -> AsyncIterator[World]:
    from time import time_ns

    world = World(folder, Clock(time_ns() // (DAY_S * NANOS_PER_SECOND) * DAY_S * NANOS_PER_SECOND + NANOS_PER_SECOND))
    await world.start()
    try:
        yield world
    finally:
        await world.stop()


ENDS: Sequence[tuple[DeferredEnd, tuple[tuple[str, tuple[int, int] | None], ...], int]] = (
    ("completed", (("large", (100, 50)),), 200_000),
    ("completed", (("large", (100, 50)), ("small", (100, 50)), ("large", (0, 0))), 300_000),
    ("completed", (("nobody", (100, 50)),), 200_000),  # the dearest
    ("provider_error", (("large", (100, 0)),), 100_000),
    ("completed", (), HELD),
    ("expired", (("large", (10, 0)), ("small", None)), HELD),
    ("cancelled", (), HELD),
)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(("how", "lines", "charge"), ENDS)
async def test_it_is_charged_by_its_lines_wherever_they_stand(
    tmp_path: Path, how: DeferredEnd, lines: tuple[tuple[str, tuple[int, int] | None], ...], charge: int, apart: bool
) -> None:
    async with living(tmp_path) as world:
        name = await world.begin()
        await world.poll()
        await world.check()
        world.provider.end(name, how, *lines, apart=len(lines) if apart else 0)
        await world.poll()
        record = await world.row(name)
        known = all(usage is not None for _, usage in lines) and bool(lines)
        assert (record.state, record.outcome, record.charge.usd) == ("posted" if known else "presumed", how, charge)
        await world.check()
        assert [(each.origin.port, dict(each.headers)[b"x-jobs"]) for each in world.provider.asked[:1]] == [
            (8788, b"1")
        ]


async def test_what_came_of_it_cannot_be_deleted_before_it_is_charged(tmp_path: Path) -> None:
    """A file of results that is gone before it was read here would leave nothing to charge by."""
    async with living(tmp_path) as world:
        name = await world.begin()
        file, other = (
            StoredObject("file-1", "file", "sandbox", "large", "ant", "ses", "ses", "", call, 1)
            for call in (world.calls[name], "call_of_its_upload")
        )
        assert (is_worked_on(world.gate, file), is_worked_on(world.gate, other)) == (True, False)
        world.provider.end(name, "completed", ("large", (1, 1)))
        await world.poll()
        assert not is_worked_on(world.gate, file)


async def test_what_failed_after_a_part_of_it_was_answered_is_no_free_call(tmp_path: Path) -> None:
    """That a provider takes nothing for errors is not said of what it answered before."""
    async with living(tmp_path) as world:
        world.gate.providers = {name: replace(each, bills_errors=False) for name, each in world.gate.providers.items()}
        for lines, state in (
            ([("large", (100, 50)), ("large", None)], "presumed"),
            ([("large", None)], "presumed"),
            ([], "voided"),
        ):
            name = await world.begin()
            world.provider.end(name, "provider_error", *lines)
            await world.poll()
            record = await world.row(name)
            assert (record.state, record.charge.usd) == (state, HELD if state == "presumed" else 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.just(0)),
        st.tuples(st.just("end"), st.integers(0, 5)),
        st.tuples(st.just("poll"), st.integers(0, 600)),
        st.tuples(st.just("trouble"), st.sampled_from([0, 1, 2, 3, 4])),
        st.tuples(st.just("stop"), st.integers(0, 5)),
        st.tuples(st.just("die"), st.just(0)),
        st.tuples(st.just("lose"), st.integers(0, 5)),
    ),
    min_size=8,
    max_size=24,
)
TROUBLES = (None, "unreachable", "busy", "nonsense", "cut")


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(steps=STEPS, apart=st.booleans())
def test_whatever_happens_each_is_settled_once_and_all_in_the_end(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], apart: bool
) -> None:
    asyncio.run(_live_through(tmp_path_factory.mktemp("life"), steps, apart))


async def _live_through(folder: Path, steps: list[tuple[str, int]], apart: bool) -> None:
    async with living(folder) as world:
        for what, number in [("begin", 0), *steps]:
            await _happens(world, what, number, apart)
            await world.check()
        world.provider.trouble = None
        for name in world.calls:
            world.provider.end(name, "completed", ("large", (100, 50)))
        for _ in range(4):
            await world.poll(passing_s=GONE_S + 1)
        await world.check()
        assert world.gate.live.deferred == ()
        for name in world.calls:
            record = await world.row(name)
            charges = {"completed": 200_000, "stopped": 7_000, "cancelled": 7_000, "unseen": HELD}
            assert record.charge.usd == charges[record.outcome]


async def _happens(world: World, what: str, number: int, apart: bool) -> None:
    names = list(world.calls)
    name = names[number % len(names)] if names else ""
    match what:
        case "begin":
            await world.begin()
        case "end":
            world.provider.end(name, "completed", ("large", (100, 50)), apart=1 if apart else 0)
        case "poll":
            await world.poll(passing_s=number)
        case "trouble":
            world.provider.trouble = TROUBLES[number]
        case "lose":
            world.provider.reports.pop(f"/v1/jobs/{name}", None)
        case "die":
            await world.die()
        case _:
            work = world.work(name)
            if work is not None:
                work.stop(None)


async def test_who_goes_on_for_longer_than_such_work_lasts_is_presumed_and_said(tmp_path: Path) -> None:
    async with living(tmp_path) as world:
        name = await world.begin()
        await world.poll(passing_s=DAY_S / 2)
        assert world.work(name) is not None
        await world.poll(passing_s=DAY_S)
        record = await world.row(name)
        assert (record.state, record.outcome, record.charge.usd) == ("presumed", "unseen", HELD)
        assert [each.code for each in await world.house.store.findings(10)] == ["deferred_unseen"]


@pytest.mark.parametrize("dies", [False, True])
async def test_it_is_posted_in_the_window_in_which_it_was_held(tmp_path: Path, dies: bool) -> None:
    async with living(tmp_path) as world:
        name = await world.begin()
        (first,) = (await world.row(name)).windows
        world.clock.pass_s(DAY_S)
        if dies:
            await world.die()
            assert world.held() == 0, "what is left of today is another matter"
        world.provider.end(name, "completed", ("large", (100, 50)))
        await world.poll(passing_s=10)
        assert {key: each.usd for key, each in (await written(world.house, "all")).items()} == {first: 200_000}


async def test_who_cannot_be_reached_is_asked_less_and_less_and_then_as_often_as_before(tmp_path: Path) -> None:
    async with living(tmp_path) as world:
        name = await world.begin()
        world.provider.trouble = "unreachable"
        waits: list[float] = []
        for _ in range(12):
            await world.poll(passing_s=301 * 1.3)
            work = world.work(name)
            assert work is not None
            waits.append((work.next_ns - world.clock.expiry_ns()) / NANOS_PER_SECOND)
        assert 1.5 < waits[0] < 2.5
        assert all(earlier * 1.2 < later for earlier, later in pairwise(waits[:7]))
        assert all(240 <= wait <= 360 for wait in waits[8:])
        world.provider.trouble = None
        await world.poll()
        work = world.work(name)
        assert work is not None
        assert work.next_ns - world.clock.expiry_ns() < 3 * NANOS_PER_SECOND


async def test_a_stop_is_tried_until_the_provider_has_heard_it(tmp_path: Path) -> None:
    async with living(tmp_path) as world:
        name = await world.begin()
        world.provider.trouble = "unreachable"
        await world.poll()
        assert world.gate.live.stop(lambda call: call.object_id == name) == 1  # type: ignore[attr-defined]
        await world.poll(passing_s=0)
        assert (world.provider.cancels, world.held()) == ([], HELD)
        world.provider.trouble = None
        await world.poll()
        assert len(world.provider.cancels) == 1
        record = await world.row(name)
        assert (record.outcome, record.state) == ("stopped", "posted")


async def test_its_sessions_are_at_work_until_it_is_settled(tmp_path: Path) -> None:
    async with living(tmp_path) as world:
        pulse = Pulse(1)
        name = await world.begin(pulses=[pulse])
        assert pulse.live == 1
        world.provider.end(name, "completed", ("large", (1, 1)))
        await world.poll()
        assert (pulse.live, pulse.at_ns) == (0, pytest.approx(world.clock.expiry_ns(), abs=1_000))


async def test_what_somebody_else_saw_meanwhile_is_not_settled_twice(tmp_path: Path) -> None:
    async with living(tmp_path) as world:
        name = await world.begin()
        world.provider.end(name, "completed", ("large", (100, 50)), apart=1)
        work = world.work(name)
        assert work is not None
        await asyncio.gather(world.poller.ask(work), world.poller.ask(work), world.poller.ask(work))
        await world.check()
        assert (await world.row(name)).charge.usd == 200_000


async def test_the_poller_asks_for_a_few_at_once_and_wakes_for_what_is_new(tmp_path: Path) -> None:
    async with living(tmp_path) as world:
        running = asyncio.create_task(world.poller.run())
        try:
            for name in [await world.begin() for _ in range(20)]:
                world.provider.end(name, "completed", ("small", (1, 1)))
            gone = asyncio.Event()
            loop = asyncio.get_running_loop()
            settled = world.gate.live.seen

            def seen(work: Any) -> None:
                settled(work)
                if not world.gate.live.deferred:
                    loop.call_soon(gone.set)

            world.gate.live.seen = seen  # type: ignore[method-assign]
            world.clock.pass_s(10)
            world.gate.wake_poller()
            async with asyncio.timeout(30):
                await gone.wait()
        finally:
            running.cancel()
        await world.check()


def test_lines_add_up_and_a_doubt_is_said() -> None:
    charged = Charged(TERMS)
    for line in (Line("large", Usage(1, 2, cached_tokens=1)), Line("small", Usage(10, 20))):
        charged.add(line)
    assert charged.usage == Usage(11, 22, cached_tokens=1, service_tier="default")
    assert (charged.nanos, charged.lines, charged.doubt) == (5_000 + 25_000, 2, None)
    charged.add(Line("small", None))
    charged.add(Line("small", Usage(1, 1, web_search_requests=1)))
    assert charged.doubt == ("usage_missing", "")
    dearer = Charged({"large": Terms({"default": LARGE}, service_tier="flex")})
    dearer.add(Line("large", Usage(1, 1, service_tier="flex")))
    assert dearer.doubt == ("tier_unpriced", "flex")
    unknown = Charged({"large": Terms({})})
    unknown.add(Line("large", Usage(1, 1)))
    assert (unknown.nanos, unknown.doubt, unknown.priced) == (0, None, False)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(deferral("a", 1)), type=Deferral) == deferral("a", 1)
