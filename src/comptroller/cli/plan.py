"""`comptroller plan`."""

from __future__ import annotations

import typer

from comptroller.cli.failure import DIFFERENT, OK
from comptroller.cli.options import AsJson, Config
from comptroller.cli.registry_file import File, Folder, read_documents, show_plan
from comptroller.cli.said import write, write_json


def plan(
    context: typer.Context,
    registry: File = None,
    policies: Folder = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show what `apply` would change.

    Exit code 2 if the registry file or a policy differs from what is installed, 0 if not, 1 on an error.

    \b
    Example:
      comptroller plan || echo "registry.toml is not installed as it stands"
    """
    from comptroller.cli.transport import connect
    from comptroller.control.registry import PlanRow

    document = read_documents(context, config, registry, policies)
    with connect(context, config) as api:
        answer = api.post("registry", "plan", document=document)
    found = answer.read(PlanRow)
    if as_json:
        write_json(answer.body)
    else:
        show_plan(found)
        if found.changes:
            write("Nothing was changed. `comptroller apply` installs it.")
    raise typer.Exit(DIFFERENT if found.changes else OK)
