"""What a caller waits longer with the gateway in between, at a steady rate, beside a sync of the same disk."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from tests.bench.figures import Aim, Figure
from tests.bench.load import Load, open_loop
from tests.bench.run import Bench
from tests.bench.servers import DURABILITIES, Contestant

PART = "latency"
RATE_PER_S = 100.0
CONNECTIONS = 256  # so that one is free even if everything stalls for two seconds
PAGE = b"\0" * 4096
SYNCS = 100
OVER_SYNC = Aim("at most 1.5 above the disk's sync", most=1.5)


@dataclass
class Rounds:
    """Percentiles of each round, in milliseconds."""

    p50: list[float] = field(default_factory=list[float])
    p90: list[float] = field(default_factory=list[float])

    def add(self, p50: float, p90: float) -> None:
        self.p50.append(p50)
        self.p90.append(p90)


def measure(bench: Bench) -> list[Figure]:
    direct = Contestant("direct", bench.provider_port, ["nobody"], os.getpid())
    with syncs(bench.folder / "synced") as sync:
        return _figures(*_in_turn(bench, [direct, *map(bench.ours, DURABILITIES), *bench.nginx()], sync))


def _in_turn(bench: Bench, ways: list[Contestant], sync: Callable[[], Rounds]) -> tuple[dict[str, Rounds], Rounds]:
    found, synced = {each.name: Rounds() for each in ways}, Rounds()
    bench.warm_up(ways, _load)
    for number in range(bench.rounds):
        once = sync()
        synced.add(once.p50[0], once.p90[0])
        for each in ways:
            load = _load(each, bench.round_s)
            found[each.name].add(load.percentile_ms(0.5), load.percentile_ms(0.9))
        said = ", ".join(f"{name} {each.p50[-1]:.2f}" for name, each in found.items())
        bench.say(f"  round {number + 1}: p50 in ms: a sync {synced.p50[-1]:.2f}, {said}")
    return found, synced


def _load(way: Contestant, seconds: float) -> Load:
    requests = way.requests("bench-answer")
    return uvloop.run(open_loop(way.port, requests, RATE_PER_S, seconds, CONNECTIONS)).checked(way.name)


@contextmanager
def syncs(path: Path) -> Iterator[Callable[[], Rounds]]:
    """What the disk takes: a page appended to a file and synced, at the rate at which calls come."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def sync() -> Rounds:
        taken_ms: list[float] = []
        for _ in range(SYNCS):
            began = time.perf_counter()
            os.write(descriptor, PAGE)
            os.fdatasync(descriptor)
            taken_ms.append((time.perf_counter() - began) * 1e3)
            time.sleep(max(0.0, 1 / RATE_PER_S - taken_ms[-1] / 1e3))  # sleep: the rate of the calls
        taken_ms.sort()
        return Rounds([taken_ms[len(taken_ms) // 2]], [taken_ms[len(taken_ms) * 9 // 10]])

    try:
        yield sync
    finally:
        os.close(descriptor)


def _figures(found: dict[str, Rounds], synced: Rounds) -> list[Figure]:
    direct = found.pop("direct")
    figures = [
        Figure(PART, "a sync of the disk, p50", "ms", synced.p50, note="4 KiB appended, fdatasync"),
        Figure(PART, "a sync of the disk, p90", "ms", synced.p90),
        Figure(PART, "direct, without a gateway, p50", "ms", direct.p50),
    ]
    for name, each in found.items():
        added50, added90 = beyond(each.p50, direct.p50), beyond(each.p90, direct.p90)
        figures.append(Figure(PART, f"added p50: {name}", "ms", added50))
        figures.append(Figure(PART, f"added p90: {name}", "ms", added90))
        if name.startswith("comptroller"):
            above = beyond(added50, synced.p50)
            figures.append(Figure(PART, f"added p50 above a sync: {name}", "ms", above, OVER_SYNC))
    return figures


def beyond(these: list[float], those: list[float]) -> list[float]:
    return [this - that for this, that in zip(these, those, strict=True)]
