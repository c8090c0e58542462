"""A gateway in front of a sandbox, for one client: names of real models, which the sandbox serves."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from tests.harness import configuration
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

IDENTITY = "agent/coder"
ENOUGH, TOO_LITTLE = "50 USD", "0.000001 USD"

_LARGE, _SMALL = configuration.SANDBOX_PRICES["sandbox-large"], configuration.SANDBOX_PRICES["sandbox-small"]
# What the recipes and the clients themselves call models by, and which of the sandbox's stands behind it.
MODELS = {
    "claude-sonnet-5": "sandbox-large",
    "claude-sonnet-4-5": "sandbox-large",
    "claude-haiku-4-5-20251001": "sandbox-small",
    "gpt-5.4": "sandbox-large",
    "gpt-5.4-nano": "sandbox-small",
    "gpt-4o": "sandbox-large",
    "gemini-2.5-flash": "sandbox-large",
}


@dataclass(frozen=True)
class World:
    """One client's own gateway and provider."""

    gateway: GatewayProcess
    sandbox: SandboxProcess

    def called(self) -> list[dict[str, Any]]:
        """Every call in our books, oldest first."""
        return self.gateway.calls()[::-1]


@contextmanager
def world(folder: Path, limit: str) -> Iterator[World]:
    """Both processes, stopped in the end. `limit`: all that may be spent."""
    with SandboxProcess() as sandbox:
        provider = configuration.provider(sandbox.url, dialects=["openai", "anthropic", "gemini"])
        process = configuration.process(sandbox.url, providers={"sandbox": provider})
        with GatewayProcess(folder, process, registry(limit)) as gateway:
            yield World(gateway, sandbox)


def registry(limit: str, *budgets: configuration.Table, **changes: Any) -> configuration.Table:
    """What all may be spent on, and whatever else is said."""
    sizes = {"context_window": 1_000_000, "max_output_tokens": 64_000}
    models = {
        name: configuration.model("sandbox", upstream_model={"sandbox": behind}, **sizes)
        for name, behind in MODELS.items()
    }
    prices = [_price(name, _LARGE if behind == "sandbox-large" else _SMALL) for name, behind in MODELS.items()]
    return configuration.registry(
        [configuration.budget("all", limit, visible="caller"), *budgets],
        {IDENTITY: configuration.identity("red")},
        models,
        **{**changes, "prices": [*prices, *changes.get("prices", [])]},
    )


def _price(model: str, rates: tuple[str, str, str, str, str]) -> configuration.Table:
    names = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
    return {"model": model, "from": date(2026, 1, 1), **dict(zip(names, rates, strict=True))}
