"""Options that several commands share, and what stands before the command's name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="PATH",
        help="The gateway's comptroller.toml. Before or after the command's name.",
        show_default="$COMPTROLLER_CONFIG, ./comptroller.toml, ./.comptroller/comptroller.toml",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is written down.")]


def chosen_config(context: typer.Context, config: Path | None) -> Path | None:
    """The --config that was given: the one after the command's name, else the one before it."""
    before = context.obj if isinstance(context.obj, Path) else None
    return config if config is not None else before
