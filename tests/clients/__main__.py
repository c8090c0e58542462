"""`python -m tests.clients`: run every recipe of docs/clients.md; exit 1 if one does not do as the page says."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.clients.real import RECIPES, Counted, run_on_model
from tests.clients.recipes import Recipe, read_recipes
from tests.clients.run import Row, run_recipe

_WIDTH = 160  # where nobody looks at a terminal


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make clients ARGS=", description=__doc__)
    parser.add_argument("names", nargs="*", help="run these recipes alone, such as: codex claude-code")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--model-python", type=Path, help="on a real model, which this Python serves: tokens alone")
    parser.add_argument("--keep", type=Path, help="keep homes, configurations and logs in this folder")
    return parser.parse_args()


def table(rows: list[Row]) -> Table:
    """For people."""
    shown = Table()
    for heading in ("client", "version", "surface"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("calls", "upstream", "recorded USD", "billed USD", "refused", "seconds"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("", no_wrap=True)
    for row in rows:
        numbers = (row.calls, row.at_provider, row.charged, row.billed, row.refused, f"{row.seconds:.1f}")
        said = "ok" if row.ok else "not installed" if row.missing else "WRONG"
        shown.add_row(row.name, row.version, row.surface, *map(str, numbers), said)
    return shown


def show(rows: list[Row]) -> None:
    """The table, and below it what is wrong, in full."""
    out = Console()
    if not out.is_terminal:
        out = Console(width=_WIDTH)
    out.print(table(rows))
    for row in rows:
        for words in (row.missing, *row.wrong):
            if words:
                print(f"{row.name}: {words}")


def on_model(recipes: list[Recipe], options: argparse.Namespace) -> int:
    """The same on a real model, whose server counts tokens; the exit code."""
    shown = Table()
    for heading in ("client", "version", "calls", "recorded", "counted by the model server", "charged USD", ""):
        shown.add_column(heading, no_wrap=True)
    rows: list[Counted] = []
    for row in run_on_model(recipes, options.model_python):
        rows.append(row)
        print(f"{row.name}: {row.recorded}; the model server counted {row.counted} {row.wrong}", file=sys.stderr)
        said = (row.name, row.version, str(row.calls), str(row.recorded), str(row.counted), f"{float(row.charged):.9f}")
        shown.add_row(*said, "ok" if row.ok else "WRONG")
    if options.json:
        print(json.dumps([{**row.__dict__, "ok": row.ok} for row in rows], default=str, indent=2))
    else:
        Console(width=_WIDTH).print(shown)
    return int(not all(row.ok for row in rows))


def main() -> int:
    """The exit code: 0 all as the page says, 1 not."""
    options = arguments()
    known = read_recipes()
    unknown = set(options.names) - {recipe.name for recipe in known}
    if unknown:
        print(f"No recipe is called {', '.join(sorted(unknown))}; there are: {', '.join(r.name for r in known)}.")
        return 2
    if options.model_python is not None:
        return on_model([each for each in known if each.name in (options.names or RECIPES)], options)
    rows: list[Row] = []
    for recipe in known:
        if not options.names or recipe.name in options.names:
            print(f"{recipe.name} ...", file=sys.stderr, flush=True)
            rows.append(run_recipe(recipe, options.keep))
    if options.json:
        print(json.dumps([{**row.__dict__, "ok": row.ok} for row in rows], default=str, indent=2))
    else:
        show(rows)
    return int(not all(row.ok for row in rows))


if __name__ == "__main__":
    sys.exit(main())
