"""The load: callers on kept connections that check every answer, in a closed loop or at a fixed rate."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import cast

from tests.bench.provider import MARK

_OK = b"HTTP/1.1 200 "
_LENGTH = b"content-length: "
_GIVEN_UP_S = 30.0


class LoadFailed(Exception):
    """Answers were not what they must be: a number about them would mean nothing."""


@dataclass
class Load:
    """What callers did and saw."""

    calls: int = 0
    seconds: float = 0.0
    latencies_ns: list[int] = field(default_factory=list[int])
    first_ns: list[int] = field(default_factory=list[int])  # until the first word of the answer was there
    wrong: Counter[str] = field(default_factory=Counter[str])

    @property
    def per_s(self) -> float:
        return self.calls / self.seconds

    def percentile_ms(self, share: float) -> float:
        return _percentile_ms(self.latencies_ns, share)

    def first_percentile_ms(self, share: float) -> float:
        return _percentile_ms(self.first_ns, share)

    def checked(self, who: str) -> "Load":
        """Itself, if every answer was right. Raises LoadFailed."""
        if self.wrong or not self.calls:
            raise LoadFailed(f"{who}: {self.calls} right answers, {sum(self.wrong.values())} wrong: {self.wrong}")
        return self


def _percentile_ms(taken_ns: Sequence[int], share: float) -> float:
    ordered = sorted(taken_ns)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6


class Caller(asyncio.Protocol):
    """One kept connection: a request, its whole answer, and then whatever `then` does."""

    def __init__(self, load: Load, then: Callable[["Caller"], None]) -> None:
        self._load = load
        self._then = then
        self._transport: asyncio.Transport | None = None
        self._pending = b""
        self._waiting = self._leaving = False
        self._sent_ns = self._first_ns = 0
        self.gone = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:
            self._load.wrong["the connection ended before the answer"] += 1
        self.gone.set_result(None)

    def ask(self, request: bytes) -> None:
        assert self._transport is not None
        self._waiting = True
        self._first_ns = 0
        self._sent_ns = time.perf_counter_ns()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._pending:
            data = self._pending + data
        if not self._first_ns and MARK in data:
            self._first_ns = time.perf_counter_ns()
        if not _is_whole(data):
            self._pending = data
            return
        self._pending = b""
        self._waiting = False
        load = self._load
        if data.startswith(_OK) and MARK in data:
            load.calls += 1
            load.latencies_ns.append(time.perf_counter_ns() - self._sent_ns)
            load.first_ns.append(self._first_ns - self._sent_ns)
        else:
            load.wrong[data[:400].decode(errors="replace")] += 1
        if self._leaving:
            self.leave()
        else:
            self._then(self)

    def leave(self) -> None:
        """Close, once nothing is waited for."""
        self._leaving = True
        if not self._waiting and self._transport is not None:
            self._transport.close()


def _is_whole(data: bytes) -> bool:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = data[:end].lower()
    at = head.find(_LENGTH)
    if at < 0:
        return data.endswith(b"\r\n0\r\n\r\n")
    line_end = head.find(b"\r", at)
    length = int(head[at + len(_LENGTH) : line_end if line_end >= 0 else end])
    return len(data) >= end + 4 + length


async def closed_loop(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Load:
    """Each connection asks again as soon as it has its answer. All requests are used, each by one connection only."""
    load = Load()
    until = 0.0

    def again(caller: Caller) -> None:
        if load.wrong or time.perf_counter() >= until:
            caller.leave()
        else:
            caller.ask(next(asks[caller]))

    callers = await _connect(port, load, again, connections)
    shares = (requests[number % len(requests) :: connections] for number in range(connections))
    asks = {caller: cycle(share) for caller, share in zip(callers, shares, strict=True)}
    began = time.perf_counter()
    until = began + seconds
    for caller in callers:
        caller.ask(next(asks[caller]))
    _, unfinished = await asyncio.wait([caller.gone for caller in callers], timeout=seconds + _GIVEN_UP_S)
    load.seconds = time.perf_counter() - began
    if unfinished:
        load.wrong["no answer"] += len(unfinished)
    return load


async def open_loop(port: int, requests: Sequence[bytes], rate_per_s: float, seconds: float, connections: int) -> Load:
    """So many calls a second whatever the answers take, each on a connection that is free, else as wrong."""
    load = Load()
    free: list[Caller] = []
    callers = await _connect(port, load, free.append, connections)
    free.extend(callers)
    began = time.perf_counter()
    number = 0
    while number < rate_per_s * seconds:
        pause_s = began + number / rate_per_s - time.perf_counter()
        if pause_s > 0:
            await asyncio.sleep(pause_s)  # sleep: the rate of the load
        if free:
            free.pop(0).ask(requests[number % len(requests)])
        else:
            load.wrong["no connection was free: it does not keep up with this rate"] += 1
        number += 1
    load.seconds = time.perf_counter() - began
    for caller in callers:
        caller.leave()
    _, unanswered = await asyncio.wait([caller.gone for caller in callers], timeout=_GIVEN_UP_S)
    if unanswered:
        load.wrong["no answer"] += len(unanswered)
    return load


async def _connect(port: int, load: Load, then: Callable[[Caller], None], connections: int) -> list[Caller]:
    loop = asyncio.get_running_loop()
    callers: list[Caller] = []
    for _ in range(connections):
        _, caller = await loop.create_connection(lambda: Caller(load, then), "127.0.0.1", port)
        callers.append(caller)
    return callers
