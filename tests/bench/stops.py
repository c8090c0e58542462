"""Stops: from the moment somebody asks until the last byte of the last stream, with two hundred of them open."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import uvloop

from tests.bench.figures import Aim, Figure
from tests.bench.load import LoadFailed
from tests.bench.run import Bench
from tests.bench.servers import START_S, gateway_process
from tests.harness.gateway import GatewayProcess
from tests.harness.open_streams import OpenStream, chat_stream_request, open_streams

PART = "stops"
STREAMS = 200
SESSIONS = 10
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


def measure(bench: Bench) -> list[Figure]:
    gateway = gateway_process(bench.folder / "stops", bench.provider_port, bench.cores)
    rounds = Rounds()
    try:
        gateway.spawn()
        gateway.wait_ready(START_S)
        for number in range(bench.rounds):
            rounds.add(*uvloop.run(_stopped_at_once(gateway)))
            bench.say(f"  round {number + 1}: p99 {rounds.p99[-1]:.0f} ms, answered after {rounds.answered[-1]:.0f} ms")
    finally:
        gateway.close()
    what = f"{STREAMS} streams of an identity, until the last byte"
    return [
        Figure(PART, f"{what}, p50", "ms", rounds.p50),
        Figure(PART, f"{what}, p99", "ms", rounds.p99, AT_ONCE, "none survives, each is settled"),
        Figure(
            PART, f"{STREAMS} streams of an identity, until the stop is on disk and answered", "ms", rounds.answered
        ),
    ]


async def _stopped_at_once(gateway: GatewayProcess) -> tuple[list[float], float]:
    """(ms from the question to the last byte of each stream, ms to the answer)."""
    credentials = await asyncio.to_thread(_sessions, gateway)
    requests = [
        chat_stream_request(gateway.port, credentials[each % SESSIONS], "bench-drip", max_completion_tokens=200)
        for each in range(STREAMS)
    ]
    streams = await open_streams(gateway.port, requests)
    await asyncio.sleep(_DRIP_S)  # sleep: all of them drip
    asked: Mapping[str, Any] = {"scope": "identity", "value": _IDENTITY, "reason": "a bench"}
    began = time.perf_counter()
    await asyncio.to_thread(gateway.admin, "POST", "/stops", asked)
    answered_ms = (time.perf_counter() - began) * 1e3
    _, surviving = await asyncio.wait([each.ended for each in streams], timeout=_GIVEN_UP_S)
    for each in streams:
        each.hang_up()
    await asyncio.to_thread(_check, gateway, streams, len(surviving))
    await asyncio.to_thread(gateway.admin, "POST", "/stops/resume", asked)
    return [(each.last_at - began) * 1e3 for each in streams], answered_ms


def _sessions(gateway: GatewayProcess) -> list[str]:
    return [gateway.admin("POST", "/sessions", {"identity": _IDENTITY})["credential"] for _ in range(SESSIONS)]


def _check(gateway: GatewayProcess, streams: list[OpenStream], surviving: int) -> None:
    """None goes on, each said why, and nothing is held any more."""
    wrong = [each.status for each in streams if not each.whole or b"identity_suspended" not in each.text]
    until = time.monotonic() + _SETTLE_S
    while (held := gateway.admin("GET", "/status")["open_holds"]) and time.monotonic() < until:
        time.sleep(_POLL_S)  # sleep: polling another process
    if surviving or wrong or held:
        raise LoadFailed(f"{surviving} streams survive a stop, {len(wrong)} end wrongly, {held} holds stay")
