"""`comptroller identities`."""

from __future__ import annotations

import typer

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import note, write_json
from comptroller.cli.table import Column, print_table

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


def identities(context: typer.Context, as_json: AsJson = False, config: Config = None) -> None:
    """List who can create cost, and who answers.

    \b
    Example:
      comptroller identities --json
    """
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
