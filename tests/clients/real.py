"""Recipes on a real language model: the tokens in our books are those that the model server counted."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction
from pathlib import Path

from tests.clients.installed import version_of
from tests.clients.recipes import Recipe
from tests.clients.typed import type_in
from tests.clients.world import ENOUGH, IDENTITY
from tests.harness import configuration
from tests.harness.gateway import GatewayProcess
from tests.real.gateway import row
from tests.real.model import ModelServer, serving
from tests.real.tokens import Prices, Tokens, total

IDLE_S = 180.0
PATIENCE_S = 170.0
MOST_OUTPUT_TOKENS = 600  # the model is small and talks much

# Those whose own prompt fits into the model's 8,192 tokens; Claude Code's does only without its tools.
RECIPES = ("claude-code", "codex", "llm", "llm-anthropic", "openai-agents", "langchain-openai", "langchain-anthropic")
_SMALLER = ("claude -p", 'claude --system-prompt "You are brief." --tools "" -p')


@dataclass(frozen=True)
class Counted:
    """One client on the real model, from both sides."""

    name: str
    version: str
    calls: int
    recorded: Tokens
    counted: Tokens
    charged: Fraction
    worth: Fraction  # of the recorded tokens, computed apart
    wrong: str = ""

    @property
    def ok(self) -> bool:
        """Whether both sides say the same."""
        same = self.recorded == self.counted and self.charged == self.worth
        return same and self.counted.output > 0 and not self.wrong


def run_on_model(recipes: list[Recipe], python: Path) -> Iterator[Counted]:
    """Each of them in turn, on one model server."""
    key = f"local-{secrets.token_hex(16)}"
    with tempfile.TemporaryDirectory(prefix="comptroller-client-") as name, serving(python, Path(name), key) as server:
        for recipe in recipes:
            yield _one(recipe, server, Path(name) / recipe.name)


def _one(recipe: Recipe, server: ModelServer, folder: Path) -> Counted:
    smaller = replace(recipe, script=recipe.script.replace(*_SMALLER))
    before = server.counted()
    with _gateway(folder / "gateway", server) as gateway:
        ran = type_in(smaller, gateway, folder)
        server.wait_idle(IDLE_S)
        rows = [row(call) for call in gateway.calls()]
    failed = [f"a call ended as {each.outcome}" for each in rows if each.outcome != "completed"]
    if ran.code != 0:
        failed.append(f"it ended with code {ran.code}: {ran.said[-600:]}")
    prices = Prices()
    return Counted(
        recipe.name,
        version_of(recipe.version),
        len(rows),
        total(each.tokens for each in rows),
        server.counted() - before,
        sum((each.charge for each in rows), Fraction(0)),
        sum((prices.charge_usd(each.tokens) for each in rows), Fraction(0)),
        "; ".join(failed),
    )


@contextmanager
def _gateway(folder: Path, server: ModelServer) -> Iterator[GatewayProcess]:
    slow = dict.fromkeys(("first_byte_timeout_s", "idle_timeout_s", "total_timeout_s"), PATIENCE_S)
    local = configuration.provider(server.base_url, **slow)
    sizes = {"context_window": 8192, "max_output_tokens": MOST_OUTPUT_TOKENS}
    models = {name: configuration.model("local", **sizes) for name in ("claude-*", "gpt-*")}
    prices = Prices()
    lines = [
        {
            "model": name,
            "from": date(2026, 1, 1),
            "input": prices.input,
            "output": prices.output,
            "cache_read": prices.cache_read,
        }
        for name in models
    ]
    registry = configuration.registry(
        [configuration.budget("all", ENOUGH)], {IDENTITY: configuration.identity("red")}, models, prices=lines
    )
    process = configuration.process(server.base_url, providers={"local": local})
    with GatewayProcess(folder, process, registry, env={configuration.KEY_VARIABLE: server.key}) as gateway:
        yield gateway
