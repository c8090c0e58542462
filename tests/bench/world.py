"""The world that is measured: everything on. Twelve budgets that every call draws on, twelve policies that it meets."""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from tests.harness.configuration import Table, budget, identity, model, process, provider, registry

TEAMS = 10
MODELS = ("bench-answer", "bench-brief", "bench-burst", "bench-paced", "bench-drip", "bench-open")
RESPONSES = "bench-response"
TAIL = 64
MOST_OUTPUT = 32_000
PATIENCE_S = 3600.0

# Every unit, every kind of window, every kind of scope; each call of this world draws on all twelve.
BUDGETS = [
    budget("organization-month", "1000000000.00 USD", "month", time_zone="Europe/Berlin"),
    budget("organization-day", "1000000000.00 USD", "day"),
    budget("organization-tokens", "900_000_000_000_000 tokens", "month"),
    budget("team-month", "1000000000.00 USD", "month", per="team"),
    budget("team-calls", "900_000_000_000 calls", "day", per="team"),
    budget("owner-week", "1000000000.00 USD", "week", per="owner"),
    budget("identity-day", "1000000000.00 USD", "day", per="identity"),
    budget("identity-hour-tokens", "900_000_000_000_000 tokens", "hour", per="identity"),
    budget("session-all", "1000000000.00 USD", per="session"),
    budget("session-calls", "900_000_000_000 calls", per="session"),
    budget("standard-models", "1000000000.00 USD", "month", scope={"model_class": "standard"}),
    budget("provider-shadow", "1000000000.00 USD", "day", scope={"provider": "bench"}, mode="shadow"),
]

POLICIES = (Path(__file__).parent / "policies.cedar").read_text(encoding="utf-8")


AMPLE = {"usd": "100000000.00", "model_calls": 1_000_000_000, "wall_clock_s": 86_400}
"""Bounds of sessions that are counted on every call, as shipped ones are, and never reached."""


def identities(number: int) -> Mapping[str, Table]:
    return {
        f"agent/a{each:06d}": identity(f"team-{each % TEAMS}", risk_tier="medium", data_classes=["internal"])
        for each in range(number)
    }


def process_table(provider_url: str, durability: str) -> Table:
    patient = provider(
        provider_url, connect_timeout_s=10.0, first_byte_timeout_s=PATIENCE_S, idle_timeout_s=PATIENCE_S,
        total_timeout_s=PATIENCE_S, abort_stops_billing=True, tail_tokens=TAIL,
    )  # fmt: skip
    return process(provider_url, durability=durability, providers={"bench": patient})


def registry_table(number: int) -> Table:
    price = {"model": "bench-*", "from": date(2026, 1, 1), "input": "3.00", "output": "15.00", "cache_read": "0.30"}
    visible = {"visible_output": True, "max_output_tokens": MOST_OUTPUT}  # so that streams hold in slices
    models = {name: model("bench", **visible) for name in (*MODELS, RESPONSES)}
    models["bench-large"] = model("bench", **{"class": "frontier"})
    return registry(BUDGETS, identities(number), models, prices=[price], bounds={"agent": AMPLE})


def request(port: int, credential: str, name: str, *, headers: str = "", **fields: Any) -> bytes:
    """One call as an SDK sends it, some 700 bytes with its head. `headers`: further lines of it."""
    body = {
        "model": name,
        "messages": [
            {"role": "system", "content": "You answer questions about accounts, briefly and exactly."},
            {"role": "user", "content": "Do the accounts of the last quarter balance, and if they do not, why not?"},
        ],
        "temperature": 0.2,
        "max_completion_tokens": 200,
        **fields,
    }
    return _sent("/v1/chat/completions", port, credential, body, headers)


def response_request(port: int, credential: str, *, store: bool) -> bytes:
    """The like of Responses, whose answer the provider keeps or does not."""
    body = {
        "model": RESPONSES,
        "instructions": "You answer questions about accounts, briefly and exactly.",
        "input": "Do the accounts of the last quarter balance, and if they do not, why not?",
        "temperature": 0.2,
        "max_output_tokens": 200,
        "store": store,
    }
    return _sent("/v1/responses", port, credential, body, "")


def tool_request(port: int, credential: str, path: str, tool: str) -> bytes:
    """A call of a tool as a client of the current revision sends it."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": tool, "arguments": {"quarter": "2026-Q3"}, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = f"mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: {tool}\r\n"
    return _sent(path, port, credential, body, headers)


def _sent(path: str, port: int, credential: str, body: Mapping[str, Any], headers: str) -> bytes:
    text = json.dumps(body)
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept: application/json\r\n"
        "accept-encoding: gzip, deflate\r\nuser-agent: OpenAI/Python 3.3.1\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {credential}\r\nx-stainless-lang: python\r\nx-stainless-retry-count: 0\r\n"
        f"{headers}content-length: {len(text)}\r\n\r\n{text}"
    ).encode()
