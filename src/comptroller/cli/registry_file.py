"""The registry file that `plan` and `apply` read, and how a plan is shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.failure import CommandError
from comptroller.cli.said import write

if TYPE_CHECKING:
    from comptroller.control.registry import PlanRow

File = Annotated[
    Path | None,
    typer.Option(
        "--registry", metavar="FILE", help="The registry file.", show_default="`registry` in comptroller.toml"
    ),
]


def read_registry(context: typer.Context, config: Path | None, file: Path | None) -> bytes:
    """The content of the registry file."""
    from comptroller.cli.options import chosen_config
    from comptroller.cli.target import find_config, read_settings

    path = file if file is not None else read_settings(find_config(chosen_config(context, config))).registry
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(
            f"The registry file {path} cannot be read: {error.strerror}.", "Say where it is with --registry FILE."
        ) from error


def show_plan(plan: PlanRow) -> None:
    """The plan as a person reads it."""
    if not plan.changes:
        write(f"Nothing to change: the registry is at version {plan.version}, as the file says.")
    else:
        many = "1 change" if len(plan.changes) == 1 else f"{len(plan.changes)} changes"
        write(f"{many} to version {plan.version} of the registry:" if plan.version else f"{many} to an empty registry:")
        for change in plan.changes:
            write(f"  {change.sentence}")
    for warning in plan.warnings:
        write(f"warning: {' '.join(filter(None, (f'{warning.where}:', warning.sentence, warning.hint)))}")
