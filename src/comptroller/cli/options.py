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

Gateway = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where agents call the gateway.",
        show_default="$COMPTROLLER_URL, $COMPTROLLER_ADDR, or the gateway beside",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
ScopeOfStop = Annotated[str, typer.Argument(metavar="SCOPE", help="What kind of thing it is.")]
ValueOfStop = Annotated[str, typer.Argument(metavar="VALUE", help="Which one; nothing for everything.")]


def chosen_config(context: typer.Context, config: Path | None) -> Path | None:
    """The --config that was given: the one after the command's name, else the one before it."""
    before = context.obj if isinstance(context.obj, Path) else None
    return config if config is not None else before


def check_scope(scope: str, *others: str) -> None:
    """Raise typer.BadParameter for a word that is no scope of a stop. `others`: words that are good, too."""
    from comptroller.core.problem import did_you_mean
    from comptroller.core.work.stop import STOP_SCOPES

    known = (*STOP_SCOPES, *others)
    if scope not in known:
        raise typer.BadParameter(f"There is no scope {scope!r}. {did_you_mean(scope, known)}".rstrip())
