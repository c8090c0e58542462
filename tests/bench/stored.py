"""What it costs that an answer is kept by its provider: whose it is goes to the journal before the caller has it.

The same calls of Responses, with `store` and without, in turn.
"""

from dataclasses import dataclass, field

import uvloop

from tests.bench.calls import CONNECTIONS
from tests.bench.figures import Figure, ratios
from tests.bench.latency import CONNECTIONS as OPEN_CONNECTIONS
from tests.bench.latency import RATE_PER_S, beyond, syncs
from tests.bench.load import closed_loop, open_loop
from tests.bench.machine import cpu_ns, written_bytes
from tests.bench.run import Bench
from tests.bench.servers import Contestant
from tests.bench.world import response_request

PART = "stored"
WAYS = {"not kept": False, "kept": True}


@dataclass
class Rounds:
    """What the rounds of one way came to."""

    cpu_us: list[float] = field(default_factory=list[float])
    written_kib: list[float] = field(default_factory=list[float])
    p50_ms: list[float] = field(default_factory=list[float])


def measure(bench: Bench) -> list[Figure]:
    ours = bench.ours("power")
    requests = {
        name: [response_request(ours.port, credential, store=store) for credential in ours.credentials]
        for name, store in WAYS.items()
    }
    rounds, synced = {name: Rounds() for name in WAYS}, list[float]()
    bench.warm_up([ours], lambda each, seconds: _saturated(each, requests["kept"], seconds))
    with syncs(bench.folder / "synced-stored") as sync:
        for number in range(bench.rounds):
            synced.append(sync().p50[0])
            for name, each in requests.items():
                _round(bench, ours, each, rounds[name])
            said = (f"{name} {each.cpu_us[-1]:.0f} us, {each.p50_ms[-1]:.2f} ms" for name, each in rounds.items())
            bench.say(f"  round {number + 1}: {'; '.join(said)}; a sync {synced[-1]:.2f} ms")
    return _figures(rounds, synced)


def _round(bench: Bench, ours: Contestant, requests: list[bytes], rounds: Rounds) -> None:
    steady = uvloop.run(open_loop(ours.port, requests, RATE_PER_S, bench.round_s, OPEN_CONNECTIONS))
    rounds.p50_ms.append(steady.checked(ours.name).percentile_ms(0.5))
    bench.catch_up(ours)
    before, written = cpu_ns(ours.pid), written_bytes(ours.pid)
    calls = _saturated(ours, requests, bench.round_s)
    bench.catch_up(ours)
    rounds.cpu_us.append((cpu_ns(ours.pid) - before) / calls / 1e3)
    rounds.written_kib.append((written_bytes(ours.pid) - written) / calls / 1024)


def _saturated(ours: Contestant, requests: list[bytes], seconds: float) -> int:
    """How many calls were made."""
    return uvloop.run(closed_loop(ours.port, requests, CONNECTIONS, seconds)).checked(ours.name).calls


def _figures(rounds: dict[str, Rounds], synced: list[float]) -> list[Figure]:
    without, kept = rounds["not kept"], rounds["kept"]
    return [
        Figure(PART, "a sync of the disk, p50", "ms", synced, note="4 KiB appended, fdatasync"),
        *(Figure(PART, f"CPU per call: {name}", "us", each.cpu_us) for name, each in rounds.items()),
        Figure(PART, "CPU per call, times that of one that is not kept", "x", ratios(kept.cpu_us, without.cpu_us)),
        *(Figure(PART, f"p50: {name}", "ms", each.p50_ms) for name, each in rounds.items()),
        Figure(PART, "p50, more where it is kept", "ms", beyond(kept.p50_ms, without.p50_ms)),
        *(
            Figure(PART, f"written per call, to files and sockets: {name}", "KiB", each.written_kib)
            for name, each in rounds.items()
        ),
    ]
