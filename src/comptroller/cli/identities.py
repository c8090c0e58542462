"""`comptroller identities`: listing them, and asking for one."""

from __future__ import annotations

from pathlib import Path

import typer

from comptroller.cli.identity_request import request
from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import note, write_json
from comptroller.cli.table import Column, print_table

app = typer.Typer(rich_markup_mode=None)
app.command()(request)

_COLUMNS = (
    Column("identity"),
    Column("kind"),
    Column("team"),
    Column("owner"),
    Column("environment"),
    Column("state"),
    Column("expires"),
    Column("sessions", "number"),
    Column("purpose"),
)


@app.callback(invoke_without_command=True)
def identities(context: typer.Context, as_json: AsJson = False, config: Config = None) -> None:
    """List who can create cost, and who answers, or ask to be one.

    \b
    Example:
      comptroller identities --json
    """
    if config is not None:
        context.obj = config
    if context.invoked_subcommand is None:
        _show(context, as_json=as_json, config=config)


@app.command("list")
def list_them(context: typer.Context, as_json: AsJson = False, config: Config = None) -> None:
    """List who can create cost, and who answers.

    `comptroller identities` alone does the same.

    \b
    Example:
      comptroller identities list
    """
    _show(context, as_json=as_json, config=config)


def _show(context: typer.Context, *, as_json: bool, config: Path | None) -> None:
    from comptroller.cli.transport import connect
    from comptroller.control.identities import IdentityRow

    with connect(context, config) as api:
        answer = api.get("identities")
    if as_json:
        write_json(answer.body)
        return
    rows = answer.read(list[IdentityRow])
    print_table(
        _COLUMNS,
        [
            (r.id, r.kind, r.team, r.owner, r.environment, r.state, r.expires or "", str(r.sessions), r.purpose)
            for r in rows
        ],
        "No identity is registered. Name some in registry.toml and run `comptroller apply`.",
    )
    for row in rows:
        for warning in row.warnings:
            note(f"warning: {row.id} {warning}")
