"""`comptroller apply`."""

from __future__ import annotations

import sys

import typer

from comptroller.cli.failure import CommandError
from comptroller.cli.options import AsJson, Config, Yes
from comptroller.cli.registry_file import File, Folder, read_documents, show_plan
from comptroller.cli.said import write, write_json


def apply(
    context: typer.Context,
    registry: File = None,
    policies: Folder = None,
    yes: Yes = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Install the registry file and the policies as one version.

    Shows the plan and asks, unless --yes. What the file no longer names is disabled, never deleted. A new
    budget begins with what was already spent in its scope.

    \b
    Example:
      comptroller apply --yes
    """
    from comptroller.cli.transport import connect
    from comptroller.control.registry import PlanRow

    document = read_documents(context, config, registry, policies)
    with connect(context, config) as api:
        planned = api.post("registry", "plan", document=document)
        found = planned.read(PlanRow)
        if not as_json:
            show_plan(found)
        if found.changes:
            if not yes:
                _ask()
            planned = api.post("registry", "apply", document=document, expected_version=found.version)
            found = planned.read(PlanRow)
    if as_json:
        write_json(planned.body)
    elif found.applied:
        for sentence in found.opened:
            write(f"{sentence}.")
        write(f"Installed as version {found.version}.")


def _ask() -> None:
    if not sys.stdin.isatty():
        raise CommandError("Nothing was changed: there is nobody to ask.", "Say --yes to install it without asking.")
    if not typer.confirm("Install this?", err=True):
        raise CommandError("Nothing was changed.")
