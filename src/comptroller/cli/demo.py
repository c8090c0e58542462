"""`comptroller demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_HELP = "Where the sample's files and state go. What is there already is used as it is."
Directory = Annotated[Path, typer.Argument(metavar="DIRECTORY", help=_HELP)]


def demo(directory: Directory = Path(".comptroller")) -> None:
    """Run a sample that needs no key and no network.

    A gateway with a sandbox provider beside it, two teams and some budgets. It prints a ready credential and
    how to use it.

    \b
    Example:
      comptroller demo
    """
    from comptroller.cli.holder import said_plainly
    from comptroller.cli.rehearsal import rehearse as run

    with said_plainly("The sample does not start: "):
        code = run(directory)
    raise typer.Exit(code)
