"""A gateway in front of MCP servers, with scopes, prices and budgets on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.harness import configuration
from tests.harness.gateway import GatewayProcess

IDENTITY = "agent/scout"
ENOUGH = "50 USD"
POLICY = """
@id("models-allowed") permit (principal, action == Action::"model.call", resource);
@id("tools-allowed") permit (principal, action == Action::"tool.call", resource);
"""

RISKS = {
    "echo": ["read"],
    "search": ["read", "open_world"],
    "fetch": ["read", "open_world"],
    "big": ["read"],
    "slow": ["read"],
    "fail": ["read"],
    "delete_thing": ["destructive"],
    "pay": ["spends_money"],
    "ask": ["read"],
}
"""What the sandbox's tools can do."""


def tools(server: str, **changes: Any) -> configuration.Table:
    """Entries that let everything of a server be called: whatever is listed, and what is read of it."""
    return {f"{server}/*": {"risk": ["read"], "pins": "first"} | changes}


def write_policy(folder: Path, *more: str) -> None:
    """Everybody may call everything, but for what else is written."""
    (folder / "policies").mkdir(parents=True, exist_ok=True)
    (folder / "policies" / "all.cedar").write_text("\n".join([POLICY, *more]))


@contextmanager
def gateway(
    folder: Path,
    servers: Mapping[str, configuration.Table],
    *,
    provider: str = "http://127.0.0.1:9",
    registry: configuration.Table | None = None,
    env: Mapping[str, str] | None = None,
    policy: str = "",
    **process: Any,
) -> Iterator[GatewayProcess]:
    """The gateway with these servers. `registry` is put over one that lets `agent/scout` call every tool of them."""
    entries = {name: entry for server in servers for name, entry in tools(server).items()}
    books = configuration.registry(
        [configuration.budget("all", ENOUGH, visible="caller")],
        {IDENTITY: configuration.identity("red")},
        tools=entries,
    ) | (registry or {})
    write_policy(folder, policy)
    settings = configuration.process(provider, servers=dict(servers), **({"policies": "policies"} | process))
    with GatewayProcess(folder, settings, books, env=env) as running:
        yield running
