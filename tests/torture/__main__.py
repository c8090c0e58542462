"""`python -m tests.torture`: the long seeded run against real processes. Exit code 1 if a judgement fails."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import uvloop
from rich.console import Console

from tests.sandbox.process import SRC
from tests.torture.report import show
from tests.torture.run import Options, run
from tests.torture.world import MODES, Mode


def main() -> int:
    chosen = _parser().parse_args()
    console = Console(soft_wrap=False, width=160 if not sys.stdout.isatty() else None)
    modes: tuple[Mode, ...] = MODES if chosen.mode == "all" else (chosen.mode,)
    with tempfile.TemporaryDirectory(prefix="torture-") as scratch:
        options = Options(chosen.seed, chosen.seconds, chosen.clients, chosen.durability, frozen(Path(scratch)))
        passed = [_one(mode, options, (chosen.keep or Path(scratch)) / mode, console) for mode in modes]
    console.print(f"{sum(passed)} of {len(passed)} runs passed (seed {options.seed})")
    return 0 if all(passed) else 1


def frozen(scratch: Path) -> Path:
    """A copy of the source: every restart of a long run serves the same one, whoever edits the tree meanwhile."""
    source = scratch / "source"
    shutil.copytree(SRC / "comptroller", source / "comptroller", ignore=shutil.ignore_patterns("__pycache__"))
    return source


def _one(mode: Mode, options: Options, folder: Path, console: Console) -> bool:
    console.print(f"{mode}: {options.clients} clients for {options.seconds:g} s, seed {options.seed}")
    result = uvloop.run(run(mode, options, folder, lambda line: console.print(line, highlight=False)))
    show(result, console)
    return result.passed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the same seed is the same plan (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each mode (default %(default)s)")
    parser.add_argument("--clients", type=int, default=64, help="at the same time (default %(default)s)")
    parser.add_argument("--mode", choices=(*MODES, "soak", "all"), default="all", help="(default %(default)s)")
    parser.add_argument("--durability", choices=("power", "process"), default="power", help="(default %(default)s)")
    parser.add_argument("--keep", type=Path, help="an empty folder for the states and logs (default: thrown away)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
