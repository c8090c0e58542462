"""`python -m tests.mcp_peers`: what others wrote for MCP, around the gateway; exit 1 where something differs.

The suite is run direct and through the gateway: what passes direct passes through it, check by check.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.mcp_peers.clients import Row, recipes, run_recipe
from tests.mcp_peers.conformance import SUITES, Suite, judge
from tests.mcp_peers.front import adding
from tests.mcp_peers.servers import Served, run_servers
from tests.mcp_peers.upstream import ConformanceServer
from tests.mcp_peers.world import IDENTITY, gateway

_WIDTH = 160  # where nobody looks at a terminal
_SHOWN = 40


@dataclass(frozen=True)
class Compared:
    """One version of the suite, direct and through the gateway."""

    suite: str
    version: str
    direct: int
    through: int
    wrong: Sequence[str]


def main() -> int:
    """The exit code: 0 all as it must be, 1 not, 2 a wrong name."""
    parser = argparse.ArgumentParser(prog="make mcp ARGS=", description=__doc__)
    parser.add_argument("names", nargs="*", help="run these alone: conformance, servers, or a client such as codex")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--keep", type=Path, help="keep homes, configurations and logs in this folder")
    options = parser.parse_args()
    known = {"conformance", "servers", *(recipe.name for recipe in recipes())}
    if unknown := set(options.names) - known:
        print(f"Nothing is called {', '.join(sorted(unknown))}; there are: {', '.join(sorted(known))}.")
        return 2
    wanted = set(options.names) or known
    suites = conformance(options.keep) if "conformance" in wanted else []
    servers = run_servers(options.keep) if "servers" in wanted else []
    rows: list[Row] = []
    for recipe in recipes():
        if recipe.name in wanted:
            print(f"{recipe.name} ...", file=sys.stderr, flush=True)
            rows.append(run_recipe(recipe, options.keep))
    if options.json:
        print(json.dumps([asdict(each) for each in (*suites, *servers, *rows)], default=str, indent=2))
    else:
        show(suites, servers, rows)
    return int(any(each.wrong for each in (*suites, *servers)) or not all(row.ok for row in rows))


def conformance(keep: Path | None) -> list[Compared]:
    """Both versions of the suite, twice."""
    with tempfile.TemporaryDirectory(prefix="comptroller-mcp-") as name:
        folder = Path(name) if keep is None else keep / "conformance"
        with (
            ConformanceServer() as server,
            gateway(folder, {"everything": {"url": server.url}}) as governed,
            adding(governed.port, governed.token(IDENTITY)) as port,
        ):
            return [_compare(suite, server.url, f"http://127.0.0.1:{port}/mcp/everything") for suite in SUITES]


def _compare(suite: Suite, direct: str, through: str) -> Compared:
    print(f"conformance {suite.version} ...", file=sys.stderr, flush=True)
    alone, governed = judge(suite, direct), judge(suite, through)
    lost = alone.checks - governed.checks
    wrong = [f"{scenario}: {check} is no longer {status}" for scenario, check, status in sorted(lost.elements())]
    if alone.passed != suite.checks:
        wrong.append(f"direct {alone.passed} checks pass, not {suite.checks}: {alone.said[-800:]}")
    return Compared(suite.name, suite.version, alone.passed, governed.passed, wrong)


def show(suites: Sequence[Compared], servers: Sequence[Served], rows: Sequence[Row]) -> None:
    """The tables, and below them what is wrong, in full."""
    out = Console()
    if not out.is_terminal:
        out = Console(width=_WIDTH)
    if suites:
        shown = Table("conformance suite", "version", "checks pass direct", "through the gateway", "")
        for each in suites:
            said = "WRONG" if each.wrong else "ok"
            shown.add_row(each.suite, each.version, str(each.direct), str(each.through), said)
        out.print(shown)
    if servers:
        shown = Table("server over stdio", "version", "tools", "calls", "recorded", "")
        for each in servers:
            said = "WRONG" if each.wrong else "ok"
            shown.add_row(each.name, each.version, str(each.tools), str(each.calls), str(each.recorded), said)
        out.print(shown)
    if rows:
        shown = Table(
            "client", "version", "era", "model calls", "tool calls", "recorded USD", "billed USD", "refused", ""
        )
        for row in rows:
            numbers = (row.model_calls, row.tool_calls, row.charged, row.billed, row.refused)
            said = "ok" if row.ok else "not installed" if row.missing else "WRONG"
            shown.add_row(row.name, row.version, row.era, *map(str, numbers), said)
        out.print(shown)
    wrong = [words for each in (*suites, *servers, *rows) for words in each.wrong] + [
        row.missing for row in rows if row.missing
    ]
    for words in wrong[:_SHOWN]:
        print(f"WRONG {words}")
    if len(wrong) > _SHOWN:
        print(f"... and {len(wrong) - _SHOWN} more")


if __name__ == "__main__":
    sys.exit(main())
