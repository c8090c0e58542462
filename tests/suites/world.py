"""A gateway in front of the mock server: every model is known and has a price."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from tests.harness import configuration
from tests.harness.gateway import GatewayProcess
from tests.suites.suite import Suite

IDENTITY = "agent/suite"
# In calls nothing has to be bounded; in USD or tokens everything.
ENOUGH = "1000000 calls"

_FROM = date(2026, 1, 1)
_TOKENS = {
    "input": "1",
    "output": "2",
    "audio_input": "1",
    "audio_output": "2",
    "web_search": "10",
    "file_search": "2.5",
}
# Billed by something else than tokens.
_PRICES = {"*": {}, "tts-*": {"character": "15"}, "whisper-*": {"audio_hour": "0.36"}}
_UNBOUNDED = ("sessions", "usd", "tokens", "model_calls")


@contextmanager
def gateway(suite: Suite, port: int, limit: str, folder: Path) -> Iterator[GatewayProcess]:
    """The gateway, stopped in the end. `limit`: all that may be spent."""
    url = f"http://127.0.0.1:{port}"
    provider = configuration.provider(url, dialects=[suite.dialect])
    process = configuration.process(url, providers={"mock": provider})
    with GatewayProcess(folder, process, _registry(limit)) as front:
        yield front


# The SDKs' tests set every parameter to something, often to its own name.
_TIERS = ("default", "priority", "flex", "scale", "inference_geo")


def _registry(limit: str) -> configuration.Table:
    prices = [
        {"model": name, "from": _FROM, "service_tier": tier, **_TOKENS, **more}
        for name, more in _PRICES.items()
        for tier in _TIERS
    ]
    models = {"*": configuration.model("mock", context_window=1_000_000, max_output_tokens=128_000)}
    bounds = {"agent": dict.fromkeys(_UNBOUNDED, "unbounded")}
    budgets = [configuration.budget("all", limit, visible="caller")]
    people = {IDENTITY: configuration.identity("red")}
    return configuration.registry(budgets, people, models, prices=prices, bounds=bounds)
