"""Tool calls: CPU of the gateway and calls a second, direct, as it comes, and with scopes, pins, prices and budgets on.

One MCP server that costs next to nothing, one tool. Direct is without any gateway; nginx stands in between in the
same rounds where it is installed.
"""

from collections.abc import Mapping
from datetime import date
from statistics import median
from typing import Any

import uvloop

from tests.bench.calls import CONNECTIONS, Rounds, loaded
from tests.bench.figures import Figure, ratios
from tests.bench.latency import beyond
from tests.bench.load import closed_loop
from tests.bench.provider import TOOL
from tests.bench.run import Bench
from tests.bench.servers import CALLERS, START_S, Contestant, contestant, gateway_process
from tests.bench.world import BUDGETS, registry_table, tool_request
from tests.harness.configuration import Table, budget
from tests.harness.gateway import GatewayProcess
from tests.harness.mcp import McpClient
from tests.harness.toml import to_toml

PART = "tools"
DIRECT, BARE, ALL = "direct", "as it comes", "scopes, pins, prices and budgets"
_SERVER = "bench"
_EVERYBODY = {"organization": "acme"}
_PERMIT = """
@id("all-may-use-tools")
permit (principal in Organization::"acme", action == Action::"tool.call", resource);
"""
_FORBIDS = """
@id("nobody-deletes")
forbid (principal, action == Action::"tool.call", resource in RiskClass::"destructive");
@id("nothing-outside-from-tests")
forbid (principal, action == Action::"tool.call", resource in RiskClass::"open_world")
when { context.environment == "experimentation" };
@id("tools-of-tools")
forbid (principal, action == Action::"tool.call", resource) when { context.depth > 5 };
"""
_TOOL_BUDGETS = [
    budget("tool-calls", "900_000_000_000 tool_calls", "day", scope={"server": [_SERVER]}, per="identity"),
    budget("tool-money", "1000000000.00 USD", "month", scope={"tool": [f"{_SERVER}/{TOOL}"]}),
    budget("tool-bytes", "900_000_000_000_000 result_bytes", "day", scope=_EVERYBODY, per="session"),
]
_BARE: Table = {"tools": {f"{_SERVER}/*": {"risk": ["read"]}}, "budgets": []}


_ALL: Table = {
    "tools": {f"{_SERVER}/*": {"risk": ["read"], "result_bytes": 65_536, "pins": "first"}},
    "budgets": [*BUDGETS, *_TOOL_BUDGETS],
    "prices": [
        *registry_table(CALLERS)["prices"],
        {"tool": f"{_SERVER}/*", "from": date(2026, 1, 1), "request": "0.001"},
    ],
    "rates": [{"name": "at-once", "scope": {"tool": [f"{_SERVER}/{TOOL}"]}, "limit": "10_000 calls at once"}],
}
_WAYS = {BARE: (_BARE, _PERMIT), ALL: (_ALL, _PERMIT + _FORBIDS)}


def measure(bench: Bench) -> list[Figure]:
    gateway = _gateway(bench)
    try:
        gateway.spawn()
        gateway.wait_ready(START_S)
        ours = contestant(gateway, "power", CALLERS)
        ways = {BARE: ours, ALL: ours} | {each.name: each for each in bench.nginx()}
        rounds = {name: Rounds() for name in ways}
        direct: list[float] = []
        _install(gateway, *_WAYS[BARE])
        McpClient(gateway.url, _SERVER, ours.credentials[0]).tools()  # what was never listed is called by nobody
        bench.warm_up([ours], _load)
        for number in range(bench.rounds):
            direct.append(_direct(bench))
            for name, each in ways.items():
                if name in _WAYS:
                    _install(gateway, *_WAYS[name])
                loaded(bench, each, rounds[name], _load)
            said = (f"{name} {each.cpu_us[-1]:.0f} us, {each.per_s[-1]:,.0f} calls/s" for name, each in rounds.items())
            bench.say(f"  round {number + 1}: direct {direct[-1]:,.0f} calls/s, {', '.join(said)}")
    finally:
        gateway.close()
    return _figures(direct, rounds)


def _gateway(bench: Bench) -> GatewayProcess:
    servers = {_SERVER: {"url": f"http://127.0.0.1:{bench.provider_port}/mcp/{_SERVER}"}}
    return gateway_process(bench.folder / PART, bench.provider_port, bench.cores, servers=servers, tables=_BARE)


def _install(gateway: GatewayProcess, tables: Mapping[str, Any], policy: str) -> None:
    text = to_toml({**registry_table(CALLERS), **tables})
    policies = {path.name: path.read_text() for path in (gateway.config.parent / "policies").glob("*.cedar")}
    gateway.admin("POST", "/registry/apply", {"registry": text, "policies": {**policies, "tools.cedar": policy}})


def _load(each: Contestant, seconds: float) -> tuple[int, float]:
    """How many calls were made, in how many seconds."""
    requests = [tool_request(each.port, credential, f"/mcp/{_SERVER}", TOOL) for credential in each.credentials]
    load = uvloop.run(closed_loop(each.port, requests, CONNECTIONS, seconds)).checked(each.name)
    return load.calls, load.seconds


def _direct(bench: Bench) -> float:
    """Calls a second without anybody in between; the load and the server share a core."""
    requests = [tool_request(bench.provider_port, "nobody", f"/mcp/{_SERVER}", TOOL)]
    return uvloop.run(closed_loop(bench.provider_port, requests, CONNECTIONS, bench.round_s)).checked(DIRECT).per_s


def _figures(direct: list[float], rounds: Mapping[str, Rounds]) -> list[Figure]:
    figures = [Figure(PART, f"CPU per tool call: {name}", "us", each.cpu_us) for name, each in rounds.items()]
    figures.append(Figure(PART, f"saturated: {DIRECT}", "calls/s", direct, note="load and server share a core"))
    for name, each in rounds.items():
        note = f"with {median(each.busy):.0%} of its core"
        figures.append(Figure(PART, f"saturated: {name}", "calls/s", each.per_s, note=note))
    added = beyond(rounds[ALL].cpu_us, rounds[BARE].cpu_us)
    figures.append(Figure(PART, f"added CPU per tool call: {ALL}", "us", added))
    figures.append(Figure(PART, f"calls a second, share of direct: {ALL}", "x", ratios(rounds[ALL].per_s, direct)))
    return figures
