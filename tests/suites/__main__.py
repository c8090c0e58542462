"""`python -m tests.suites`: the SDKs' own API tests, direct and through the gateway.

It exits with 1 if anything differs that tests/suites/designs.py does not say.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.suites.designs import DESIGNS
from tests.suites.outcome import Row, compare, unserved
from tests.suites.run import direct, through
from tests.suites.suite import Suite, suites
from tests.suites.world import ENOUGH

_WIDTH = 160  # where nobody looks at a terminal
_SHOWN = 40  # differences of one suite that are printed in full


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make suites ARGS=", description=__doc__)
    parser.add_argument("names", nargs="*", help="run these suites alone: openai, anthropic")
    parser.add_argument("--only", default="", help="tests whose names match, as pytest -k has it: 'test_responses'")
    parser.add_argument("--limit", default=ENOUGH, help="the budget: '1000000 USD' refuses what has no bound")
    parser.add_argument("--checkout", type=Path, help="openai-python as git has it: its tests, SDK and API description")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument(
        "--keep", type=Path, help="keep outcomes, configurations and logs here, in place of those of the last run"
    )
    return parser.parse_args()


@dataclass(frozen=True)
class Told:
    """One suite, compared."""

    suite: Suite
    version: str
    rows: Sequence[Row]
    unserved: Sequence[str]

    @property
    def ok(self) -> bool:
        return not any(row.wrong for row in self.rows)


def run(suite: Suite, only: str, limit: str, keep: Path | None) -> Told:
    """Both runs, and what differs."""
    with folder(suite, keep) as base:
        print(f"{suite.name} direct ...", file=sys.stderr, flush=True)
        alone = direct(suite, only, _made(base / "direct"))
        print(f"{suite.name} through the gateway ...", file=sys.stderr, flush=True)
        governed = through(suite, only, limit, _made(base / "through"))
    return Told(suite, suite.version(), compare(alone, governed, DESIGNS), unserved(governed))


@contextmanager
def folder(suite: Suite, keep: Path | None) -> Iterator[Path]:
    """Where a suite's files are."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="comptroller-suite-") as name:
            yield Path(name)
    else:
        yield keep.resolve() / suite.name


def _made(path: Path) -> Path:
    """Empty: a gateway that finds its store there would know the objects of the last run."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def show(told: Told) -> None:
    """The table, and below it what is wrong, in full."""
    shown = Table(title=f"{told.suite.name} {told.version}")
    shown.add_column("tests", no_wrap=True)
    for heading in ("pass direct", "pass through the gateway", "refused by design", "wrong"):
        shown.add_column(heading, justify="right")
    shown.add_column("refused with")
    for row in [each for each in told.rows if each.served or each.wrong]:
        _add(shown, row.file, [row])
    others = [each for each in told.rows if not each.served and not each.wrong]
    _add(shown, f"{len(others)} files of routes that the gateway does not have", others)
    _add(shown, "all", told.rows)
    out = Console()
    (out if out.is_terminal else Console(width=_WIDTH)).print(shown)
    for route in told.unserved:
        print(f"  not served: {route}")
    wrong = [words for row in told.rows for words in row.wrong]
    for words in wrong[:_SHOWN]:
        print(f"WRONG {words}")
    if len(wrong) > _SHOWN:
        print(f"... and {len(wrong) - _SHOWN} more")


def _add(shown: Table, name: str, rows: Sequence[Row]) -> None:
    refused: dict[str, int] = {}
    for row in rows:
        for code, count in (row.refused or {}).items():
            refused[code] = refused.get(code, 0) + count
    numbers = (
        sum(row.direct for row in rows),
        sum(row.through for row in rows),
        sum(refused.values()),
        sum(len(row.wrong) for row in rows),
    )
    shown.add_row(name, *map(str, numbers), ", ".join(f"{code} {count}" for code, count in sorted(refused.items())))


def main() -> int:
    """The exit code: 0 all as it must be, 1 not, 2 a wrong name."""
    options = arguments()
    known = suites(options.checkout)
    unknown = set(options.names) - {suite.name for suite in known}
    if unknown:
        print(f"No suite is called {', '.join(sorted(unknown))}; there are: {', '.join(each.name for each in known)}.")
        return 2
    all_told = [
        run(suite, options.only, options.limit, options.keep)
        for suite in known
        if suite.name in (options.names or [suite.name])
    ]
    if options.json:
        rows = [
            {"suite": told.suite.name, "version": told.version, **row.__dict__}
            for told in all_told
            for row in told.rows
        ]
        print(json.dumps(rows, indent=2))
    else:
        for told in all_told:
            show(told)
    return int(not all(told.ok for told in all_told))


if __name__ == "__main__":
    sys.exit(main())
