"""What the controls of a run cost: rates, context caps, routes, retry budgets, loop rules, soft steps; each, and all.

One gateway; before each round the registry is installed with other tables. The calls differ in their last message, as
those of agents do, so no rule about repeats has anything to say.
"""

import random
from collections.abc import Mapping, Sequence

import uvloop

from tests.bench.calls import CONNECTIONS
from tests.bench.figures import Figure, ratios
from tests.bench.latency import beyond
from tests.bench.load import closed_loop
from tests.bench.machine import cpu_ns
from tests.bench.run import Bench
from tests.bench.servers import CALLERS, START_S, Contestant, contestant, gateway_process
from tests.bench.world import BUDGETS, registry_table, request
from tests.harness.configuration import Table
from tests.harness.gateway import GatewayProcess
from tests.harness.toml import to_toml

PART = "controls"
NONE, ALL = "no controls", "all of them"
_REQUESTS = 64 * 40
_EVERYBODY = {"organization": "acme"}
_WORDS = tuple("invoice ledger quarter supplier refund transit audit margin payroll asset credit tariff".split())

TABLES: Mapping[str, Table] = {
    NONE: {},
    "rates": {
        "rates": [
            {"name": "calls", "scope": _EVERYBODY, "limit": "1_000_000 calls/second", "per": "identity"},
            {"name": "tokens", "scope": _EVERYBODY, "limit": "1_000_000_000 tokens/minute", "per": "identity"},
            {"name": "at-once", "scope": _EVERYBODY, "limit": "10_000 calls at once", "per": "session"},
        ]
    },
    "context caps": {
        "contexts": [
            {"name": "long", "scope": _EVERYBODY, "action": "trim", "input_tokens": 50_000, "messages": 200},
            {"name": "grows", "scope": _EVERYBODY, "action": "refuse", "session_tokens": 10**9},
        ]
    },
    "routes": {
        "classes": {"order": ["standard", "frontier"]},
        "aliases": {"fast": "standard"},
        "task_types": {"ledger": {"floor": "standard"}},
        "routes": [
            {"name": "long", "scope": _EVERYBODY, "to": "frontier", "when": {"input_tokens_over": 100_000}},
            {"name": "low", "scope": _EVERYBODY, "to": "standard", "when": {"budget_below": "1%"}},
        ],
    },
    "retry budgets": {"retries": [{"name": "all", "scope": _EVERYBODY, "share": "10%"}]},
    "loop rules": {"loops": [{"name": "all", "scope": _EVERYBODY, "mode": "hard", "similar_step": 5}]},
    "soft steps": {"budgets": [{**each, "soft": ["50% notify", "95% notify"]} for each in BUDGETS]},
}


def measure(bench: Bench) -> list[Figure]:
    ways: dict[str, Table] = {**TABLES, ALL: {name: each for way in TABLES.values() for name, each in way.items()}}
    rounds: dict[str, list[float]] = {name: [] for name in ways}
    gateway = gateway_process(bench.folder / PART, bench.provider_port, bench.cores)
    try:
        gateway.spawn()
        gateway.wait_ready(START_S)
        ours = contestant(gateway, "power", CALLERS)
        requests = _requests(ours)
        bench.warm_up([ours], lambda each, seconds: _saturated(each, requests, seconds))
        for number in range(bench.rounds):
            for name, tables in ways.items():
                _install(gateway, tables)
                rounds[name].append(_cpu_us(bench, ours, requests))
            said = (f"{name} {each[-1]:.0f} us" for name, each in rounds.items())
            bench.say(f"  round {number + 1}: {', '.join(said)}")
    finally:
        gateway.close()
    return _figures(rounds)


def _install(gateway: GatewayProcess, tables: Table) -> None:
    text = to_toml({**registry_table(CALLERS), **tables})
    policies = {path.name: path.read_text() for path in (gateway.config.parent / "policies").glob("*.cedar")}
    gateway.admin("POST", "/registry/apply", {"registry": text, "policies": policies})


def _requests(ours: Contestant) -> list[bytes]:
    dice = random.Random(6)  # the same calls in every run
    found: list[bytes] = []
    for number in range(_REQUESTS):
        words = " ".join(dice.choices(_WORDS, k=14))
        messages = [{"role": "system", "content": "You answer briefly."}, {"role": "user", "content": f"{words}?"}]
        credential = ours.credentials[number % len(ours.credentials)]
        found.append(request(ours.port, credential, "bench-answer", messages=messages))
    return found


def _cpu_us(bench: Bench, ours: Contestant, requests: Sequence[bytes]) -> float:
    bench.catch_up(ours)
    before = cpu_ns(ours.pid)
    calls = _saturated(ours, requests, bench.round_s)
    bench.catch_up(ours)
    return (cpu_ns(ours.pid) - before) / calls / 1e3


def _saturated(ours: Contestant, requests: Sequence[bytes], seconds: float) -> int:
    """How many calls were made."""
    return uvloop.run(closed_loop(ours.port, requests, CONNECTIONS, seconds)).checked(ours.name).calls


def _figures(rounds: Mapping[str, list[float]]) -> list[Figure]:
    without = rounds[NONE]
    return [
        *(Figure(PART, f"CPU per call: {name}", "us", each) for name, each in rounds.items()),
        *(
            Figure(PART, f"added CPU per call: {name}", "us", beyond(each, without))
            for name, each in rounds.items()
            if name != NONE
        ),
        Figure(PART, f"CPU per call, times that without: {ALL}", "x", ratios(rounds[ALL], without)),
    ]
