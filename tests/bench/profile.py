"""Where the microseconds of a governed call go: by verb, by file, by function; and how many functions it enters."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.figures import Figure
from tests.bench.load import Load, closed_loop
from tests.bench.machine import cpu_ns
from tests.bench.run import Bench
from tests.bench.servers import comptroller

PART = "profile"
CONNECTIONS = 64
SHOWN = 15
WRITE_S = 30.0
_POLL_S = 0.02
_INSTRUMENTED = Path(__file__).parent / "instrumented.py"

# The files of the story and of its borders, under the verb that they serve.
_VERBS: Mapping[str, str] = {
    "flow/identify.py": "identify",
    "flow/decide.py": "decide",
    "flow/weigh.py": "decide",
    "flow/permit.py": "decide",
    "flow/reserve.py": "reserve",
    "flow/reservation.py": "reserve",
    "flow/forward.py": "forward",
    "flow/attempt.py": "forward",
    "flow/settle.py": "settle",
    "flow/record.py": "record",
    "flow/answer.py": "answer",
    "flow/call.py": "the story itself",
    "gateway/egress": "forward: egress",
    "gateway/": "door",
    "store/": "journal, the loop's side",
}

Stack = Sequence[Sequence[str]]


def measure(bench: Bench) -> list[Figure]:
    sampled, load, cpu = _instrumented(bench, "samples")
    figures = _times(sampled, load, cpu)
    counted, load, _ = _instrumented(bench, "counts")
    return figures + _counts(counted, load)


def _instrumented(bench: Bench, kind: str) -> tuple[list[dict[str, Any]], Load, int]:
    """(what the instrument found, the load meanwhile, the CPU that was used)."""
    found = bench.folder / f"{kind}.json"
    program = (str(_INSTRUMENTED), kind, str(found))
    with comptroller(bench.folder / kind, bench.provider_port, bench.cores, program=program) as gateway:
        requests = gateway.requests("bench-answer")

        def load(seconds: float) -> Load:
            return uvloop.run(closed_loop(gateway.port, requests, CONNECTIONS, seconds)).checked(gateway.name)

        load(bench.warm_up_s)
        os.kill(gateway.pid, signal.SIGUSR1)
        before = cpu_ns(gateway.pid)
        done = load(bench.round_s * bench.rounds / 2)
        os.kill(gateway.pid, signal.SIGUSR2)
        cpu = cpu_ns(gateway.pid) - before
        until = time.monotonic() + WRITE_S
        while not found.exists() and time.monotonic() < until:
            time.sleep(_POLL_S)  # sleep: polling another process
        bench.say(f"  {kind}: {done.calls} calls")
        return json.loads(found.read_text()), done, cpu


def _times(samples: Iterable[Mapping[str, Any]], load: Load, cpu: int) -> list[Figure]:
    verbs, files, functions = Counter[str](), Counter[str](), Counter[str]()
    for each in samples:
        loop, stack = each["thread"] == "loop", each["stack"]
        verbs[_verb(stack) if loop else "journal, the writer's thread"] += each["ns"]
        file, function = _place(stack[0]) if stack else ("(below Python)", "")
        files[file] += each["ns"]
        functions[f"{file} {function}"] += each["ns"]
    total = Figure(PART, "CPU per call, with the instrument in it", "us", [cpu / load.calls / 1e3])
    return [
        total,
        *_top(verbs, "CPU by verb", "us", load.calls * 1e3, len(verbs)),
        *_top(files, "CPU by file", "us", load.calls * 1e3, SHOWN),
        *_top(functions, "CPU by function", "us", load.calls * 1e3, SHOWN),
    ]


def _counts(counts: Iterable[Mapping[str, Any]], load: Load) -> list[Figure]:
    files, functions = Counter[str](), Counter[str]()
    for each in counts:
        file, function = _place((each["file"], each["function"]))
        files[file] += each["calls"]
        functions[f"{file} {function}"] += each["calls"]
    total = Figure(PART, "Python functions entered per call", "", [files.total() / load.calls])
    return [
        total,
        *_top(files, "functions entered in", "", load.calls, SHOWN),
        *_top(functions, "entered", "", load.calls, SHOWN),
    ]


def _top(found: Counter[str], what: str, unit: str, per: float, most: int) -> list[Figure]:
    whole = found.total()
    return [
        Figure(PART, f"{what}: {name}", unit, [amount / per], note=f"{amount / whole:.0%}")
        for name, amount in found.most_common(most)
    ]


def _verb(stack: Stack) -> str:
    """The verb of the innermost file that serves one; rules and libraries count for whoever asked them."""
    for place in stack:
        file, _ = _place(place)
        for start, verb in _VERBS.items():
            if file.startswith(start):
                return verb
    if any(_place(place)[0].startswith("uvicorn") for place in stack):
        return "server: uvicorn"
    return "loop and kernel"


def _place(place: Sequence[str]) -> tuple[str, str]:
    """(file as the map names it, or the library; function)."""
    file, function = place
    for marker in ("/src/comptroller/", "/site-packages/"):
        _, found, rest = file.partition(marker)
        if found:
            return rest, function
    return f"python: {Path(file).name}", function
