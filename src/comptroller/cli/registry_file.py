"""The files that `plan` and `apply` read, and how a plan is shown."""

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


Folder = Annotated[
    Path | None,
    typer.Option(
        "--policies",
        metavar="FOLDER",
        help="The folder of policy files.",
        show_default="`policies` in comptroller.toml; with --registry: as they are installed",
    ),
]


def read_documents(context: typer.Context, config: Path | None, file: Path | None, folder: Path | None) -> bytes:
    """Registry and policies as the gateway takes them. A registry of one's own leaves the installed policies alone."""
    import msgspec

    from comptroller.cli.options import chosen_config
    from comptroller.cli.target import find_config, read_settings

    if file is None:
        settings = read_settings(find_config(chosen_config(context, config)))
        file, folder = settings.registry, folder if folder is not None else settings.policies
    policies = None if folder is None else read_policy_files(folder)
    return msgspec.json.encode({"registry": read_registry_file(file), "policies": policies})


def read_registry_file(path: Path) -> str:
    """The text of a registry file."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(
            f"The registry file {path} cannot be read: {error.strerror}.", "Say where it is with --registry FILE."
        ) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"The registry file {path} is not UTF-8.") from error


def read_policy_files(folder: Path) -> dict[str, str]:
    """The policy files of a folder, by name."""
    from comptroller.settings import SettingsError, read_policies

    try:
        return read_policies(folder)
    except SettingsError as error:
        raise CommandError(str(error).splitlines()[0], "", [problem.line for problem in error.problems]) from error


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
    if plan.missing:
        write("Lines of the file that would keep what was approved at run time:")
        write_lines(plan.missing)


def write_lines(lines: str) -> None:
    """Lines of registry.toml, to be copied as they are."""
    write("")
    for line in lines.splitlines():
        write(line)
