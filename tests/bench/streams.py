"""Streams: as fast as they go, at the pace of a model, and open with nothing to say.

They ask for as much output as the model can have, as coding agents do, and hold it in slices; the same ones hold it in
full, and pass through nginx, in turn.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import cast

import httptools
import uvloop

from tests.bench.figures import Aim, Figure, ratios
from tests.bench.load import LoadFailed
from tests.bench.machine import cpu_ns, memory_kib, written_bytes
from tests.bench.provider import BURST_EVENTS, MARK, PACED_EVENTS, PACED_EVENTS_PER_S
from tests.bench.run import Bench
from tests.bench.servers import Contestant, comptroller, nginx, nginx_program
from tests.bench.world import MOST_OUTPUT

PART = "streams"
BURSTS = 64
PACED = 200
OPEN = 1000
OPEN_QUICK = 100
FULL = "prefer: hold=full\r\n"
_EVENT = b"data: {"
_DONE = b"data: [DONE]"
_GIVEN_UP_S = 60.0
KIB_A_STREAM = Aim("under 40", most=40.0)
_LAST = 2  # events behind the words: the end, and the usage


@dataclass
class Heard:
    """What all callers of streams heard."""

    events: int = 0
    streams: int = 0
    wrong: list[str] = field(default_factory=list[str])


class Listener(asyncio.Protocol):
    """One kept connection that asks for a stream, hears it to its end and asks again until it is told to stop."""

    def __init__(self, request: bytes, events: int, heard: Heard) -> None:
        self._request = request
        self._expected = events
        self._heard = heard
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._tail = b""
        self._events = 0
        self._marked = self._done = False
        self.stopping = False
        self.first = asyncio.get_running_loop().create_future()
        self.gone = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.stopping:
            self._heard.wrong.append("the connection ended before the stream")
        for each in (self.first, self.gone):
            if not each.done():
                each.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        text = self._tail + body
        events = text.count(_EVENT)
        self._tail = text[-(len(_DONE) - 1) :]
        events -= self._tail.count(_EVENT)  # it is counted with what comes next
        self._events += events
        self._marked = self._marked or MARK in text
        self._done = self._done or _DONE in text
        if not self.first.done():
            self.first.set_result(None)

    def on_message_complete(self) -> None:
        self._events += self._tail.count(_EVENT)
        status = self._parser.get_status_code()
        if status != 200 or self._events != self._expected or not (self._marked and self._done):
            self._heard.wrong.append(f"status {status}, {self._events} of {self._expected} events")
            self.stopping = True
        self._heard.events += self._events
        self._heard.streams += 1
        self._tail, self._events, self._marked, self._done = b"", 0, False, False
        self._parser = httptools.HttpResponseParser(self)
        assert self._transport is not None
        if self.stopping:
            self._transport.close()
        else:
            self._transport.write(self._request)

    def leave(self) -> None:
        assert self._transport is not None
        self.stopping = True
        self._transport.abort()


@dataclass
class Rounds:
    """What the rounds of one contestant came to."""

    cpu_us: list[float] = field(default_factory=list[float])  # of an event
    per_s: list[float] = field(default_factory=list[float])
    written_kib: list[float] = field(default_factory=list[float])  # of a stream


def measure(bench: Bench) -> list[Figure]:
    sliced = bench.ours("power")
    full = replace(sliced, name=f"{sliced.name}, held in full", headers=FULL)
    contestants = [sliced, full, *bench.nginx()]
    burst, paced = BURST_EVENTS + _LAST, PACED_EVENTS + _LAST
    bench.warm_up(contestants, lambda each, seconds: uvloop.run(listen(each, "bench-burst", burst, BURSTS, seconds)))
    pace = f"{PACED} at {PACED_EVENTS_PER_S} events/s"
    return [
        *_talking(bench, contestants, "bench-burst", burst, BURSTS, f"{BURSTS} back to back"),
        *_talking(bench, contestants, "bench-paced", paced, PACED, pace),
        *_silent(bench),
    ]


def _talking(
    bench: Bench, contestants: Sequence[Contestant], model: str, events: int, number: int, what: str
) -> list[Figure]:
    """CPU for each event, how many came in a second, and what was written for each stream, in turn."""
    rounds = {each.name: Rounds() for each in contestants}
    for turn in range(bench.rounds):
        for each in contestants:
            found = rounds[each.name]
            before, written, began = cpu_ns(each.pid), written_bytes(each.pid), time.perf_counter()
            heard = uvloop.run(listen(each, model, events, number, bench.round_s))
            took_s = time.perf_counter() - began
            bench.catch_up(each)
            found.cpu_us.append((cpu_ns(each.pid) - before) / heard.events / 1e3)
            found.per_s.append(heard.events / took_s)
            found.written_kib.append((written_bytes(each.pid) - written) / heard.streams / 1024)
            bench.say(f"  round {turn + 1}: {what}: {each.name}: {found.cpu_us[-1]:.1f} us of CPU an event")
    return _talked(rounds, what)


def _talked(rounds: Mapping[str, Rounds], what: str) -> list[Figure]:
    figures = [
        Figure(PART, f"{what}, CPU per event: {name}", "us", each.cpu_us, note=f"{median(each.per_s):,.0f} events/s")
        for name, each in rounds.items()
    ]
    nginx = rounds.get("nginx")
    if nginx is not None:
        figures += [
            Figure(PART, f"{what}, CPU per event, times nginx: {name}", "x", ratios(each.cpu_us, nginx.cpu_us))
            for name, each in rounds.items()
            if each is not nginx
        ]
    figures += [
        Figure(PART, f"{what}, written per stream, to files and sockets: {name}", "KiB", each.written_kib)
        for name, each in rounds.items()
    ]
    return figures


async def listen(contestant: Contestant, model: str, events: int, number: int, seconds: float) -> Heard:
    heard = Heard()
    listeners = await _connect(contestant, model, events, number, heard)
    await asyncio.sleep(seconds)  # sleep: how long the round lasts
    for each in listeners:
        each.stopping = True
    await asyncio.wait([each.gone for each in listeners], timeout=_GIVEN_UP_S)
    if heard.wrong or heard.streams < number:
        raise LoadFailed(f"{contestant.name}: {heard.streams} whole streams of {number}: {heard.wrong[:3]}")
    return heard


async def _connect(contestant: Contestant, model: str, events: int, number: int, heard: Heard) -> list[Listener]:
    asked = {"stream": True, "stream_options": {"include_usage": True}, "max_completion_tokens": MOST_OUTPUT}
    requests = contestant.requests(model, **asked)
    loop = asyncio.get_running_loop()
    listeners: list[Listener] = []
    for each in range(number):
        request = requests[each % len(requests)]
        _, listener = await loop.create_connection(
            lambda request=request: Listener(request, events, heard), "127.0.0.1", contestant.port
        )
        listeners.append(listener)
    return listeners


def _silent(bench: Bench) -> list[Figure]:
    """Memory that a stream takes which is open and says nothing, in processes that have done nothing before."""
    with comptroller(bench.folder / "open", bench.provider_port, bench.cores) as ours:
        figures = _memory(bench, ours, KIB_A_STREAM)
    if nginx_program() is not None:
        with nginx(bench.folder / "open-nginx", bench.provider_port, bench.cores) as theirs:
            figures += _memory(bench, theirs, None)
    return figures


def _memory(bench: Bench, contestant: Contestant, aim: Aim | None) -> list[Figure]:
    number = OPEN_QUICK if bench.quick else OPEN
    uvloop.run(_hold_open(contestant, 1))
    before = memory_kib(contestant.pid)
    after = uvloop.run(_hold_open(contestant, number))
    rss, pss = (now - then for now, then in zip(after, before, strict=True))
    bench.say(f"  {number} open: {contestant.name}: {rss / number:.1f} KiB of RSS a stream")
    what, note = f"{number} open, memory of each: {contestant.name}", f"PSS {pss / number:.1f} KiB"
    return [Figure(PART, what, "KiB", [rss / number], aim, note)]


async def _hold_open(contestant: Contestant, number: int) -> tuple[int, int]:
    """Memory of the contestant while so many streams are open and have all said their first word."""
    heard = Heard()
    listeners = await _connect(contestant, "bench-open", 0, number, heard)
    _, silent = await asyncio.wait([each.first for each in listeners], timeout=_GIVEN_UP_S)
    memory = memory_kib(contestant.pid)
    for each in listeners:
        each.leave()
    await asyncio.wait([each.gone for each in listeners], timeout=_GIVEN_UP_S)
    if silent or heard.wrong:
        raise LoadFailed(f"{contestant.name}: {len(silent)} of {number} streams said nothing: {heard.wrong[:3]}")
    return memory
