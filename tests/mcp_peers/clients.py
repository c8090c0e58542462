"""The recipes of docs/mcp-clients.md, run as they stand: what they recorded, and what the sandbox billed."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.clients.installed import NotInstalled, version_of
from tests.clients.recipes import Recipe, read_recipes
from tests.clients.typed import Ran, type_in
from tests.clients.world import ENOUGH, registry
from tests.harness import configuration
from tests.harness.gateway import GatewayProcess
from tests.mcp_peers.world import write_policy
from tests.sandbox.process import SandboxProcess
from tests.sandbox.raw import post

PAGE = Path(__file__).resolve().parents[2] / "docs" / "mcp-clients.md"
SEARCH = {"tool": "search", "arguments": {"query": "cats"}}
# What a model asks for first, where a client keeps the definitions of tools back until one is wanted.
BEFORE = {
    "claude-code": [{"tool": "ToolSearch", "arguments": {"query": "select:mcp__files__search", "max_results": 5}}]
}
TOO_LITTLE = "0.005 USD"  # of 0.01 that a search costs


@dataclass(frozen=True)
class Row:
    """What the table says of one client."""

    name: str
    version: str
    era: str = ""
    model_calls: int = 0
    tool_calls: int = 0
    charged: Decimal = Decimal(0)
    billed: Decimal = Decimal(0)
    refused: int = 0  # calls of tools, with next to no money left
    wrong: tuple[str, ...] = ()
    missing: str = ""

    @property
    def ok(self) -> bool:
        return not self.wrong and not self.missing


def recipes() -> list[Recipe]:
    return read_recipes(PAGE)


def run_recipe(recipe: Recipe, keep: Path | None = None) -> Row:
    """Run it in both worlds."""
    try:
        row = Row(recipe.name, version_of(recipe.version))
    except NotInstalled as reason:
        return Row(recipe.name, "", missing=str(reason))
    with tempfile.TemporaryDirectory(prefix="comptroller-mcp-") as name:
        folder = Path(name) if keep is None else keep / recipe.name
        with _world(recipe, folder / "served" / "gateway", ENOUGH) as (sandbox, gateway):
            row = _served(row, type_in(recipe, gateway, folder / "served"), sandbox, gateway)
        with _world(recipe, folder / "refused" / "gateway", TOO_LITTLE) as (sandbox, gateway):
            return _refused(row, type_in(recipe, gateway, folder / "refused"), sandbox, gateway)


@contextmanager
def _world(recipe: Recipe, folder: Path, limit: str) -> Iterator[tuple[SandboxProcess, GatewayProcess]]:
    """A gateway whose model calls the tool, and that may spend so much on tools."""
    with SandboxProcess() as sandbox:
        servers = {"files": {"url": f"{sandbox.url}/mcp/files"}}
        process = configuration.process(sandbox.url, servers=servers, policies="policies")
        write_policy(folder)
        books = registry(
            ENOUGH,
            configuration.budget("tools", limit, scope={"server": ["files"]}, visible="caller"),
            tools={"files/*": {"risk": ["read"]}},
            prices=[{"tool": "files/search", "from": date(2026, 1, 1), "request": "0.01"}],
        )
        assert post(sandbox, {"calls": [*BEFORE.get(recipe.name, []), SEARCH]}, path="/sandbox/script").status == 200
        with GatewayProcess(folder, process, books) as gateway:
            yield sandbox, gateway


def _served(row: Row, ran: Ran, sandbox: SandboxProcess, gateway: GatewayProcess) -> Row:
    tools, models = _split(gateway)
    searched = [line for line in searches(sandbox) if line["ran"]]
    billed = sum(int(line["charge_nanos"]) for line in searched) + int(sandbox.total()["charge_nanos"])
    row = replace(
        row,
        era=searched[0]["era"] if searched else "",
        model_calls=len(models),
        tool_calls=len(tools),
        charged=sum((Decimal(call["charge_usd"]) for call in (*tools, *models)), Decimal(0)),
        billed=Decimal(billed).scaleb(-9),
    )
    faults = {
        f"it ended with code {ran.code}: {ran.said[-600:]}": ran.code != 0,
        "the tool did not run once": len(searched) != 1,
        "our books have other tool calls than the server": len(tools) != len(searched),
        "our books have other money than the bills": row.charged != row.billed,
        "a call was presumed": any(call["presumed"] for call in (*tools, *models)),
        "calls are not of one session": len({call["session"] for call in (*tools, *models)}) != 1,
    }
    return _with(row, faults)


def _refused(row: Row, ran: Ran, sandbox: SandboxProcess, gateway: GatewayProcess) -> Row:
    tools, _ = _split(gateway)
    faults = {
        "refused: it did not end in time": ran.code is None,
        "refused: the tool ran": any(line["ran"] for line in searches(sandbox)),
        f"refused: nothing was refused: {ran.said[-600:]}": not tools,
        f"refused: with {', '.join(sorted({str(call['refusal']) for call in tools}))}": any(
            call["refusal"] != "budget_exhausted" for call in tools
        ),
    }
    return _with(replace(row, refused=len(tools)), faults)


def _split(gateway: GatewayProcess) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Calls of tools, and of models."""
    calls = gateway.calls()
    return [call for call in calls if call["dialect"] == "mcp"], [call for call in calls if call["dialect"] != "mcp"]


def searches(sandbox: SandboxProcess) -> list[dict[str, Any]]:
    """The lines of the server's own bill."""
    page = post(sandbox, b"", method="GET", path="/sandbox/mcp/bill/calls").body
    return [line for line in map(json.loads, page.splitlines()) if line["method"] == "tools/call"]


def _with(row: Row, faults: dict[str, bool]) -> Row:
    return replace(row, wrong=(*row.wrong, *(words for words, is_so in faults.items() if is_so)))
