"""What grows when the registry and the past grow: the CPU of a call, and the time of a start."""

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from comptroller.store.open import DATABASE
from tests.bench import calls
from tests.bench.figures import Aim, Figure, ratios
from tests.bench.history import write_history
from tests.bench.machine import cpu_ns
from tests.bench.run import Bench
from tests.bench.servers import START_S, Contestant, callers, gateway_process
from tests.harness.gateway import GatewayProcess

IDENTITIES, RECORDS = "identities", "records"
SESSIONS, SESSIONS_QUICK = 500, 20
FLAT = Aim("flat: at most 1.1", most=1.1)
START = Aim("under 5", most=5.0)
STARTS, STARTS_QUICK = 3, 1


def measure_identities(bench: Bench) -> list[Figure]:
    """The same load, its callers spread over more and more identities."""
    sizes = [size for size in bench.identities if size <= bench.most_identities]
    with ExitStack() as stack:
        gateways: dict[str, GatewayProcess] = {}
        figures: list[Figure] = []
        for size in sizes:
            gateway = gateway_process(bench.folder / f"of-{size}", bench.provider_port, bench.cores, identities=size)
            stack.callback(gateway.close)
            installing_s = _start(gateway)
            figures.append(Figure(IDENTITIES, f"first start, installing {size:,} identities", "s", [installing_s]))
            figures += _starts(IDENTITIES, f"{size:,} identities", gateway, bench, None)
            gateways[f"{size:,} identities"] = gateway
        return figures + _loaded(bench, IDENTITIES, gateways, sizes)


def measure_records(bench: Bench) -> list[Figure]:
    """The same load on a store that is empty and on one with a long past."""
    size, number = bench.most_identities, bench.past_calls
    with ExitStack() as stack:
        gateways: dict[str, GatewayProcess] = {}
        figures: list[Figure] = []
        for past in (0, number):
            gateway = _with_past(bench, size, past)
            stack.callback(gateway.close)
            what = f"{past:,} calls, {size:,} identities"
            figures += _starts(RECORDS, what, gateway, bench, START if past else None)
            gateways[f"{past:,} calls recorded"] = gateway
        return figures + _loaded(bench, RECORDS, gateways, [size, size])


def _with_past(bench: Bench, identities: int, past: int) -> GatewayProcess:
    """A gateway, not started, whose store has so many calls; it is kept for the next run where that was asked for."""
    folder = bench.folder if bench.kept is None or not past else bench.kept
    folder /= f"past-{identities}-{past}"
    schema = folder / "schema"  # of the store, once it is whole
    gateway = gateway_process(folder, bench.provider_port, bench.cores, identities=identities)
    if not schema.exists():
        bench.say(f"  installing {identities:,} identities")
        _start(gateway)
        gateway.sigterm()
        if past:
            began = time.monotonic()
            write_history(gateway.state, past, bench.say)
            bench.say(f"  wrote {past:,} calls in {time.monotonic() - began:.0f} s")
        schema.write_text(_schema())
    elif schema.read_text() != _schema():
        took_s = _start(gateway)
        gateway.sigterm()
        shutil.rmtree(gateway.state / "backups")
        bench.say(f"  brought the kept store from schema {schema.read_text()} to {_schema()} in {took_s:.0f} s")
        schema.write_text(_schema())
    return gateway


def _schema() -> str:
    """The newest migration. To bring a kept store there is another measurement than to start."""
    versions = Path(__file__).resolve().parents[2] / "src" / "comptroller" / "store" / "migrations" / "versions"
    return max(path.stem for path in versions.glob("[0-9]*.py"))


def _start(gateway: GatewayProcess) -> float:
    """Start it; returns the seconds until it was ready."""
    began = time.monotonic()
    gateway.spawn()
    gateway.wait_ready(START_S)
    return time.monotonic() - began


def _starts(part: str, what: str, gateway: GatewayProcess, bench: Bench, aim: Aim | None) -> list[Figure]:
    """Starts with a warm page cache, and one without; the CPU says what a quiet machine would take."""
    taken_s: list[float] = []
    cpu_s: list[float] = []
    for _ in range(STARTS_QUICK if bench.quick else STARTS):
        if gateway.running:
            gateway.sigterm()
        taken_s.append(_start(gateway))
        cpu_s.append(cpu_ns(gateway.pid) / 1e9)
    bench.say(f"  start with {what}: {taken_s[-1]:.1f} s, {cpu_s[-1]:.1f} s of CPU")
    figures = [
        Figure(part, f"start-up with {what}", "s", taken_s, aim),
        Figure(part, f"start-up with {what}, its CPU", "s", cpu_s),
    ]
    if not bench.quick:
        gateway.sigterm()
        _drop_from_memory(gateway.state / DATABASE)
        figures.append(Figure(part, f"start-up with {what}, from a cold disk", "s", [_start(gateway)], aim))
    return figures


def _drop_from_memory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _loaded(bench: Bench, part: str, gateways: dict[str, GatewayProcess], sizes: Sequence[int]) -> list[Figure]:
    """The CPU of a call at each size, in turn, and how it compares with the first."""
    number = SESSIONS_QUICK if bench.quick else SESSIONS
    contestants = [
        Contestant(name, gateway.port, callers(gateway, size, number), gateway.pid, puts_off=True)
        for (name, gateway), size in zip(gateways.items(), sizes, strict=True)
    ]
    rounds = calls.in_turn(bench, contestants)
    first = contestants[0].name
    figures = [Figure(part, f"CPU per call: {name}", "us", each.cpu_us) for name, each in rounds.items()]
    figures += [
        Figure(part, f"written per call, to files and sockets: {name}", "KiB", each.written_kib)
        for name, each in rounds.items()
    ]
    for each in contestants[1:]:
        times = ratios(rounds[each.name].cpu_us, rounds[first].cpu_us)
        figures.append(Figure(part, f"CPU per call, times that of {first}: {each.name}", "x", times, FLAT))
    return figures
