"""Stops: from the moment somebody asks until the last byte of the last stream, with two hundred of them open."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import uvloop

from tests.bench.figures import Aim, Figure
from tests.bench.load import LoadFailed
from tests.bench.run import Bench
from tests.bench.servers import START_S, gateway_process
from tests.end_to_end.caller import ask
from tests.harness.gateway import GatewayProcess
from tests.harness.open_streams import OpenStream, chat_stream_request, open_streams

PART = "stops"
STREAMS = 200
SESSIONS = 10
BRANCHES = 3
AT_ONCE = Aim("under 300", most=300.0)
_IDENTITY = "agent/a000000"
_SETTLE_S = 20.0
_GIVEN_UP_S = 30.0
_POLL_S = 0.02
_DRIP_S = 0.5


@dataclass
class Rounds:
    """Of each round, in milliseconds: percentiles over its streams, and when the one who asked had an answer."""

    p50: list[float] = field(default_factory=list[float])
    p99: list[float] = field(default_factory=list[float])
    answered: list[float] = field(default_factory=list[float])

    def add(self, taken_ms: list[float], answered_ms: float) -> None:
        ordered = sorted(taken_ms)
        self.p50.append(ordered[len(ordered) // 2])
        self.p99.append(ordered[len(ordered) * 99 // 100])
        self.answered.append(answered_ms)


@dataclass(frozen=True)
class Case:
    """What is stopped while streams are open, and by which code they end."""

    name: str
    code: str
    prepare: Callable[[GatewayProcess], tuple[str, str, list[str]]]  # scope, value, credentials


def _identity(gateway: GatewayProcess) -> tuple[str, str, list[str]]:
    """An identity with ten sessions."""
    opened = [gateway.admin("POST", "/sessions", {"identity": _IDENTITY}) for _ in range(SESSIONS)]
    return "identity", _IDENTITY, [each["credential"] for each in opened]


def _tree(gateway: GatewayProcess) -> tuple[str, str, list[str]]:
    """A session with three children, and three below each of those: its root is stopped."""
    root = gateway.admin("POST", "/sessions", {"identity": _IDENTITY})
    children = [_below(gateway, root["credential"]) for _ in range(BRANCHES)]
    leaves = [_below(gateway, child) for child in children for _ in range(BRANCHES)]
    return "session", root["session"], [root["credential"], *children, *leaves]


def _below(gateway: GatewayProcess, credential: str) -> str:
    said = ask(gateway, credential, {}, path="/comptroller/v1/sessions")
    if said.status != 201:
        raise LoadFailed(f"no session below another: {said.body.decode(errors='replace')}")
    return str(json.loads(said.body)["credential"])


CASES = (
    Case("of an identity", "identity_suspended", _identity),
    Case(f"in a tree of {1 + BRANCHES + BRANCHES**2} sessions", "session_suspended", _tree),
)


def measure(bench: Bench) -> list[Figure]:
    gateway = gateway_process(bench.folder / "stops", bench.provider_port, bench.cores)
    rounds = {case.name: Rounds() for case in CASES}
    try:
        gateway.spawn()
        gateway.wait_ready(START_S)
        for number in range(bench.rounds):
            for case in CASES:
                found = rounds[case.name]
                found.add(*uvloop.run(_stopped_at_once(gateway, case)))
                took = f"p99 {found.p99[-1]:.0f} ms, answered after {found.answered[-1]:.0f} ms"
                bench.say(f"  round {number + 1}: {STREAMS} streams {case.name}: {took}")
    finally:
        gateway.close()
    figures: list[Figure] = []
    for name, each in rounds.items():
        what = f"{STREAMS} streams {name}, until the last byte"
        figures.append(Figure(PART, f"{what}, p50", "ms", each.p50))
        figures.append(Figure(PART, f"{what}, p99", "ms", each.p99, AT_ONCE, "none survives, each is settled"))
        figures.append(
            Figure(PART, f"{STREAMS} streams {name}, until the stop is on disk and said", "ms", each.answered)
        )
    return figures


async def _stopped_at_once(gateway: GatewayProcess, case: Case) -> tuple[list[float], float]:
    """(ms from the question to the last byte of each stream, ms to the answer)."""
    scope, value, credentials = await asyncio.to_thread(case.prepare, gateway)
    requests = [
        chat_stream_request(gateway.port, credentials[each % len(credentials)], "bench-drip", max_completion_tokens=200)
        for each in range(STREAMS)
    ]
    streams = await open_streams(gateway.port, requests)
    await asyncio.sleep(_DRIP_S)  # sleep: all of them drip
    asked = {"scope": scope, "value": value, "reason": "a bench"}
    began = time.perf_counter()
    await asyncio.to_thread(gateway.admin, "POST", "/stops", asked)
    answered_ms = (time.perf_counter() - began) * 1e3
    _, surviving = await asyncio.wait([each.ended for each in streams], timeout=_GIVEN_UP_S)
    for each in streams:
        each.hang_up()
    await asyncio.to_thread(_check, gateway, case.code.encode(), streams, len(surviving))
    await asyncio.to_thread(gateway.admin, "POST", "/stops/resume", asked)
    return [(each.last_at - began) * 1e3 for each in streams], answered_ms


def _check(gateway: GatewayProcess, code: bytes, streams: list[OpenStream], surviving: int) -> None:
    """None goes on, each said why, and nothing is held any more."""
    wrong = [each.status for each in streams if not each.whole or code not in each.text]
    until = time.monotonic() + _SETTLE_S
    while (held := gateway.admin("GET", "/status")["open_holds"]) and time.monotonic() < until:
        time.sleep(_POLL_S)  # sleep: polling another process
    if surviving or wrong or held:
        raise LoadFailed(f"{surviving} streams survive a stop, {len(wrong)} end wrongly, {held} holds stay")
