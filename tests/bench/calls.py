"""Single calls, saturated: CPU per call and calls a second, beside nginx and LiteLLM, round by round in turn."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median

import uvloop

from tests.bench import litellm
from tests.bench.figures import Aim, Figure, ratios
from tests.bench.load import closed_loop
from tests.bench.machine import cpu_ns, user_and_system_s, written_bytes
from tests.bench.run import Bench
from tests.bench.servers import DURABILITIES, Contestant

PART = "calls"
CONNECTIONS = 64
TIMES_NGINX = Aim("at most 6 (moonshot 4)", most=6.0)
TIMES_LITELLM = Aim("at least 40", least=40.0)
PER_S = Aim("moonshot: at least 10,000", least=10_000.0)


@dataclass
class Rounds:
    """What the rounds of one contestant came to."""

    cpu_us: list[float] = field(default_factory=list[float])
    system_share: list[float] = field(default_factory=list[float])
    per_s: list[float] = field(default_factory=list[float])
    busy: list[float] = field(default_factory=list[float])
    written_kib: list[float] = field(default_factory=list[float])


def measure(bench: Bench) -> list[Figure]:
    contestants = [*map(bench.ours, DURABILITIES), *bench.nginx()]
    with ExitStack() as stack:
        if litellm.installed() and not bench.quick:
            bench.say("  starting LiteLLM")
            started = litellm.litellm(bench.folder / "litellm", bench.provider_port, bench.cores)
            contestants.append(stack.enter_context(started))
        return _figures(in_turn(bench, contestants))


def in_turn(bench: Bench, contestants: Sequence[Contestant]) -> dict[str, Rounds]:
    """A B C A B C ...: what disturbs the machine for a while disturbs all of them."""
    rounds = {each.name: Rounds() for each in contestants}
    bench.warm_up(contestants, _load)
    for number in range(bench.rounds):
        for each in contestants:
            _round(bench, each, rounds[each.name])
            bench.say(f"  round {number + 1}: {each.name}: {_last(rounds[each.name])}")
    return rounds


def _round(bench: Bench, contestant: Contestant, rounds: Rounds) -> None:
    loaded(bench, contestant, rounds, _load)


def loaded(
    bench: Bench, contestant: Contestant, rounds: Rounds, load: Callable[[Contestant, float], tuple[int, float]]
) -> None:
    """One round of one contestant. `load` gives how many calls were made, in how many seconds."""
    written, split, before = written_bytes(contestant.pid), user_and_system_s(contestant.pid), cpu_ns(contestant.pid)
    calls, took_s = load(contestant, bench.round_s)
    at_end = cpu_ns(contestant.pid)
    bench.catch_up(contestant)
    after, later = cpu_ns(contestant.pid), user_and_system_s(contestant.pid)
    system_s = later[1] - split[1]
    rounds.written_kib.append((written_bytes(contestant.pid) - written) / calls / 1024)
    rounds.cpu_us.append((after - before) / calls / 1e3)
    rounds.system_share.append(system_s / max(1e-9, sum(later) - sum(split)))
    rounds.per_s.append(calls / took_s)
    rounds.busy.append((at_end - before) / 1e9 / took_s)


def _load(contestant: Contestant, seconds: float) -> tuple[int, float]:
    """(calls, seconds)."""
    load = uvloop.run(closed_loop(contestant.port, contestant.requests("bench-answer"), CONNECTIONS, seconds))
    load.checked(contestant.name)
    return load.calls, load.seconds


def _last(rounds: Rounds) -> str:
    cpu, per_s, busy = rounds.cpu_us[-1], rounds.per_s[-1], rounds.busy[-1]
    return f"{cpu:.1f} us of CPU a call, {per_s:,.0f} calls/s with {busy:.0%} of the core"


def _figures(rounds: dict[str, Rounds]) -> list[Figure]:
    figures: list[Figure] = []
    for name, each in rounds.items():
        share = f"{median(each.system_share):.0%} of it in the kernel"
        figures.append(Figure(PART, f"CPU per call: {name}", "us", each.cpu_us, note=share))
    for name, each in rounds.items():
        aim = PER_S if name.startswith("comptroller") else None
        figures.append(
            Figure(PART, f"saturated: {name}", "calls/s", each.per_s, aim, f"with {median(each.busy):.0%} of its core")
        )
    for name, each in rounds.items():
        figures.append(Figure(PART, f"written per call, to files and sockets: {name}", "KiB", each.written_kib))
    for name, each in rounds.items():
        if name != "nginx" and "nginx" in rounds:
            times = ratios(each.cpu_us, rounds["nginx"].cpu_us)
            aim = TIMES_NGINX if name.startswith("comptroller") else None
            figures.append(Figure(PART, f"CPU per call, times nginx: {name}", "x", times, aim))
    for name, each in rounds.items():
        if name.startswith("comptroller") and "LiteLLM" in rounds:
            times = ratios(each.per_s, rounds["LiteLLM"].per_s)
            figures.append(Figure(PART, f"calls a second, times LiteLLM: {name}", "x", times, TIMES_LITELLM))
    return figures
