"""What a caller waits longer for the first word of a stream, at a steady rate, beside nginx and a sync of the disk."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import uvloop

from tests.bench.figures import Figure
from tests.bench.latency import CONNECTIONS, RATE_PER_S, beyond, syncs
from tests.bench.load import Load, open_loop
from tests.bench.run import Bench
from tests.bench.servers import DURABILITIES, Contestant
from tests.bench.world import MOST_OUTPUT

PART = "first-byte"
SHARES = {"p50": 0.5, "p99": 0.99}


@dataclass
class Rounds:
    """Percentiles of each round, in milliseconds."""

    by_share: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in SHARES})

    def add(self, load: Load) -> None:
        for name, share in SHARES.items():
            self.by_share[name].append(load.first_percentile_ms(share))


def measure(bench: Bench) -> list[Figure]:
    direct = Contestant("direct", bench.provider_port, ["nobody"], os.getpid())
    ways = [direct, *map(bench.ours, DURABILITIES), *bench.nginx()]
    with syncs(bench.folder / "synced-first-byte") as sync:
        return _figures(*_in_turn(bench, ways, lambda: sync().p50[0]))


def _in_turn(
    bench: Bench, ways: Sequence[Contestant], sync_ms: Callable[[], float]
) -> tuple[dict[str, Rounds], list[float]]:
    found, synced = {each.name: Rounds() for each in ways}, list[float]()
    bench.warm_up(ways, _load)
    for number in range(bench.rounds):
        synced.append(sync_ms())
        for each in ways:
            found[each.name].add(_load(each, bench.round_s))
        said = ", ".join(f"{name} {each.by_share['p50'][-1]:.2f}" for name, each in found.items())
        bench.say(f"  round {number + 1}: first word after, p50 in ms: {said}; a sync {synced[-1]:.2f}")
    return found, synced


def _load(way: Contestant, seconds: float) -> Load:
    requests = way.requests("bench-brief", stream=True, max_completion_tokens=MOST_OUTPUT)
    return uvloop.run(open_loop(way.port, requests, RATE_PER_S, seconds, CONNECTIONS)).checked(way.name)


def _figures(found: dict[str, Rounds], synced: list[float]) -> list[Figure]:
    direct, nginx = found.pop("direct"), found.get("nginx")
    figures = [Figure(PART, "a sync of the disk, p50", "ms", synced, note="4 KiB appended, fdatasync")]
    for share in SHARES:
        figures.append(Figure(PART, f"direct, without a gateway, {share}", "ms", direct.by_share[share]))
        for name, each in found.items():
            added = beyond(each.by_share[share], direct.by_share[share])
            figures.append(Figure(PART, f"added {share}: {name}", "ms", added))
        if nginx is not None:
            for name, each in found.items():
                if each is not nginx:
                    more = beyond(each.by_share[share], nginx.by_share[share])
                    figures.append(Figure(PART, f"more than nginx, {share}: {name}", "ms", more))
    return figures
